"""Cursors: where a page begins."""

from __future__ import annotations

import base64
import binascii
from typing import TYPE_CHECKING

from tokentrail._records import from_us, to_us
from tokentrail.errors import QueryError

if TYPE_CHECKING:
    from tokentrail.models import LLMCall


def cursor_after(call: LLMCall) -> str:
    """Where the page after this call begins."""
    return cursor_at(to_us(call.started_at), call.id)


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
