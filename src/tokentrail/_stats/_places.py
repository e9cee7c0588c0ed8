"""Cursors, and the periods that a series shows."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Sequence
from typing import TYPE_CHECKING

from tokentrail._periods import edges
from tokentrail._query import Filters
from tokentrail._records import from_us, to_us
from tokentrail.errors import QueryError

if TYPE_CHECKING:
    from tokentrail.models import LLMCall


def window(asked: Filters, granularity: str, found: Sequence[int]) -> list[int]:
    """The beginnings of all periods that a series shows."""
    start = asked.start_us if asked.start_us is not None else min(found, default=None)
    end = asked.end_us if asked.end_us is not None else max(found, default=None)
    if start is None or end is None:
        return []
    if asked.end_us is None:
        end += 1
    return edges(start, end, granularity, asked.zone) if start < end else []


def cursor_after(call: LLMCall) -> str:
    """Where the page after this call begins."""
    return base64.urlsafe_b64encode(f"{to_us(call.started_at)}:{call.id}".encode()).decode().rstrip("=")


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
