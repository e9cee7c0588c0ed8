"""Query: measures by dimensions, filters, window and granularity; a question as data."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass, field, replace
from datetime import date, datetime, timedelta
from functools import lru_cache
from types import MappingProxyType
from typing import Any, Final, TypeAlias
from zoneinfo import ZoneInfo

from tokentrail._measures import MEASURES
from tokentrail._neighbours import FIELDS_OF
from tokentrail._periods import GRANULARITIES
from tokentrail._records import BOOLEAN, COLUMN_OF, DURATION, FIELDS, TEXT, Record, to_us
from tokentrail.errors import QueryError

Moment: TypeAlias = datetime | date | str
Wanted: TypeAlias = tuple[str | bool | None, ...]

NAMES: Final = frozenset({
    "provider", "model", "requested_model", "call_type", "status", "role", "level", "platform", "tool_name",
    "tool_source", "feedback_type",
})  # fmt: skip
"""Fields whose values are words: filters on them never mind upper and lower case. Ids are exact."""

_YEARS: Final = (1900, 9000)
"""Outside of these, a time zone's offset may lead out of what a datetime can hold."""

DIMENSIONS: Final = frozenset(
    {name for name, kind in FIELDS.items() if kind in (TEXT, BOOLEAN, DURATION) and name != "id"} | {"tag"}
)
"""What a question can be grouped by."""

FILTERS: Final = frozenset({name for name in DIMENSIONS if FIELDS.get(name) != DURATION})
"""What a question can be filtered by."""


NEIGHBOUR_FILTERS: Final = FILTERS | {
    name for fields in FIELDS_OF.values() for name, kind in fields.items() if kind == TEXT
}
"""What questions about messages, tool calls and the like can be filtered by."""
OWNERS: Final = ("organization_id", "project_id", "client_id", "user_id")
"""Fields that say whose a call is. Asked for one owner, an answer holds nothing of another: a session of
theirs is the calls of theirs in it, however many share its name."""


class Exact(str):
    """A wanted text that is no pattern: `*` and `?` are themselves, and case matters."""

    __slots__ = ()


# --- filters -------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Filters:
    """Which calls a question is about: a window in time, and wanted values by field.

    Make one with `filters()`; here everything is checked and in microseconds already.
    """

    start_us: int | None = None
    end_us: int | None = None
    zone: ZoneInfo = field(default_factory=lambda: ZoneInfo("UTC"))
    wanted: Mapping[str, Wanted] = field(default_factory=dict)

    def since(self, moment_us: int | None) -> Filters:
        """The same calls, but none that began before a moment."""
        if moment_us is None or (self.start_us is not None and self.start_us >= moment_us):
            return self
        start_us = moment_us if self.end_us is None else min(moment_us, self.end_us)
        return replace(self, start_us=start_us)


def filters(
    *,
    start: Moment | None = None,
    end: Moment | None = None,
    tz: str = "UTC",
    known: Collection[str] = FILTERS,
    **wanted: Any,
) -> Filters:
    """Check filters and make them one object.

    Args:
        start: first moment that counts. Naive times and dates are in `tz`.
        end: first moment that no longer counts; a date (or a text that is only a date) includes that day.
        tz: IANA name of a time zone.
        known: fields that there are.
        wanted: field = value, or several. Text may hold `*` and `?`; then, and for provider, model,
            requested_model, call_type and status always, upper and lower case are the same. `None` is no
            filter; a `None` among several values asks for calls where the field is not known.

    Raises:
        QueryError: the sentence names the parameter.
    """
    zone = _zone(tz)
    start_us = None if start is None else _moment("start", start, zone, days=0)
    end_us = None if end is None else _moment("end", end, zone, days=1)
    if start_us is not None and end_us is not None and end_us < start_us:
        raise QueryError(f"end: {end} lies before start, {start}.")
    values = {name: _wanted(name, value, known) for name, value in wanted.items() if value is not None}
    return Filters(start_us, end_us, zone, MappingProxyType(values))


def _zone(name: object) -> ZoneInfo:
    try:
        return ZoneInfo(name)  # type: ignore[arg-type]
    except (ValueError, TypeError, OSError, LookupError):
        raise QueryError(f"tz: {name!r} is no time zone. Use an IANA name such as Europe/Berlin.") from None


def _moment(name: str, value: Moment, zone: ZoneInfo, *, days: int) -> int:
    try:
        moment = _parse(value)
        if not _YEARS[0] <= moment.year <= _YEARS[1]:
            raise ValueError
        if not isinstance(moment, datetime):
            moment = datetime(moment.year, moment.month, moment.day) + timedelta(days=days)  # noqa: DTZ001
        return to_us(moment if moment.tzinfo else moment.replace(tzinfo=zone))
    except (ValueError, OverflowError, TypeError):
        raise QueryError(
            f"{name}: {value!r} is no time. Use a date or ISO 8601, for example 2026-01-31 or "
            "2026-01-31T18:00:00Z."
        ) from None


def _parse(value: object) -> datetime | date:
    if isinstance(value, date):
        return value
    if not isinstance(value, str):
        raise TypeError
    text = value.strip().upper()
    return date.fromisoformat(text) if len(text) <= 10 else datetime.fromisoformat(text)


