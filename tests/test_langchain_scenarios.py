"""Everything a program does with LangChain, against the truth of what was sent; and the page that says so."""

from __future__ import annotations

import pytest

from langchain_scenarios.page import ORDER, PAGE, page, played
from langchain_scenarios.scenario import Scenario

# What LangChain and the libraries below it leave behind when streams are cut off; none of it is ours.
pytestmark = pytest.mark.filterwarnings("ignore")

_seen: dict[str, str] = {}


@pytest.mark.parametrize("one", [pytest.param(one, id=one.play.__name__) for one in ORDER])
def test_scenario(one: Scenario) -> None:
    """Rows are requests, tokens are those that were sent, or the limit that the page names says why not."""
    if not one.needs:
        pytest.skip("this LangChain cannot")
    _seen[one.title] = lines = played(one)
    assert lines in PAGE.read_text(encoding="utf-8"), (
        "python tests/langchain_scenarios/page.py writes it anew"
    )


def test_page_is_the_run() -> None:
    """docs/langchain-scenarios.md is what the scenarios have just shown, and nothing else."""
    if len(_seen) < len(ORDER):
        pytest.skip("only some of the scenarios were played")
    assert PAGE.read_text(encoding="utf-8") == page(_seen[one.title] for one in ORDER)
