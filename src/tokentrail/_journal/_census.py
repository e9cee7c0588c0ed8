"""What lies in the folder of a database's journals, counted without touching it."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

from tokentrail._journal._folder import REFUSED, owners
from tokentrail._journal._segment import DAMAGED, is_running


class Census(NamedTuple):
    """Segments and files of one folder."""

    living: int
    """Processes that write into it and run."""
    dead: int
    """Processes that are gone and left calls behind which nobody has imported yet."""
    waiting_bytes: int
    """In the segments of the dead."""
    refused: int
    """Records that the database could not take, kept in `refused.jsonl`."""
    damaged: int
    """Segments with bytes that were no record, kept aside."""


def census(folder: Path) -> Census:
    """Count; a folder that is not there is an empty one."""
    found = owners(folder)
    dead = [path for paths in found.values() if not is_running(paths[0].name) for path in paths]
    return Census(
        living=sum(is_running(paths[0].name) for paths in found.values()),
        dead=sum(not is_running(paths[0].name) for paths in found.values()),
        waiting_bytes=sum(map(_size, dead)),
        refused=_lines(folder / REFUSED),
        damaged=len(list(folder.glob(f"*{DAMAGED}"))),
    )


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:
        return 0  # somebody has imported it at this moment


def _lines(path: Path) -> int:
    try:
        with path.open("rb") as file:
            return sum(1 for _ in file)
    except OSError:
        return 0
