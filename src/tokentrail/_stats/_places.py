"""Where a page begins, and how long it is."""

from __future__ import annotations

import base64
import binascii
from datetime import datetime
from typing import Protocol

from tokentrail._records import from_us, to_us
from tokentrail._stats._arguments import MOST_CALLS, MOST_OFFSET
from tokentrail.errors import QueryError


def page_bounds(limit: int, offset: int = 0) -> tuple[int, int]:
    """Limit and offset that are in force.

    Raises:
        QueryError: one of them is too small.
    """
    if limit < 1:
        raise QueryError(f"limit: {limit} is below 1.")
    if offset < 0:
        raise QueryError(f"offset: {offset} is below 0.")
    return min(limit, MOST_CALLS), min(offset, MOST_OFFSET)


class _Row(Protocol):
    @property
    def id(self) -> str: ...
    @property
    def started_at(self) -> datetime: ...


def cursor_after(row: _Row) -> str:
    """Where the page after this row begins."""
    return cursor_at(to_us(row.started_at), row.id)


def cursor_at(moment_us: int, key: str) -> str:
    """Where the page begins after what has this moment and name."""
    return base64.urlsafe_b64encode(f"{moment_us}:{key}".encode()).decode().rstrip("=")


def place_of(cursor: str) -> tuple[int, str]:
    """What a cursor says: time and id of the last call of the page before.

    Raises:
        QueryError: it is none of ours.
    """
    try:
        text = base64.urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4)).decode()
        moment, separator, call_id = text.partition(":")
        place = int(moment), call_id
        from_us(place[0])
    except (binascii.Error, ValueError, OverflowError):
        separator, place = "", (0, "")
    if not separator:
        raise QueryError(f"cursor: {cursor!r:.60} is none of ours. Use next_cursor of the page before.")
    return place
