"""Writes docs/langchain-providers.md from what the tests assert: `python tests/providers/page.py`."""

from __future__ import annotations

import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Final

if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).parents[1]))

from providers.situations import LIMITS, SITUATIONS, STREAMS, Limit, Situation, limit_of
from providers.speakers import HOWS, SPEAKERS, Speaker

ROOT: Final = Path(__file__).parents[2]
PAGE: Final = ROOT / "docs" / "langchain-providers.md"

_HEAD: Final = """\
# LangChain's provider packages

What a row says of a call through `TokentrailCallbackHandler`, for each chat model class, held against what
the provider really sent. The tests play the provider's side of the wire on loopback and ask the real packages
with `invoke`, `ainvoke`, `stream` and `astream`; `make test-providers` runs them. This page is written by
`python tests/providers/page.py` from the table that they assert.

**as sent**: the row has every count that was sent, and none that was not. A number: but for that known limit
below; of two, the first is for `invoke` and `ainvoke`, the second for `stream` and `astream`. A dash: the
wire has no such thing.
"""
_NOTES: Final = """\
Provider, status and whether it was a stream are right in all of them, with one exception that LangChain
leaves no way around: a stream that is refused before its first chunk looks like any other refused call, and
its row says `is_streaming = false`.
"""


def page() -> str:
    """The whole page."""
    general = [one for one in SITUATIONS if sum(map(one.applies, SPEAKERS)) >= len(SPEAKERS) / 2]
    special = [one for one in SITUATIONS if one not in general]
    parts = [
        _HEAD,
        "## Every provider\n",
        _table(_general(general)),
        _NOTES,
        "## Peculiar to some\n",
        _table(_special(special)),
        "## Models\n",
        _table(_models()),
        "## Known limits\n",
        "What the packages themselves lose or make up, so that no handler can know better.\n",
        "\n".join(f"{number}. {why}" for number, why in enumerate(_reasons(), 1)) + "\n",
    ]
    return "\n".join(parts)


def _table(rows: Iterator[list[str]]) -> str:
    head, *body = rows
    lines = [head, ["---"] * len(head), *body]
    return "".join("| " + " | ".join(cells) + " |\n" for cells in lines)


def _general(situations: list[Situation]) -> Iterator[list[str]]:
    yield ["class", *(one.title for one in situations)]
    for speaker in SPEAKERS:
        yield [f"`{speaker.name}`", *(_cell(speaker, one) for one in situations)]


def _special(situations: list[Situation]) -> Iterator[list[str]]:
    yield ["the provider sends", "class", "the row"]
    for one in situations:
        cells: dict[str, list[str]] = {}
        for speaker in SPEAKERS:
            if one.applies(speaker):
                cells.setdefault(_cell(speaker, one), []).append(f"`{speaker.name}`")
        for cell, names in cells.items():
            yield [one.title, ", ".join(names), cell]


def _models() -> Iterator[list[str]]:
    yield ["class", "tested with", "`provider`", "`model` of the row"]
    wanted = _requirements()
    for speaker in SPEAKERS:
        asked = [how for how in HOWS if how in speaker.names_asked]
        told = (
            "the one that answered"
            if not asked
            else "the one asked for; no other is told"
            if len(asked) == len(HOWS)
            else f"the one that answered; in {' and '.join(f'`{how}`' for how in asked)} the one asked for"
        )
        yield [f"`{speaker.name}`", wanted[speaker.package], f"`{speaker.provider}`", told]


def _requirements() -> dict[str, str]:
    groups = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["dependency-groups"]
    wanted = [one for one in groups["providers"] if isinstance(one, str)]
    return {one.partition(">=")[0].replace("-", "_"): f"`{one}`" for one in wanted}


def _cell(speaker: Speaker, situation: Situation) -> str:
    if not situation.applies(speaker):
        return "-"
    numbers = {how: _number(limit_of(speaker, situation, how)) for how in situation.hows}
    words = list(dict.fromkeys(numbers.values()))
    if len(words) == 1:
        return words[0]
    plain = {word for how, word in numbers.items() if how not in STREAMS}
    streamed = {word for how, word in numbers.items() if how in STREAMS}
    assert len(plain) == len(streamed) == 1, (speaker.name, situation.name)
    return f"{plain.pop()} / {streamed.pop()}"


def _number(limit: Limit | None) -> str:
    return "as sent" if limit is None else f"**{_reasons().index(limit.why) + 1}**"


def _reasons() -> list[str]:
    return list(dict.fromkeys(limit.why for limit in LIMITS))


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
