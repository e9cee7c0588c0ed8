"""What a call adds to a sum: all counters of `MEASURES` side by side in one big integer, 64 bits each.

Adding a call to a cell is then one addition. Negative parts borrow from the lane above them, and `unpacked`
gives that back; it is exact as long as no lane leaves 63 bits.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from operator import itemgetter
from typing import Any, Final

from tokentrail._measures import AMOUNTS, GENERATION, MEASURES, Measure, Test, passes
from tokentrail._records import COLUMN_OF, DURATION, FIELDS, INTEGER, MONEY, Record

MORE: Final = (
    "stopped_calls", "streaming_calls", "embedding_calls", "billed_success_calls",
    *(
        f"{outcome}_{name}"
        for outcome in ("successful", "failed", "stopped", "estimated")
        for name in ("input_tokens", "output_tokens", "total_tokens")
    ),
    "missing_usage_success_calls", "estimated_calls", "zero_token_success_calls", "failed_cost_usd",
    "estimated_cost_usd", "stream_paced_calls", "stream_paced_tokens", "stream_paced_ms", "request_bytes",
    "response_bytes", "message_count", "input_count", "tool_use_count", "tool_result_count",
    "tool_call_count", "request_sized_calls", "response_sized_calls", "lone_calls", "lone_success_calls",
    "lone_error_calls", "retry_calls", "fallback_calls", "missing_usage_stream_calls",
    "missing_usage_other_calls", "unpriced_calls", "unnamed_calls", "backward_calls",
    "total_mismatch_calls", "parts_added_calls", "invalid_calls", "negative_calls",
    "usage_not_mapping_calls", "warning_calls", "min_duration_ms", "max_duration_ms", "last_ended_at",
    "max_request_bytes", "max_response_bytes",
)  # fmt: skip
"""Measures that are kept for the whole, for models and for series, beside `AMOUNTS`."""

LARGEST: Final = 2**53
"""Of one call no counter is larger: a thousand of the largest fit into a lane."""
_BITS: Final = 64


@dataclass(frozen=True, eq=False)
class Lanes:
    """The counters of a table: what is added up, and what is kept as smallest or largest."""

    sums: tuple[str, ...]
    extremes: tuple[str, ...]


def column_of(name: str) -> str:
    """The column of a counter: as of calls, integers are called by their units."""
    return name.replace("_usd", "_nanos").replace("_ms", "_us")


def _tests(measure: Measure) -> frozenset[Test]:
    known: tuple[Test, ...] = ()
    if measure.op == "sum":
        known = (("duration_us" if measure.column == GENERATION else str(measure.column), "known", None),)
    return frozenset((*measure.when, *known))


_COUNTS: Final[Mapping[frozenset[Test], str]] = {
    _tests(MEASURES[name]): name for name in (*MORE, *AMOUNTS) if MEASURES[name].op == "count"
}


@cache
def known_of(name: str) -> str:
    """The counter that says how many values a sum is over: where it is zero, the sum is unknown."""
    return _COUNTS.get(_tests(MEASURES[name]), f"{name}_known")


def _lanes(*names: str) -> Lanes:
    sums: dict[str, None] = {}
    for name in names:
        if MEASURES[name].op in ("count", "sum"):
            sums[name] = None
        if MEASURES[name].op == "sum":
            sums[known_of(name)] = None
    return Lanes(tuple(sums), tuple(name for name in names if MEASURES[name].op in ("min", "max")))


NARROW: Final = _lanes(*AMOUNTS)
WIDE: Final = _lanes(*AMOUNTS, *MORE)
assert WIDE.sums[: len(NARROW.sums)] == NARROW.sums  # noqa: S101  narrow sums are the low lanes of wide ones

_INDEX: Final = {name: index for index, name in enumerate(WIDE.sums)}
NARROW_MASK: Final = (1 << _BITS * len(NARROW.sums)) - 1
_BIASES: Final = {
    lanes: sum(1 << _BITS * index + 63 for index in range(len(lanes.sums))) for lanes in (NARROW, WIDE)
}
_PICKS: Final[Mapping[Lanes, list[tuple[Any, str]]]] = {
    lanes: [
        (min if MEASURES[name].op == "min" else max, str(MEASURES[name].column)) for name in lanes.extremes
    ]
    for lanes in (NARROW, WIDE)
}
"""How each extreme is found, and in which column."""
_UNUSUAL: Final = sum((1 << 63 | 0x3FF << 53) << _BITS * index for index in range(len(WIDE.sums)))
"""Bits that only values have that are negative, or larger than `LARGEST`; or as large."""
_UNPACK: Final = {lanes: struct.Struct(f"<{len(lanes.sums)}q").unpack for lanes in (NARROW, WIDE)}


def unpacked(total: int, lanes: Lanes) -> tuple[int, ...]:
    """The counters in a big integer."""
    bias = _BIASES[lanes]
    size = 8 * len(lanes.sums)
    biased = (total + bias) & ((1 << 8 * size) - 1)
    return _UNPACK[lanes]((biased ^ bias).to_bytes(size, "little"))


# --- what one call adds --------------------------------------------------------------------------


class Kind:
    """How calls are counted of which the same is known and on which every test has the same outcome."""

    __slots__ = ("_constant", "_less", "_pack", "_places", "_values", "first_token")

    def __init__(self, record: Record) -> None:
        counted = [name for name in WIDE.sums if _passes(record, name)]
        self._constant = sum(1 << _BITS * _INDEX[name] for name in counted if _is_count(name))
        places = {_INDEX[name]: str(MEASURES[name].column) for name in counted if not _is_count(name)}
        self._less = sum(1 << _BITS * index for index, column in places.items() if column == GENERATION)
        self.first_token = "time_to_first_token_us" in record
        self._places = {index: _duration(column) for index, column in places.items()}
        parts = ["q" if index in places else "8x" for index in range(max(places, default=-1) + 1)]
        self._pack = struct.Struct("<" + "".join(parts)).pack
        self._values = _getter([self._places[index] for index in sorted(places)])

    def adds(self, record: Record) -> int:
        """All counters of one call as one integer.

        Raises:
            OverflowError: a value is too large to be counted.
        """
        values = self._values(record)
        total = self._packed(values)
        if total & _UNUSUAL:
            total = self._summed(values, record)
        if self._less and self.first_token:
            total -= self._less * record["time_to_first_token_us"]
        adds: int = total + self._constant
        return adds

    def _packed(self, values: tuple[int, ...]) -> int:
        try:
            return int.from_bytes(self._pack(*values), "little")
        except struct.error:
            raise OverflowError(_too_large(values)) from None

    def _summed(self, values: tuple[int, ...], record: Record) -> int:
        """The slow way, where a value is negative: it borrows from the lane above."""
        if max(values) > LARGEST or min(values) < -LARGEST:
            raise OverflowError(_too_large(values))
        return sum(record[column] << _BITS * index for index, column in self._places.items())


def _too_large(values: tuple[int, ...]) -> str:
    return f"{max(values, key=abs)} is too large to be counted"


def _is_count(name: str) -> bool:
    return name not in MEASURES or MEASURES[name].op == "count"


def _passes(record: Record, name: str) -> bool:
    measure = MEASURES[name.removesuffix("_known") if name not in MEASURES else name]
    tests = _tests(measure)
    return all(passes(record, test) for test in tests)


def _duration(column: str) -> str:
    return "duration_us" if column == GENERATION else column


def _getter(columns: Sequence[str]) -> Callable[[Record], tuple[int, ...]]:
    if len(columns) > 1:
        return itemgetter(*columns)
    return lambda record: tuple(record[column] for column in columns)


TESTED: Final = tuple(sorted({test[0] for name in (*AMOUNTS, *MORE) for test in MEASURES[name].when}))
"""Columns that decide what a call counts for."""
COUNTED: Final = tuple(
    sorted(
        {COLUMN_OF.get(field, field) for field, kind in FIELDS.items() if kind in (INTEGER, DURATION, MONEY)}
        & {_duration(str(MEASURES[name].column)) for name in (*AMOUNTS, *MORE)}
    )
)
"""Columns whose values are counted."""


def extremes_of(lanes: Lanes, records: Iterable[Record]) -> list[int | None]:
    """The smallest and largest values of some calls, in the order of `lanes.extremes`."""
    members = list(records)
    found: list[int | None] = []
    for pick, column in _PICKS[lanes]:
        try:
            found.append(pick(map(itemgetter(column), members)))
        except KeyError:
            found.append(pick((record[column] for record in members if column in record), default=None))
    return found


def outdone(lanes: Lanes, one: Sequence[int | None], other: Sequence[int | None]) -> list[int | None]:
    """Of two lists of extremes, the more extreme each."""
    return [
        (mine if theirs is None else theirs) if mine is None or theirs is None else pick(mine, theirs)
        for (pick, _), mine, theirs in zip(_PICKS[lanes], one, other, strict=True)
    ]


def value_of(name: str, counters: Mapping[str, Any]) -> Any:
    """A measure, from counters: a sum over no known value is unknown."""
    if MEASURES[name].op == "sum" and not counters[known_of(name)]:
        return None
    return counters[name]
