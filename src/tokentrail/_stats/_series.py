"""Calls over time: a point for every period, and none missing."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Any, Final

from tokentrail._periods import edges
from tokentrail._query import Filters
from tokentrail._records import from_us
from tokentrail._stats._amounts import AMOUNTS, NOTHING, amounts, columns_of_amounts
from tokentrail._stats._answers import Amounts, Point
from tokentrail._stats._ask import Ask


def points(
    ask: Ask, asked: Filters, granularity: str, by: str | None = None, limit: int | None = None
) -> tuple[list[Point], bool]:
    """A gapless series, or one for each of the values of a field; and whether some were left out."""
    columns = ask.columns(AMOUNTS, asked, by=() if by is None else (by,), granularity=granularity)
    periods = columns["period"]
    keys = [None] * len(periods) if by is None else columns[by]
    foremost, left_out = ([None], False) if by is None else _foremost(keys, columns["calls"], limit)
    shown = columns_of_amounts(columns)
    there: dict[int, dict[Any, Point]] = {period: {} for period in window(asked, granularity, periods)}
    buckets = {period: from_us(period).astimezone(asked.zone) for period in there}
    for period, key, row in zip(periods, keys, zip(*shown.values(), strict=True), strict=True):
        there[period][key] = _point(buckets[period], key, zip(shown, row, strict=True))
    found = [
        points.get(key) or _point(buckets[period], key)
        for period, points in there.items()
        for key in foremost
    ]
    return found, left_out


_GAP: Final = {**vars(amounts(Amounts, NOTHING)), "bucket": None, "key": None}
"""What is said of a period without calls."""


def _point(bucket: datetime, key: Any, values: Iterable[tuple[str, Any]] = ()) -> Point:
    point = _GAP.copy()
    point.update(values)
    point["bucket"], point["key"] = bucket, key
    return Point.of_checked(point)


def _foremost(keys: Sequence[Any], calls: Sequence[int], limit: int | None) -> tuple[list[Any], bool]:
    """The values with most calls, in the order of their names."""
    total: Counter[Any] = Counter()
    for key, count in zip(keys, calls, strict=True):
        total[key] += count
    most = [key for key, _ in total.most_common(limit)]
    return sorted(most, key=lambda key: (key is None, key)), len(most) < len(total)


def window(asked: Filters, granularity: str, found: Sequence[int]) -> list[int]:
    """The beginnings of all periods that a series shows."""
    start = asked.start_us if asked.start_us is not None else min(found, default=None)
    end = asked.end_us if asked.end_us is not None else max(found, default=None)
    if start is None or end is None:
        return []
    if asked.end_us is None:
        end += 1
    return edges(start, end, granularity, asked.zone) if start < end else []
