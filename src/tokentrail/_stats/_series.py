"""Calls over time: a point for every period, and none missing."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

from tokentrail._periods import edges
from tokentrail._query import Filters
from tokentrail._records import from_us
from tokentrail._stats._amounts import AMOUNTS, NOTHING, amounts
from tokentrail._stats._answers import Point
from tokentrail._stats._ask import Ask


def points(
    ask: Ask, asked: Filters, granularity: str, by: str | None = None, limit: int | None = None
) -> tuple[list[Point], bool]:
    """A gapless series, or one for each of the values of a field; and whether some were left out."""
    fields = () if by is None else (by,)
    groups = ask(AMOUNTS, asked, by=fields, granularity=granularity)
    known = {(group["period"], *(group[name] for name in fields)): group for group in groups}
    keys, left_out = ([()], False) if by is None else _largest(groups, by, limit)
    gaps: dict[Any, Point] = {}
    found = []
    for period in window(asked, granularity, [group["period"] for group in groups]):
        bucket = from_us(period).astimezone(asked.zone)
        for key in keys:
            group = known.get((period, *key), NOTHING)
            if group is NOTHING and key in gaps:
                found.append(gaps[key].model_copy(update={"bucket": bucket}))
                continue
            point = amounts(Point, group, bucket=bucket, key=key[0] if key else None)
            if group is NOTHING:
                gaps[key] = point
            found.append(point)
    return found, left_out


def _largest(
    groups: Sequence[dict[str, Any]], by: str, limit: int | None
) -> tuple[list[tuple[Any, ...]], bool]:
    """The values with most calls, in the order in which they come."""
    calls: Counter[Any] = Counter()
    for group in groups:
        calls[group[by]] += group["calls"]
    most = {key for key, _ in calls.most_common(limit)}
    return [(key,) for key in calls if key in most], len(most) < len(calls)


def window(asked: Filters, granularity: str, found: Sequence[int]) -> list[int]:
    """The beginnings of all periods that a series shows."""
    start = asked.start_us if asked.start_us is not None else min(found, default=None)
    end = asked.end_us if asked.end_us is not None else max(found, default=None)
    if start is None or end is None:
        return []
    if asked.end_us is None:
        end += 1
    return edges(start, end, granularity, asked.zone) if start < end else []
