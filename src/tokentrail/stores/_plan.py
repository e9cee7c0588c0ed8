"""Which questions rollups can answer, from which cells, and what is left for the rows."""

from __future__ import annotations

import json
from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

import sqlalchemy as sa
from sqlalchemy import Connection

from tokentrail._measures import MEASURES
from tokentrail._periods import edges
from tokentrail._query import Filters, Query, matcher
from tokentrail._records import FAILED, STATUSES
from tokentrail.errors import QueryError
from tokentrail.stores._cover import HOUR, LUNE, QUARTER, WIDTHS
from tokentrail.stores._delta import (
    ALL,
    ERROR_TYPE,
    FINEST,
    LABELS,
    MODEL,
    OTHER,
    SERIES,
    SERIES_FIELDS,
    TAG,
    USER,
    label_of,
    table_of,
)

DISTINCT: Final = {"models": MODEL, "users": USER}
"""Measures that are the number of a dimension's keys; `sessions` is that of another table."""


@dataclass(frozen=True)
class Plan:
    """How a question is answered from cells of one dimension."""

    dimension: int
    finest: int
    start_us: int
    """The part of the window that is made of whole cells; before and after it, rows are read."""
    end_us: int
    before: Filters | None
    after: Filters | None
    keys: dict[int, Any] | None
    """Which keys, and what they are grouped as; nothing where every key is a group of its own."""
    beginnings: tuple[int, ...] = ()


def plan(connection: Connection, query: Query) -> Plan | None:
    """How rollups can answer a question; `None` if they cannot."""
    dimension = dimension_of(query)
    if dimension is None or not can_count(query, dimension):
        return None
    if any(_has_other(connection, DISTINCT[name]) for name in query.measures if name in DISTINCT):
        return None
    keys = _keys_of(connection, dimension, query.filters, query.by)
    span = span_of(connection)
    if keys is None or span is None:
        return None
    return within(query, dimension, span, keys.groups)


def plan_of_spans(connection: Connection, filters: Filters, by: str | None) -> Plan | None:
    """The same for distributions, of which there are cells for series."""
    fields = () if by is None else (by,)
    wanted = {name: value for name, value in filters.wanted.items() if name != "cache_hit"}
    if wanted != filters.wanted and set(filters.wanted["cache_hit"]) != {False, None}:
        return None
    query = Query(by=fields, filters=replace(filters, wanted=wanted))
    if not {*fields, *wanted} <= set(SERIES_FIELDS):
        return None
    keys = _keys_of(connection, SERIES, query.filters, fields)
    span = span_of(connection)
    if keys is None or span is None:
        return None
    return within(query, SERIES, span, keys.groups, finest=HOUR)


def dimension_of(query: Query) -> int | None:
    """The narrowest dimension that tells apart what a question wants apart."""
    wanted = query.filters.wanted
    asked = {*query.by, *wanted}
    if not asked:
        return ALL
    if asked == {"model"}:
        return MODEL
    if asked <= set(SERIES_FIELDS):
        return SERIES
    labels = [name for name in asked if name in LABELS]
    if len(labels) != 1:
        return None
    (label,) = labels
    dimension = LABELS[label]
    if dimension == ERROR_TYPE:
        return dimension if asked == {label, "status"} and _is_failed(wanted.get("status")) else None
    if dimension == TAG and label in wanted and query.by:
        return None  # a call is in the groups of all its tags, the ones not asked for too
    return dimension if asked == {label} else None


def _is_failed(wanted: Any) -> bool:
    return wanted is not None and set(filter(matcher("status", wanted), STATUSES)) == set(FAILED)


def can_count(query: Query, dimension: int) -> bool:
    if query.granularity == "minute":
        return False
    _, lanes = table_of(dimension)
    there = {*lanes.sums, *lanes.extremes}
    distinct = {name for name in query.measures if MEASURES[name].op == "distinct"}
    if distinct and (dimension != ALL or not distinct <= {*DISTINCT, "sessions"}):
        return False
    return all(name in there for name in query.measures if name not in distinct)


# --- keys -----------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Keys:
    """The keys of a dimension that pass the filters."""

    groups: dict[int, Any] | None


