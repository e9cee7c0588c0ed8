"""A call as data: the record that walks from the doors through the journal into a store.

A record is a plain dict with only the columns that have a value, in the units they are stored in: integer
microseconds for time, integer nano-dollars for money. It is at once what the journal encodes, what the
importer hands to a store and what a store inserts; nothing is translated on the way.
"""

from __future__ import annotations

import itertools
import os
import time
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any, Final, TypeAlias

Record: TypeAlias = dict[str, Any]

START: Final = 0
"""Finality of a call that runs: in memory and in the journal, never in a store."""
PROVISIONAL: Final = 1
"""An end that a stronger witness may replace."""
FINAL: Final = 2
"""An end that stands. A late witness that fills blanks counts on from here: 3, 4, … are final too."""

STATUSES: Final = ("success", "error", "cancelled", "timeout", "abandoned", "interrupted")
FAILED: Final = ("error", "timeout")

TEXT, LONG_TEXT, INTEGER, BOOLEAN, TIME, DURATION, MONEY, LIST, MAPPING = range(9)
"""Kinds of field. TIME, DURATION and MONEY are scaled integers in a record."""

COLUMN_OF: Final[Mapping[str, str]] = {
    "duration_ms": "duration_us",
    "time_to_first_token_ms": "time_to_first_token_us",
    "cost_usd": "cost_nanos",
    "input_cost_usd": "input_cost_nanos",
    "output_cost_usd": "output_cost_nanos",
}
"""Public field → column, where the two differ because the column is an exact integer."""

FIELDS: Final[Mapping[str, int]] = {
    # ids
    "id": TEXT, "finality": INTEGER, "request_id": TEXT, "response_id": TEXT, "operation_id": TEXT,
    "attempt": INTEGER, "attempt_kind": TEXT, "parent_id": TEXT, "trace_id": TEXT,
    # who
    "organization_id": TEXT, "project_id": TEXT, "client_id": TEXT, "user_id": TEXT, "agent_id": TEXT,
    "session_id": TEXT, "run_id": TEXT, "step_id": TEXT, "message_id": TEXT, "tags": LIST,
    "attributes": MAPPING,
    # what
    "source": TEXT, "seen_by": LIST, "call_type": TEXT, "provider": TEXT, "model": TEXT,
    "requested_model": TEXT, "api_base": TEXT, "is_streaming": BOOLEAN, "is_byok": BOOLEAN,
    "cache_hit": BOOLEAN, "finish_reason": TEXT, "params": MAPPING,
    # when
    "started_at": TIME, "ended_at": TIME, "created_at": TIME, "duration_ms": DURATION,
    "time_to_first_token_ms": DURATION,
    # how it ended
    "status": TEXT, "error_type": TEXT, "error_message": LONG_TEXT, "stack_trace": LONG_TEXT,
    # tokens
    "input_tokens": INTEGER, "output_tokens": INTEGER, "total_tokens": INTEGER,
    "cache_read_tokens": INTEGER, "cache_creation_tokens": INTEGER, "reasoning_tokens": INTEGER,
    "input_audio_tokens": INTEGER, "output_audio_tokens": INTEGER, "usage_details": MAPPING,
    "usage_source": TEXT, "usage_flags": LIST,
    # money
    "cost_usd": MONEY, "input_cost_usd": MONEY, "output_cost_usd": MONEY, "cost_source": TEXT,
    "price_model": TEXT, "price_version": TEXT,
    # sizes
    "message_count": INTEGER, "input_count": INTEGER, "tool_use_count": INTEGER,
    "tool_result_count": INTEGER, "tool_call_count": INTEGER, "request_bytes": INTEGER,
    "response_bytes": INTEGER,
    # billing
    "billing_plan_type": TEXT, "billing_cost_source": TEXT, "billing_customer_id": TEXT,
    # where
    "process_id": TEXT, "host": TEXT,
}  # fmt: skip
"""Every public field of a call and its kind, in the order of the table `llm_call`."""

WHO: Final = (
    "organization_id", "project_id", "client_id", "user_id", "agent_id", "session_id", "run_id", "step_id",
    "message_id", "trace_id", "parent_id",
)  # fmt: skip
"""The fields that say for whom a call was made; `context()` and `Settings` can give them."""

PAYLOADS: Final = ("request", "response")
"""Keys of a record that hold captured JSON text; they go to the table `llm_payload`."""

SCALES: Final[Mapping[int, int]] = {TIME: 1_000_000, DURATION: 1_000, MONEY: 1_000_000_000}
"""Stored integers per public unit: microseconds per second and per millisecond, nano-dollars per dollar."""


# --- ids -----------------------------------------------------------------------------------------

_sequence = itertools.count()
_tail = ""


def _new_tail() -> None:
    """Draw this process's share of every id anew; also in a forked child, which must not repeat ids."""
    global _tail
    digits = os.urandom(6).hex()
    _tail = f"-{8 + int(digits[0], 16) % 4:x}{digits[1:4]}-{digits[4:12]}"


_new_tail()
os.register_at_fork(after_in_child=_new_tail)


def new_id(now_us: int) -> str:
    """A UUIDv7 (RFC 9562) for a moment given in microseconds since the epoch, as 36 characters.

    Sorted ids are sorted calls: milliseconds, then the microseconds in 12 bits. 46 bits are drawn at random
    once a process; the last 16 are a counter, which keeps the ids of one microsecond apart.
    """
    millis, micros = divmod(now_us, 1000)
    count = next(_sequence) & 0xFFFF
    # `%` takes two thirds of an f-string's time here, and every call needs one.
    return "%08x-%04x-7%03x%s%04x" % (millis >> 16, millis & 0xFFFF, micros << 2, _tail, count)  # noqa: UP031


def now_us() -> int:
    """The wall clock in microseconds since the epoch."""
    return time.time_ns() // 1000


_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND: Final = timedelta(microseconds=1)


def to_us(moment: datetime) -> int:
    """A moment as microseconds since the epoch, exactly; a naive one is UTC."""
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=UTC)
    return (moment - _EPOCH) // _MICROSECOND


def from_us(moment_us: int) -> datetime:
    """Microseconds since the epoch as an aware datetime in UTC, exactly."""
    return _EPOCH + timedelta(microseconds=moment_us)


def iso(moment_us: int) -> str:
    """Microseconds since the epoch as ISO 8601 in UTC, with Z."""
    return from_us(moment_us).isoformat(timespec="microseconds").removesuffix("+00:00") + "Z"
