"""The page about LiteLLM says what the tests assert."""

from __future__ import annotations

from litellm_scenes.page import PAGE, met, page
from litellm_scenes.scenes import NEWEST, OLDEST
from litellm_scenes.table import SCENES


def test_page_is_up_to_date() -> None:
    """docs/litellm-scenarios.md is what `make litellm-page` writes."""
    assert PAGE.read_text(encoding="utf-8") == page()


def test_every_limit_is_met() -> None:
    """No known limit is left over that no test comes by."""
    known = [*met(NEWEST), *met(OLDEST)]
    assert [limit for scene in SCENES for limit in scene.limits if limit not in known] == []
