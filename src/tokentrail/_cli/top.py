"""`tokentrail top`: the calls that run right now, in all processes that write to one ledger."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any, Final

from rich.console import Group, RenderableType
from rich.live import Live
from rich.text import Text

from tokentrail._cli.show import COUNT, MILLISECONDS, TEXT, Column, Show, build_table
from tokentrail._records import COLUMN_OF, FIELDS, Record, iso, now_us

REFRESH: Final = 0.5
"""Seconds between two looks at the journals."""

_COLUMNS: Final[tuple[Column, ...]] = (
    ("running", MILLISECONDS),
    ("model", TEXT),
    ("provider", TEXT),
    ("type", TEXT),
    ("user", TEXT),
    ("session", TEXT),
    ("door", TEXT),
    ("input", COUNT),
    ("output", COUNT),
    ("process", TEXT),
)
_FIELDS: Final = ("model", "provider", "call_type", "user_id", "session_id", "source")
_NOTHING: Final = "No call is running."


def running_calls(folder: Path) -> list[dict[str, Any]]:
    """The running calls, longest running first, under their public names and in public units."""
    from tokentrail._journal import read_running

    now = now_us()
    return [_public(record, now) for record in read_running(folder)]


def _public(record: Record, now: int) -> dict[str, Any]:
    known = {name: record[name] for name in FIELDS if name not in COLUMN_OF and name in record}
    running = (now - record["started_at"]) / 1000
    return {**known, "started_at": iso(record["started_at"]), "running_ms": running, "status": "running"}


def picture(calls: list[dict[str, Any]], width: int) -> RenderableType:
    """The running calls as a table, or the sentence that there are none."""
    if not calls:
        return Text(_NOTHING)
    rows = [
        (
            call["running_ms"],
            *(call.get(name) for name in _FIELDS),
            call.get("input_tokens"),
            call.get("output_tokens"),
            call.get("process_id"),
        )
        for call in calls
    ]
    count = f"{len(calls):,} call{'s' if len(calls) != 1 else ''} running"
    return Group(Text(count, style="bold"), build_table(_COLUMNS, rows, width))


def watch(folder: Path, show: Show) -> None:
    """Show the running calls until the user interrupts."""
    with Live(console=show.console, auto_refresh=False, screen=True) as live:
        while True:
            live.update(picture(running_calls(folder), show.console.width), refresh=True)
            time.sleep(REFRESH)