def _keys_of(connection: Connection, dimension: int, filters: Filters, by: Sequence[str]) -> Keys | None:
    """Key → group, which is a tuple of the values of `by`; `None` if the dimension cannot tell."""
    if dimension == ALL:
        return Keys(dict.fromkeys(tokens_of(connection, dimension), ()))
    name = next((name for name, each in LABELS.items() if each == dimension), "model")
    if dimension != SERIES and name not in filters.wanted:
        return None if _has_other(connection, dimension) else Keys(None)
    tokens = tokens_of(connection, dimension)
    if OTHER in tokens.values():
        return None
    tests = {name: matcher(name, wanted) for name, wanted in filters.wanted.items() if name != "cache_hit"}
    found = {}
    for key, token in tokens.items():
        values = _values(dimension, name, token)
        if all(test(values[field]) for field, test in tests.items() if field in values):
            found[key] = tuple(values[field] for field in by)
    if dimension == TAG and len(found) > 1:
        return None  # a call with two of the tags would count twice
    return Keys(found)


def _values(dimension: int, name: str, token: str) -> dict[str, Any]:
    if dimension == SERIES:
        return dict(zip(SERIES_FIELDS, json.loads(token), strict=True))
    return {name: label_of(token)}


def tokens_of(connection: Connection, dimension: int, keys: Collection[int] | None = None) -> dict[int, str]:
    among = "" if keys is None else f" AND id IN ({', '.join(map(str, keys)) or 'NULL'})"
    rows = connection.exec_driver_sql(
        f"SELECT id, token FROM usage_key WHERE dimension = {dimension}{among}"  # noqa: S608  integers
    )
    return {row[0]: row[1] for row in rows}


def _has_other(connection: Connection, dimension: int) -> bool:
    asked = sa.text("SELECT 1 FROM usage_key WHERE dimension = :dimension AND token = :token")
    found = connection.execute(asked, {"dimension": dimension, "token": OTHER})
    return found.first() is not None


# --- windows --------------------------------------------------------------------------------------


def span_of(connection: Connection) -> tuple[int, int] | None:
    """From the first to after the last quarter in which there are calls."""
    where = f"FROM usage WHERE dimension = {ALL} AND level = {QUARTER}"
    first = connection.exec_driver_sql(f"SELECT min(period) {where}").scalar()
    last = connection.exec_driver_sql(f"SELECT max(period) {where}").scalar()
    return None if first is None or last is None else (first * WIDTHS[QUARTER], (last + 1) * WIDTHS[QUARTER])


def within(
    query: Query,
    dimension: int,
    span: tuple[int, int],
    groups: dict[int, Any] | None = None,
    *,
    finest: int | None = None,
) -> Plan | None:
    """Cut a window into whole cells and what is beside them; `None` if there is no whole cell.

    Args:
        query: the question.
        dimension: whose cells.
        span: from the first to after the last quarter in which there are calls.
        groups: see `Plan.keys`.
        finest: the smallest level to use, if not the dimension's own.
    """
    asked = query.filters
    finest = FINEST.get(dimension, QUARTER) if finest is None else finest
    width, lune = WIDTHS[finest], WIDTHS[LUNE]
    # Beyond the first and the last call nothing has to be cut off, so that large cells will do.
    opens = asked.start_us is None or asked.start_us <= span[0]
    closes = asked.end_us is None or asked.end_us >= span[1]
    start = span[0] // lune * lune if opens else -(-int(asked.start_us or 0) // width) * width
    end = -(-span[1] // lune) * lune if closes else int(asked.end_us or 0) // width * width
    if start >= end:
        return None
    before = None if opens or start == asked.start_us else replace(asked, end_us=start)
    after = None if closes or end == asked.end_us else replace(asked, start_us=end)
    beginnings: tuple[int, ...] = ()
    if query.granularity is not None:
        first = span[0] if opens else int(asked.start_us or 0)
        last = span[1] if closes else int(asked.end_us or 0)
        try:
            beginnings = tuple(edges(first, last, query.granularity, asked.zone))
        except QueryError:
            return None  # there may be less to show than the window has room for
        if any(edge % width for edge in beginnings if start < edge < end):
            return None
    return Plan(dimension, finest, start, end, before, after, groups, beginnings)


def buckets(found: Plan) -> list[tuple[int, int, int]]:
    """(number of the period, start, end) of what is made of whole cells."""
    if not found.beginnings:
        return [(0, found.start_us, found.end_us)]
    ends = (*found.beginnings[1:], found.end_us)
    buckets = [
        (number, found.start_us if number == 0 else max(begin, found.start_us), min(end, found.end_us))
        for number, (begin, end) in enumerate(zip(found.beginnings, ends, strict=True))
    ]
    return [bucket for bucket in buckets if bucket[1] < bucket[2]]
