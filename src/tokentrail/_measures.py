"""MEASURES: everything that can be counted or added up over calls, as data that each store compiles.

Unknown is not zero: a sum skips calls whose value is not known and is itself unknown if there was none.
`of` names the count of the calls a sum is over; where that is zero, the sum is zero, and known.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final, NamedTuple

from tokentrail._records import COLUMN_OF, FAILED, FIELDS, INTEGER, SCALES, TIME, Record

Test = tuple[str, str, Any]
"""(column, how, value). How: `in` | `is` | `is_not` (which what is unknown is) | `known` | `unknown` |
`at_least` | `before` (another column) | `has` (a flag, or one of its family: `invalid` is in
`["invalid:input_tokens"]`)."""


class Measure(NamedTuple):
    """One number over a group of calls."""

    op: str
    """`count`, `sum`, `min`, `max` or `distinct` (how many different values)."""
    column: str | None = None
    """What of a call, in storage units; nothing for `count`."""
    when: tuple[Test, ...] = ()
    """Over which calls of the group: those that pass all tests."""
    of: str = "calls"
    kind: int = INTEGER
    """Kind of field, which says the unit."""


_BILLED: Final[Test] = ("cache_hit", "is_not", True)
_SUCCESS: Final[Test] = ("status", "in", ("success",))
_FAILED: Final[Test] = ("status", "in", FAILED)
_STOPPED: Final[Test] = ("status", "in", ("cancelled", "abandoned", "interrupted"))
_PACED: Final = (_SUCCESS, _BILLED, ("duration_us", "known", None), ("output_tokens", "known", None))
_ESTIMATED: Final[Test] = ("usage_source", "in", ("estimated",))
_STREAMED: Final[Test] = ("is_streaming", "is", True)
_AGAIN: Final[Test] = ("attempt_kind", "in", ("retry", "fallback"))
_LONE: Final[Test] = ("operation_id", "unknown", None)

_TOKENS: Final = ("input_tokens", "output_tokens", "total_tokens")
_PARTS: Final = (
    "cache_read_tokens", "cache_creation_tokens", "reasoning_tokens", "input_audio_tokens",
    "output_audio_tokens",
)  # fmt: skip

GENERATION: Final = "generation_us"
"""Not a column: the duration without the time to the first token, where that is known."""
SIZE: Final = "size_bytes"
"""Not a column: bytes of request and response together; what is not known of them counts as nothing."""


def _count(*when: Test) -> Measure:
    return Measure("count", when=when)


def _sum(name: str, *when: Test, of: str = "calls") -> Measure:
    return Measure("sum", COLUMN_OF.get(name, name), when, of, FIELDS[name])


def _flagged(flag: str) -> Measure:
    return _count(("usage_flags", "has", flag))


def _extreme(op: str, name: str) -> Measure:
    return Measure(op, COLUMN_OF.get(name, name), kind=FIELDS[name])


def _token_sums() -> dict[str, Measure]:
    """Sums of billed tokens, whole and by outcome; what of them is estimated; and, not among them, what
    answers from a response cache had.
    """
    sums = {name: _sum(name, _BILLED, of="billed_calls") for name in (*_TOKENS, *_PARTS)}
    for name in _TOKENS:
        sums[f"successful_{name}"] = _sum(name, _BILLED, _SUCCESS, of="billed_success_calls")
        sums[f"failed_{name}"] = _sum(name, _BILLED, _FAILED, of="error_calls")
        sums[f"stopped_{name}"] = _sum(name, _BILLED, _STOPPED, of="stopped_calls")
        sums[f"estimated_{name}"] = _sum(name, _BILLED, _ESTIMATED, of="estimated_calls")
        sums[f"cache_hit_{name}"] = _sum(name, ("cache_hit", "is", True), of="cache_hit_calls")
    return sums


MEASURES: Final[Mapping[str, Measure]] = {
    "calls": _count(),
    "success_calls": _count(_SUCCESS),
    "error_calls": _count(_FAILED),
    **{
        f"{status}_calls": _count(("status", "in", (status,)))
        for status in ("timeout", "cancelled", "abandoned", "interrupted")
    },
    "stopped_calls": _count(_STOPPED),
    "streaming_calls": _count(_STREAMED),
    "embedding_calls": _count(("call_type", "in", ("embedding",))),
    "billed_calls": _count(_BILLED),
    "billed_success_calls": _count(_BILLED, _SUCCESS),
    "cache_hit_calls": _count(("cache_hit", "is", True)),
    # tokens, and the holes in them
    **_token_sums(),
    "counted_calls": _count(_BILLED, ("total_tokens", "known", None)),
    "missing_usage_success_calls": _count(_BILLED, _SUCCESS, ("total_tokens", "unknown", None)),
    "estimated_calls": _count(_BILLED, _ESTIMATED),
    "zero_token_success_calls": _count(_SUCCESS, ("total_tokens", "is", 0)),
    # money, and the holes in it
    **{name: _sum(name) for name in ("cost_usd", "input_cost_usd", "output_cost_usd")},
    "failed_cost_usd": _sum("cost_usd", _FAILED, of="error_calls"),
    "estimated_cost_usd": _sum("cost_usd", _BILLED, _ESTIMATED, of="estimated_calls"),
    "priced_calls": _count(("cost_nanos", "known", None)),
    # time
    "duration_ms": _sum("duration_ms"),
    "timed_calls": _count(("duration_us", "known", None)),
    "min_duration_ms": _extreme("min", "duration_ms"),
    "max_duration_ms": _extreme("max", "duration_ms"),
    "time_to_first_token_ms": _sum("time_to_first_token_ms"),
    "first_token_calls": _count(("time_to_first_token_us", "known", None)),
    "first_started_at": _extreme("min", "started_at"),
    "last_started_at": _extreme("max", "started_at"),
    "last_ended_at": _extreme("max", "ended_at"),
    # speed: tokens of successful answers over the time they took to write
    "paced_calls": _count(*_PACED),
    "paced_tokens": _sum("output_tokens", *_PACED, of="paced_calls"),
    "paced_ms": Measure("sum", GENERATION, _PACED, "paced_calls", FIELDS["duration_ms"]),
    "stream_paced_calls": _count(*_PACED, _STREAMED),
    "stream_paced_tokens": _sum("output_tokens", *_PACED, _STREAMED, of="stream_paced_calls"),
    "stream_paced_ms": Measure(
        "sum", GENERATION, (*_PACED, _STREAMED), "stream_paced_calls", FIELDS["duration_ms"]
    ),
    # sizes
    **{
        name: _sum(name)
        for name in (
            "request_bytes", "response_bytes", "message_count", "input_count", "tool_use_count",
            "tool_result_count", "tool_call_count",
        )
    },
    "max_request_bytes": _extreme("max", "request_bytes"),
    "max_response_bytes": _extreme("max", "response_bytes"),
    "request_sized_calls": _count(("request_bytes", "known", None)),
    "response_sized_calls": _count(("response_bytes", "known", None)),
    # how many different
    "sessions": Measure("distinct", "session_id"),
    "users": Measure("distinct", "user_id"),
    "models": Measure("distinct", "model"),
    "messages": Measure("distinct", "message_id"),
    # what the user asked for, which may need several calls
    "operations": Measure("distinct", "operation_id"),
    "successful_operations": Measure("distinct", "operation_id", (_SUCCESS,)),
    "finished_operations": Measure("distinct", "operation_id", (("status", "in", ("success", *FAILED)),)),
    "retried_operations": Measure("distinct", "operation_id", (_AGAIN,)),
    "lone_calls": _count(_LONE),
    "lone_success_calls": _count(_LONE, _SUCCESS),
    "lone_error_calls": _count(_LONE, _FAILED),
    "retry_calls": _count(("attempt_kind", "in", ("retry",))),
    "fallback_calls": _count(("attempt_kind", "in", ("fallback",))),
    # what is wrong with what was recorded
    "missing_usage_stream_calls": _count(_BILLED, _SUCCESS, _STREAMED, ("total_tokens", "unknown", None)),
    "missing_usage_other_calls": _count(
        _BILLED, _SUCCESS, ("is_streaming", "is_not", True), ("total_tokens", "unknown", None)
    ),
    "unpriced_calls": _count(("cost_nanos", "unknown", None), ("total_tokens", "known", None)),
    "unnamed_calls": _count(("model", "unknown", None)),
    "backward_calls": _count(("ended_at", "before", "started_at")),
    **{
        f"{flag}_calls": _flagged(flag)
        for flag in ("total_mismatch", "parts_added", "invalid", "negative", "usage_not_mapping", "warning")
    },
}  # fmt: skip
"""Name → measure. Stores answer in storage units; `public` turns them into dollars and milliseconds."""

AMOUNTS: Final = (
    "calls", "success_calls", "error_calls", "timeout_calls", "cancelled_calls", "abandoned_calls",
    "interrupted_calls", "cache_hit_calls", "billed_calls",
    *_TOKENS, *_PARTS, *(f"cache_hit_{name}" for name in _TOKENS), "counted_calls",
    "cost_usd", "input_cost_usd", "output_cost_usd", "priced_calls",
    "duration_ms", "timed_calls", "time_to_first_token_ms", "first_token_calls",
    "paced_calls", "paced_tokens", "paced_ms", "first_started_at", "last_started_at",
)  # fmt: skip
"""What stores keep added up for every label a call can have, and for every session."""


def public(name: str, value: int | None) -> int | float | None:
    """A measure in public units: dollars, milliseconds, plain counts; times stay microseconds."""
    measure = MEASURES[name]
    if value is None or measure.op in ("count", "distinct") or measure.kind == TIME:
        return value
    scale = SCALES.get(measure.kind)
    return value if scale is None else value / scale


def operand(record: Record, column: str | None) -> Any:
    """What of a call a measure is over; for the names that are no columns too."""
    if column == SIZE:
        return (record.get("request_bytes") or 0) + (record.get("response_bytes") or 0)
    if column != GENERATION:
        return record.get(column or "")
    duration = record.get("duration_us")
    return None if duration is None else duration - (record.get("time_to_first_token_us") or 0)


def passes(record: Record, test: Test) -> bool:
    """One test of a measure."""
    column, how, value = test
    found = operand(record, column)
    if how == "in":
        return found in value
    if how == "at_least":
        return found is not None and found >= value
    if how == "before":
        other = record.get(value)
        return found is not None and other is not None and found < other
    if how == "has":
        return any(flag == value or flag.startswith(f"{value}:") for flag in found or ())
    if how == "is":
        return found is not None and found == value
    if how == "is_not":
        return found is None or found != value
    return (found is None) == (how == "unknown")


def joined(operation: str, one: Any, other: Any) -> Any:
    """A measure over two lots of calls, from that over each."""
    if one is None or other is None:
        return one if other is None else other
    if operation in ("min", "max"):
        return min(one, other) if operation == "min" else max(one, other)
    return one + other
