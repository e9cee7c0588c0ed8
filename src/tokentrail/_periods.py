"""Periods: where the hours, days, weeks and months of a time zone begin, to the microsecond."""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta
from itertools import count
from typing import Final
from zoneinfo import ZoneInfo

from tokentrail._records import from_us, to_us
from tokentrail.errors import QueryError

SECOND: Final = 1_000_000
_STEPS: Final = {"minute": 60 * SECOND, "15min": 900 * SECOND, "hour": 3600 * SECOND}
GRANULARITIES: Final = (*_STEPS, "day", "week", "month")
MOST: Final = 20_000
"""Points of one answer; beyond it a question is refused with a sentence."""


def edges(start_us: int, end_us: int, granularity: str, zone: ZoneInfo) -> list[int]:
    """The beginnings of all periods that touch the window [start, end), in microseconds.

    A period is what a clock on the wall shows: a day has 23 or 25 hours where the clocks change, and an
    hour that is repeated is two periods.

    Raises:
        QueryError: there would be more than `MOST`.
    """
    step = _STEPS.get(granularity)
    walk = _by_calendar(start_us, granularity, zone) if step is None else _by_clock(start_us, step, zone)
    found: list[int] = []
    for edge in walk:
        if edge >= end_us and found:
            return found
        found.append(edge)
        if len(found) > MOST:
            break
    raise QueryError(
        f"granularity: {granularity!r} gives more than {MOST} points for this window. "
        "Ask for a coarser one, or for less time."
    )


def slot_of(beginnings: Sequence[int]) -> int:
    """The widest slot, in microseconds from the first beginning, that has every other on its boundary.

    A store groups by `(time - first) // slot`, in integers and without knowing time zones; slots are then
    put together to periods.
    """
    first = beginnings[0]
    return math.gcd(*(beginning - first for beginning in beginnings)) or 24 * 3600 * SECOND


def period_of(moment_us: int, beginnings: Sequence[int]) -> int:
    """The beginning of the period a moment lies in."""
    return beginnings[bisect_right(beginnings, moment_us) - 1]


def _by_clock(start_us: int, step: int, zone: ZoneInfo) -> Iterator[int]:
    offset = _offset(start_us, zone)
    edge = start_us - (start_us + offset) % step
    if _offset(edge, zone) != offset:
        edge = max(edge, _transition(edge, start_us, zone))
    if zone.utcoffset(None) is not None:  # it never changes
        yield from count(edge, step)
    offset = _offset(edge, zone)
    while True:
        yield edge
        following = edge + step - (edge + offset) % step
        then = _offset(following, zone)
        # A change of a whole number of steps keeps the rhythm; another one cuts the period short.
        if (then - offset) % step:
            following = _transition(edge, following, zone)
            then = _offset(following, zone)
        edge, offset = following, then


def _transition(before: int, after: int, zone: ZoneInfo) -> int:
    """The moment in (before, after] at which the offset changes."""
    old = _offset(before, zone)
    low, high = before // SECOND, -(-after // SECOND)
    while high - low > 1:
        middle = (low + high) // 2
        if _offset(middle * SECOND, zone) == old:
            low = middle
        else:
            high = middle
    return high * SECOND


def _offset(moment_us: int, zone: ZoneInfo) -> int:
    offset = from_us(moment_us).astimezone(zone).utcoffset()
    return 0 if offset is None else offset // timedelta(microseconds=1)


def _by_calendar(start_us: int, granularity: str, zone: ZoneInfo) -> Iterator[int]:
    day = from_us(start_us).astimezone(zone).replace(hour=0, minute=0, second=0, microsecond=0, fold=0)
    if granularity == "week":
        day -= timedelta(days=day.weekday())
    elif granularity == "month":
        day = day.replace(day=1)
    while True:
        # In wall time: adding a day to a zoned datetime keeps its clock, and a midnight that does not
        # exist means the moment of the change.
        yield to_us(day.astimezone(UTC))
        if granularity == "month":
            day = (day + timedelta(days=32)).replace(day=1)
        else:
            day += timedelta(days=7 if granularity == "week" else 1)


def local_iso(moment_us: int, zone: ZoneInfo) -> str:
    """A moment as ISO 8601 in a zone; UTC is written `Z`."""
    moment: datetime = from_us(moment_us).astimezone(zone)
    return moment.isoformat().replace("+00:00", "Z") if zone.key == "UTC" else moment.isoformat()
