"""A scenario: something a program does with LangChain, and what the ledger must say of it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

from langchain_scenarios.stage import Door, Outcome, Stage, ends, stage, unaccounted

Play = Callable[[Stage, str], Any]


@dataclass(frozen=True, kw_only=True)
class Scenario:
    """One line of the page.

    Attributes:
        title: what the program does.
        play: does it, one way.
        facts: what it shows, by number (`langchain_facts.py`).
        ends: how its rows end and whether their tokens are known, in any order; with commas between.
        hows: the ways of asking that it is played in.
        door: the handler in the config, or `install()`, which opens LiteLLM's door too.
        needs: whether this LangChain can do it.
        limit: why the ledger cannot say more, where rows are no requests, or tokens that were sent unknown.
    """

    title: str
    play: Play
    facts: tuple[int, ...]
    ends: str
    hows: tuple[str, ...]
    door: Door
    needs: bool
    limit: str | None

    def run(self, how: str) -> Outcome:
        """Play it one way, and hold the ledger against the truth."""
        with stage(self.door) as given:
            self.play(given, how)
            outcome = given.outcome()
        assert ends(outcome) == Counter(self.ends.split(", ") if self.ends else ())
        left = unaccounted(outcome)
        if self.limit is None:
            hits = sum(bool(row.cache_hit) for row in outcome.rows)
            assert len(outcome.rows) == len(outcome.sent) + hits
            assert left == []
        return outcome


SCENARIOS: Final[list[Scenario]] = []


def scenario(
    title: str,
    *facts: int,
    ends: str = "success sent",
    hows: tuple[str, ...] = ("",),
    door: Door = "handler",
    needs: bool = True,
    limit: str | None = None,
) -> Callable[[Play], Play]:
    """Add a scenario to the page."""

    def add(play: Play) -> Play:
        SCENARIOS.append(
            Scenario(
                title=title, play=play, facts=facts, ends=ends, hows=hows, door=door, needs=needs, limit=limit
            )
        )
        return play

    return add