def _wanted(name: str, value: Any, known: Collection[str]) -> Wanted:
    if name not in known:
        raise QueryError(f"{name}: no such filter. There are: {', '.join(sorted(known))}.")
    several = list(value) if isinstance(value, (list, tuple, set, frozenset)) else [value]
    allowed: tuple[type, ...] = (bool,) if FIELDS.get(name) == BOOLEAN else (str,)
    for item in several:
        if item is not None and not isinstance(item, allowed):
            raise QueryError(
                f"{name}: {item!r} is not a {'true or false' if allowed == (bool,) else 'text'}."
            )
    return tuple(several)


def is_pattern(name: str, value: str | bool | None) -> bool:
    """Whether a wanted value can match other spellings than its own."""
    if isinstance(value, Exact):
        return False
    return isinstance(value, str) and (name in NAMES or "*" in value or "?" in value)


def matcher(name: str, wanted: Wanted) -> Callable[[Any], bool]:
    """A test for values of a field: one of the wanted ones, or matching one that is a pattern."""
    exact = frozenset(value for value in wanted if not is_pattern(name, value))
    patterns = [_pattern(value) for value in wanted if isinstance(value, str) and is_pattern(name, value)]

    def matches(value: Any) -> bool:
        if value in exact:
            return True
        return value is not None and any(pattern.fullmatch(value) for pattern in patterns)

    return matches


def matching(records: Iterable[Record], filters: Filters) -> list[Record]:
    """The calls that a question is about."""
    tests = [(name, matcher(name, wanted)) for name, wanted in filters.wanted.items()]
    start, end = filters.start_us, filters.end_us
    return [
        record
        for record in records
        if (start is None or record["started_at"] >= start)
        and (end is None or record["started_at"] < end)
        and all(_matches(record, name, test) for name, test in tests)
    ]


def _matches(record: Record, name: str, test: Callable[[Any], bool]) -> bool:
    if name == "tag":
        return any(test(tag) for tag in record.get("tags") or [None])
    return test(record.get(COLUMN_OF.get(name, name)))


@lru_cache(maxsize=256)
def _pattern(text: str) -> re.Pattern[str]:
    parts = {"*": ".*", "?": "."}
    return re.compile("".join(parts.get(c) or re.escape(c) for c in text), re.IGNORECASE | re.DOTALL)


# --- questions -----------------------------------------------------------------------------------


@dataclass(frozen=True)
class Query:
    """A question: which measures, of which calls, apart by what.

    Args:
        measures: what to count or add up, e.g. `calls`, `input_tokens`, `cost_usd`; a wrong one is answered
            with the list.
        by: fields to group by; `tag` counts a call once for each of its tags.
        filters: which calls; easier said with `where()`.
        granularity: also apart by time: `minute`, `15min`, `hour`, `day`, `week` (from Monday) or `month`,
            on the clocks of the filters' time zone.
        order: a measure or field to sort by, largest first with a leading `-`; unknown comes last. Without it
            groups come in the order of their names.
        limit: how many groups at most.

    Raises:
        QueryError: the sentence names the parameter.

    Example:
        >>> Query(("calls", "cost_usd"), by=("model",), order="-cost_usd").where(start="2026-01-01")
    """

    measures: tuple[str, ...] = ("calls",)
    by: tuple[str, ...] = ()
    filters: Filters = field(default_factory=Filters)
    granularity: str | None = None
    order: str | None = None
    limit: int | None = None

    def where(self, **wanted: Any) -> Query:
        """The same question about the calls that pass these filters: `start`, `end`, `tz`, `model`, …"""
        return replace(self, filters=filters(**wanted))

    def __post_init__(self) -> None:
        for name in ("measures", "by"):
            given = getattr(self, name)
            object.__setattr__(self, name, (given,) if isinstance(given, str) else tuple(given))
        _known("measures", self.measures, MEASURES)
        _known("by", self.by, DIMENSIONS)
        if self.granularity is not None:
            _known("granularity", (self.granularity,), GRANULARITIES)
            apart = [name for name in self.measures if MEASURES[name].op == "distinct"]
            if apart:
                raise QueryError(f"measures: {apart[0]} cannot be asked together with a granularity.")
        if self.order is not None:
            _known("order", (self.order.removeprefix("-"),), (*self.measures, *self.by))
        if self.limit is not None and self.limit < 1:
            raise QueryError(f"limit: {self.limit} is below 1.")


def _known(parameter: str, names: Iterable[str], known: Iterable[str]) -> None:
    choices = tuple(known)
    for name in names:
        if name not in choices:
            raise QueryError(f"{parameter}: {name!r} is unknown. There are: {', '.join(sorted(choices))}.")


def arrange(groups: list[dict[str, Any]], query: Query) -> list[dict[str, Any]]:
    """Sort and cut groups as asked: by `order`, then by names and periods; unknown always last."""
    names = ("period", *query.by) if query.granularity else query.by
    groups.sort(key=lambda group: [_sortable(group[name]) for name in names])
    if query.order is not None:
        name = query.order.removeprefix("-")
        known = [group for group in groups if group[name] is not None]
        known.sort(key=lambda group: group[name], reverse=query.order.startswith("-"))
        groups = known + [group for group in groups if group[name] is None]
    return groups if query.limit is None else groups[: query.limit]


def _sortable(value: Any) -> tuple[bool, Any]:
    return (value is None, value)
