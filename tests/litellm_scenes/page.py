"""Writes docs/litellm-scenarios.md from what the tests assert: `make litellm-page`."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Final

if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).parents[1]))
    os.environ["LITELLM_LOCAL_MODEL_COST_MAP"] = "True"  # nothing is fetched to write a page

from litellm_scenes.entries import Entry
from litellm_scenes.scenes import MODES, NEWEST, Limit, Scene
from litellm_scenes.table import SCENES

PAGE: Final = Path(__file__).parents[2] / "docs" / "litellm-scenarios.md"

_HEAD: Final = """\
# LiteLLM, scene by scene

What the ledger says of calls through LiteLLM, held against what the provider really sent. The tests play the
provider's side of the wire on loopback, with a log of the truth, and ask through LiteLLM's own functions;
`python -m pytest tests/litellm_scenes` runs every line in both modes of the door, and fails where a row is
not as written here. `make litellm-page` writes this page from the table that they assert.

A row is one physical request. Mode `inline` is how the door works; mode `hooks` is its fallback for a LiteLLM
that it does not recognise (`health()["notes"]` says which one is on). A cell has: rows; how they ended;
tokens; cost. **as sent** is what the provider sent, or its price: every count that was sent, none that was
not, and unknown where nothing was. *unknown* is an empty column, never a zero. A number in brackets is a
known limit, below.
"""
_TAIL: Final = """\
## Programs that end

Processes of their own, so not in the table: `tests/test_litellm_exit.py`. In both modes every answer that was
read is a row when `asyncio.run` ends with 1, 20 or 200 calls, or the program by itself, by an exception or by
`os._exit`; a stream that is half read then is `abandoned`. Parent and forked child record their own calls, in
mode `inline`; mode `hooks` hears as little of a child as LiteLLM does. `tests/test_install.py` holds that
`uninstall()` leaves nothing in LiteLLM.
"""


def page() -> str:
    """The whole page."""
    parts = list(dict.fromkeys(scene.part for scene in SCENES))
    chapters = [f"## {part}\n\n{_table([scene for scene in SCENES if scene.part == part])}" for part in parts]
    limits = "".join(f"{number}. {why}\n" for number, why in enumerate(_reasons(), 1))
    told = "What cannot be seen, and why.\n\n" + limits
    return "\n".join([_HEAD, *chapters, _TAIL, "## Known limits\n", told])


def _table(scenes: list[Scene]) -> str:
    head = ["what happens", "asked with", "the caller saw", *(f"`{mode}`" for mode in MODES)]
    lines = [head, ["---"] * len(head), *(line for scene in scenes for line in _lines(scene))]
    return "".join("| " + " | ".join(cells) + " |\n" for cells in lines)


def _lines(scene: Scene) -> Iterator[list[str]]:
    """One line for all entry points of a scene whose rows say the same."""
    alike: dict[tuple[str, ...], list[str]] = {}
    for entry in scene.entries:
        cells = tuple(_cell(scene, entry, mode) for mode in MODES)
        alike.setdefault(cells, []).append(f"`{entry.name}`")
    for cells, names in alike.items():
        yield [scene.title, ", ".join(names), ", ".join(scene.ends), *cells]


def _cell(scene: Scene, entry: Entry, mode: str) -> str:
    seen = scene.expected(entry, mode, NEWEST).seen
    words = [f"{len(seen.ends)}", ", ".join(seen.ends), _word(seen.tokens), _word(seen.costs)]
    words = words if seen.ends else ["no row"]
    limit = scene.limit(entry, mode, NEWEST)
    return "; ".join(words) + ("" if limit is None else f" [{_reasons().index(limit.why) + 1}]")


def _word(words: tuple[str, ...]) -> str:
    return words[0] if len(set(words)) == 1 else ", ".join(words)


def _reasons() -> list[str]:
    """The reasons of limits that somebody meets on the newest LiteLLM, in the order of the page."""
    return list(dict.fromkeys(limit.why for limit in met(NEWEST)))


def met(version: str) -> list[Limit]:
    """The limits that the table comes by on a version of LiteLLM."""
    found = [
        scene.limit(entry, mode, version) for scene in SCENES for entry in scene.entries for mode in MODES
    ]
    return [limit for limit in found if limit is not None]


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
