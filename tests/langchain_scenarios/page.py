"""Writes docs/langchain-scenarios.md from what was seen: `python tests/langchain_scenarios/page.py`."""

from __future__ import annotations

import os
import sys
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import Final

if __name__ == "__main__":
    os.environ["LITELLM_LOCAL_MODEL_COST_MAP"] = "True"
    os.environ["LANGCHAIN_TRACING_V2"] = "false"
    sys.path.insert(0, str(Path(__file__).parents[1]))

from langchain_scenarios import agents, calls, doors, leaving
from langchain_scenarios.facts import FACTS
from langchain_scenarios.scenario import SCENARIOS, Scenario
from langchain_scenarios.stage import Outcome, Tokens, kind

ROOT: Final = Path(__file__).parents[2]
PAGE: Final = ROOT / "docs" / "langchain-scenarios.md"
PARTS: Final = {
    calls: "Asking",
    leaving: "Walking away",
    agents: "Agents and graphs",
    doors: "Seen more than once, or never",
}
_HEAD: Final = """\
# What becomes of a call: LangChain

Each line is something that a program does with the real LangChain, against a provider on loopback that keeps
a log of what it sent. **sent** is that log: requests, and tokens in + out (`-`: it sent no usage). **rows**
is the ledger: how many and how they ended, their tokens and their cost. Where tokens are unknown, so is the
cost, and neither is 0. Hits in a response cache are set apart: nobody sent their tokens again. A number at
the end of a line is a known limit below: what LangChain, or a package under it, does not let anybody know.

The lines are what `python tests/langchain_scenarios/page.py` saw. `tests/test_langchain_scenarios.py` plays
all of them again, holds rows against requests and tokens against what was sent, and this page against the
run. For the packages of single providers see [LangChain's provider packages](langchain-providers.md).
"""
_FACTS: Final = """\
## What LangChain does

The ways of LangChain that a ledger must know; each was found by running it, and is shown by scenarios above
and by further tests (`tests/langchain_scenarios/facts.py` names them).
"""
_COLUMNS: Final = (
    "the program",
    "asked with",
    "sent",
    "tokens in + out",
    "rows",
    "tokens in + out",
    "cost",
    "",
)


ORDER: Final = [one for part in PARTS for one in SCENARIOS if one.play.__module__ == part.__name__]


def page(lines: Iterable[str]) -> str:
    """The whole page, from the lines of all scenarios in their order."""
    told = iter(lines)
    parts = [_HEAD]
    for module, title in PARTS.items():
        table = [_row(_COLUMNS), _row(["---"] * len(_COLUMNS))]
        table += [next(told) for one in ORDER if one.play.__module__ == module.__name__]
        parts += [f"## {title}\n", "".join(table)]
    parts += [_FACTS, _row(["", "LangChain", "shown"]) + _row(["---"] * 3) + "".join(map(_fact, FACTS))]
    parts += ["## Known limits\n", "".join(f"{n}. {why}\n" for n, why in enumerate(limits(), 1))]
    return "\n".join(parts)


def _fact(number: int) -> str:
    """A fact, and how often it is shown."""
    fact = FACTS[number]
    scenarios = sum(number in one.facts for one in ORDER)
    counts = ((scenarios, "scenario"), (len(fact.tests), "test"))
    shown = ", ".join(f"{count} {word}{'s' * (count > 1)}" for count, word in counts if count)
    return _row([str(number), fact.says, shown])


def limits() -> list[str]:
    """Why some lines say less than was sent."""
    return list(dict.fromkeys(one.limit for one in ORDER if one.limit is not None))


def played(one: Scenario) -> str:
    """The lines of a scenario, one for each different outcome of the ways it is asked in."""
    hows: dict[tuple[str, ...], list[str]] = {}
    for how in one.hows:
        hows.setdefault(_cells(one.run(how)), []).append(how)
    mark = "" if one.limit is None else f"**{limits().index(one.limit) + 1}**"
    return "".join(_row([one.title, _named(asked), *cells, mark]) for cells, asked in hows.items())


def _named(hows: list[str]) -> str:
    return ", ".join(f"`{how}`" if how not in ("sync", "async") else how for how in hows if how)


def _row(cells: Iterable[str]) -> str:
    return "| " + " | ".join(cells) + " |\n"


def _cells(outcome: Outcome) -> tuple[str, ...]:
    known = [(row.input_tokens, row.output_tokens) for row in outcome.rows if not row.cache_hit]
    hits = [(row.input_tokens, row.output_tokens) for row in outcome.rows if row.cache_hit]
    told = f"{_tokens(known)}, hits {_tokens(hits)}" if hits else _tokens(known)
    costs = [row.cost_usd for row in outcome.rows if row.cost_usd is not None]
    return (
        str(len(outcome.sent)),
        _tokens(outcome.truth),
        _ends(outcome),
        told,
        f"${sum(costs):.7f}".rstrip("0") if costs else "-",
    )


def _tokens(pairs: list[Tokens]) -> str:
    """Sums of what is known, in + out; embeddings have no output."""
    sides = [[count for count in side if count is not None] for side in zip(*pairs, strict=True)]
    return " + ".join(str(sum(side)) for side in sides if side) or "-"


def _ends(outcome: Outcome) -> str:
    """How many rows, and how they ended: `3: 2 error, 1 success`."""
    counted = Counter(kind(row).replace(" sent", "").replace(" hit", " (hit)") for row in outcome.rows)
    words = [
        f"{count} {end.replace('unknown', '(tokens unknown)')}" for end, count in sorted(counted.items())
    ]
    return ", ".join(words) or "none"


if __name__ == "__main__":
    PAGE.write_text(page(map(played, ORDER)), encoding="utf-8")
