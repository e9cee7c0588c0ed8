"""The page about LangChain's provider packages says what the tests assert; no package is needed to know."""

from __future__ import annotations

from providers.page import PAGE, page
from providers.situations import LIMITS, cases, limit_of


def test_page_is_up_to_date() -> None:
    """docs/langchain-providers.md is what `python tests/providers/page.py` writes."""
    assert PAGE.read_text(encoding="utf-8") == page()


def test_every_limit_is_met() -> None:
    """No known limit is left over that no test comes by."""
    met = [limit for case in cases() if (limit := limit_of(*case)) is not None]
    assert [limit for limit in LIMITS if limit not in met] == []
