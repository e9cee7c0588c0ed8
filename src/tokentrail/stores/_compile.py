"""A Query as SQL: one statement for SQLite and PostgreSQL, time zones and patterns kept out of it."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import datetime
from functools import cache
from typing import Any, Final

import sqlalchemy as sa
from sqlalchemy import ColumnElement, Connection, FromClause, Label, Select
from sqlalchemy.dialects.postgresql import ARRAY

from tokentrail._measures import GENERATION, MEASURES, SIZE, Test, joined
from tokentrail._periods import edges, period_of, slot_of
from tokentrail._query import Filters, Query, Wanted, arrange, is_pattern, matcher
from tokentrail._records import COLUMN_OF, DURATION, FIELDS, STATUSES, TEXT, TIME, from_us, to_us
from tokentrail.models import LLMCall
from tokentrail.models._columns import Int64
from tokentrail.stores._delta import CLIENT, MODEL, OTHER, SERIES, SERIES_FIELDS, TAG, USER, label_of
from tokentrail.stores.base import Counts

CALLS: Final[sa.Table] = LLMCall.__table__  # type: ignore[attr-defined]
_MANY: Final = 500
"""Values beyond which a list travels as one parameter: databases count parameters."""
_KEYS: Final = {
    "model": MODEL, "user_id": USER, "client_id": CLIENT, "tag": TAG,
    **dict.fromkeys(("provider", "requested_model", "call_type"), SERIES),
}  # fmt: skip
"""Fields whose every value is a key of the rollups, or a part of one."""
_SPANS: Final = ("duration_ms", "time_to_first_token_ms")

Condition = ColumnElement[bool]

LARGE: Final = 1_000_000
"""Bytes from which a call is in the index of large ones."""
_NO_BYTES: Final[ColumnElement[int]] = sa.literal_column("0")
_size: Final = sa.func.coalesce(CALLS.c.request_bytes, _NO_BYTES) + sa.func.coalesce(
    CALLS.c.response_bytes, _NO_BYTES
)
"""Of request and response together, as the index of large calls has it."""


# --- filters -------------------------------------------------------------------------------------


def conditions(
    connection: Connection,
    filters: Filters,
    *,
    after: tuple[int, str] | None = None,
    table: sa.Table = CALLS,
) -> list[Condition]:
    """What a row must meet; patterns are resolved against the values there are."""
    window = _window(filters, table)
    found = list(window)
    for name, wanted in filters.wanted.items():
        if name != "tag" and COLUMN_OF.get(name, name) not in table.c:
            found.append(sa.true() if None in wanted else sa.false())  # unknown, whatever the row
            continue
        known = _resolved(connection, name, wanted, window, table)
        found.append(
            _tagged(connection, known, table)
            if name == "tag"
            else _among(connection, _column(name, table), known)
        )
        if table is CALLS:
            found += _said_again(name, known)
    if after is not None:
        moment, call_id = from_us(after[0]), after[1]
        same = sa.and_(table.c.started_at == moment, table.c.id < call_id)
        found += [table.c.started_at <= moment, sa.or_(table.c.started_at < moment, same)]
    return found


def _said_again(name: str, wanted: Sequence[str | bool | None]) -> list[Condition]:
    """What follows from a filter, in the words of an index that is of such rows only."""
    if name == "status" and "success" not in wanted:
        return [CALLS.c.status != "success"]
    if name == "call_type" and list(wanted) == ["embedding"]:
        return [CALLS.c.call_type == sa.literal_column("'embedding'")]
    if name == "run_id" and None not in wanted:
        return [CALLS.c.run_id.is_not(None)]
    return []


def _window(filters: Filters, table: sa.Table) -> list[Condition]:
    found: list[Condition] = []
    if filters.start_us is not None:
        found.append(table.c.started_at >= from_us(filters.start_us))
    if filters.end_us is not None:
        found.append(table.c.started_at < from_us(filters.end_us))
    return found


def _resolved(
    connection: Connection, name: str, wanted: Wanted, window: Sequence[Condition], table: sa.Table
) -> list[str | bool | None]:
    """Wanted values without patterns: Python decides what matches, so that every store agrees on case."""
    if not any(is_pattern(name, value) for value in wanted):
        series = _keys(connection, name) if table is CALLS and _KEYS.get(name) == SERIES else None
        return [value for value in wanted if series is None or value is None or value in series]
    matches = matcher(name, wanted)
    if name == "status" and table is CALLS:
        return [*filter(matches, STATUSES), *(value for value in wanted if value is None)]
    keys = _keys(connection, name) if table is CALLS else None
    if keys is not None:
        return [*filter(matches, keys), *(value for value in wanted if value is None)]
    if name == "tag":
        tags = _tags(connection, table)
        values = sa.select(tags.c.value).select_from(table.join(tags, sa.true()))
    else:
        values = sa.select(_column(name, table))
    there = connection.execute(values.where(*window).distinct()).scalars()
    found = [value for value in there if value is not None and matches(value)]
    return [*found, None] if None in wanted else found


def _keys(connection: Connection, name: str) -> set[str] | None:
    """All values of a field, from the keys of the rollups; `None` where those do not know them all."""
    dimension = _KEYS.get(name)
    if dimension is None:
        return None
    asked = sa.text("SELECT token FROM usage_key WHERE dimension = :dimension")
    tokens = set(connection.execute(asked, {"dimension": dimension}).scalars())
    if OTHER in tokens:
        return None
    if dimension == SERIES:
        place = SERIES_FIELDS.index(name)
        found = {json.loads(token)[place] for token in tokens}
    else:
        found = {label_of(token) for token in tokens}
    return found - {None}


def _among(
    connection: Connection, column: ColumnElement[Any], values: Sequence[str | bool | None]
) -> Condition:
    known = [value for value in values if value is not None]
    if len(known) > _MANY:
        found = _in_many(connection, column, known)
    else:
        found = column.in_(known) if known else sa.false()
    return sa.or_(found, column.is_(None)) if None in values else found


def _in_many(connection: Connection, column: ColumnElement[Any], values: Sequence[Any]) -> Condition:
    if connection.dialect.name == "postgresql":
        return column == sa.any_(sa.literal(values, ARRAY(sa.Text)))
    listed = sa.func.json_each(json.dumps(values)).table_valued("value", name="listed")
    return column.in_(sa.select(listed.c.value))


def _tagged(connection: Connection, values: Sequence[str | bool | None], table: sa.Table) -> Condition:
    tags = _tags(connection, table)
    known = [value for value in values if value is not None]
    found = (
        sa.select(1)
        .select_from(tags)
        .where(_among(connection, tags.c.value, known))
        .correlate(table)
        .exists()
    )
    if None not in values:
        return found
    text = sa.type_coerce(table.c.tags, sa.Text)
    return sa.or_(found, text.is_(None), text == "[]")


def _tags(connection: Connection, table: sa.Table = CALLS) -> sa.TableValuedAlias:
    """The tags of a row as a table of its own, to be joined."""
    text = sa.type_coerce(table.c.tags, sa.Text)
    if connection.dialect.name == "postgresql":
        elements = sa.func.json_array_elements_text(sa.cast(text, sa.JSON))
    else:
        elements = sa.func.json_each(text)
    return elements.table_valued(sa.column("value", sa.Text), name="tag")


def _column(name: str, table: sa.Table = CALLS) -> ColumnElement[Any]:
    column = table.c[COLUMN_OF.get(name, name)]
    return sa.type_coerce(column, Int64) if FIELDS.get(name) == DURATION else column


# --- measures ------------------------------------------------------------------------------------


def condition(test: Test) -> Condition:
    """One test of a measure."""
    name, how, value = test
    column = operand(name) if name == SIZE else CALLS.c[name]
    made: dict[str, Callable[[], Any]] = {
        "in": lambda: column.in_(value),
        "is": lambda: column.is_(value) if isinstance(value, bool) else column == value,
        "is_not": lambda: column.is_not(value),
        "known": lambda: column.is_not(None),
        "unknown": lambda: column.is_(None),
        "at_least": lambda: column >= value,
        "before": lambda: column < CALLS.c[value],
        "has": lambda: _has(column, value),
    }
    found: Condition = made[how]()
    if how == "at_least" and name in (SIZE, "request_bytes", "response_bytes") and value >= LARGE:
        return sa.and_(found, _size >= sa.literal_column(str(LARGE)))  # said again, for an index
    return found


def _has(column: ColumnElement[Any], flag: str) -> Condition:
    text = sa.type_coerce(column, sa.Text)
    return sa.or_(*(text.contains(f'"{flag}{end}', autoescape=True) for end in ('"', ":")))


@cache
def _measure(name: str) -> Label[Any]:
    """A measure as SQL; made once, for making it costs more than most questions."""
    measure = MEASURES[name]
    value = operand(measure.column)
    if measure.op == "count":
        made = sa.func.count()
    elif measure.op == "distinct":
        made = sa.func.count(sa.distinct(value))
    else:
        made = getattr(sa.func, measure.op)(value)
    when = [condition(test) for test in measure.when]
    return (made.filter(*when) if when else made).label(name)


def operand(column: str | None) -> ColumnElement[Any]:
    """What a measure adds up or compares."""
    if column is None:
        return sa.literal(1)
    if column == SIZE:
        return _size
    if column == GENERATION:
        first = sa.func.coalesce(sa.type_coerce(CALLS.c.time_to_first_token_us, Int64), 0)
        return sa.type_coerce(CALLS.c.duration_us, Int64) - first
    found = CALLS.c[column]
    return found if FIELDS.get(column) in (TEXT, TIME) else sa.type_coerce(found, Int64)


def _plain(value: Any) -> Any:
    """A measure as an int: PostgreSQL adds integers up to Decimal, times come as datetime."""
    if value is None or isinstance(value, int):
        return value
    return to_us(value) if isinstance(value, datetime) else int(value)


# --- answers -------------------------------------------------------------------------------------


def answer(connection: Connection, query: Query) -> list[dict[str, Any]]:
    """The groups of a query, with measures in storage units."""
    where = conditions(connection, query.filters)
    beginnings: list[int] = []
    if query.granularity is not None:
        beginnings = _beginnings(connection, query, where)
        if not beginnings:
            return []
    statement = _select(connection, query, beginnings).where(*where)
    rows = [
        (list(row[: -len(query.measures)]), [_plain(value) for value in row[-len(query.measures) :]])
        for row in connection.execute(statement)
    ]
    if beginnings:
        rows = _in_periods(rows, query, beginnings)
    names = query.by if query.granularity is None else ("period", *query.by)
    return arrange(
        [
            {**dict(zip(names, key, strict=True)), **dict(zip(query.measures, values, strict=True))}
            for key, values in rows
        ],
        query,
    )


def spans(connection: Connection, filters: Filters, by: str | None) -> dict[Any, tuple[Counts, Counts]]:
    """How often each duration and each time to the first token occurs, by group."""
    asked = replace(filters, wanted={**filters.wanted, "cache_hit": (False, None)})
    fields = () if by is None else (by,)
    found: dict[Any, tuple[Counts, Counts]] = {} if by else {None: ({}, {})}
    for group in answer(connection, Query(by=(*fields, *_SPANS), filters=asked)):
        members = found.setdefault(None if by is None else group[by], ({}, {}))
        for counts, name in zip(members, _SPANS, strict=True):
            value = group[name]
            if value is not None:
                counts[value] = counts.get(value, 0) + group["calls"]
    return found


def _select(connection: Connection, query: Query, beginnings: Sequence[int]) -> Select[Any]:
    source: FromClause = CALLS
    keys: list[Label[Any]] = []
    if beginnings:
        keys.append(_slot(connection, beginnings).label("key_time"))
    for index, name in enumerate(query.by):
        if name == "tag":
            tags = _tags(connection)
            source = source.outerjoin(tags, sa.true())
            keys.append(tags.c.value.label(f"key_{index}"))
        else:
            keys.append(_column(name).label(f"key_{index}"))
    measures = [_measure(name) for name in query.measures]
    statement = sa.select(*keys, *measures).select_from(source)
    # By label: PostgreSQL takes a repeated expression with parameters for another one.
    statement = statement.group_by(*(sa.text(key.name) for key in keys))
    if query.limit is not None and not beginnings:
        statement = statement.order_by(*_order(connection, query, keys)).limit(query.limit)
    return statement


def _order(connection: Connection, query: Query, keys: Sequence[Label[Any]]) -> list[ColumnElement[Any]]:
    """The same order as `arrange`, so that the database may cut."""
    found: list[ColumnElement[Any]] = []
    by_code_point = connection.dialect.name == "postgresql"
    for name, key in zip(query.by, keys, strict=True):
        is_text = name == "tag" or FIELDS[name] == TEXT
        found.append(sa.collate(key.element, "C").asc() if is_text and by_code_point else key.element.asc())
    if query.order is not None:
        name = query.order.removeprefix("-")
        if name in query.by:
            first: ColumnElement[Any] = found[query.by.index(name)].element
        else:
            first = _measure(name).element
        found.insert(0, first.desc() if query.order.startswith("-") else first.asc())
    return [each.nulls_last() for each in found]


# --- time ----------------------------------------------------------------------------------------


def _beginnings(connection: Connection, query: Query, where: Sequence[Condition]) -> list[int]:
    bounds = sa.select(sa.func.min(CALLS.c.started_at), sa.func.max(CALLS.c.started_at)).where(*where)
    first, last = connection.execute(bounds).one()
    if first is None or query.granularity is None:
        return []
    return edges(to_us(first), to_us(last) + 1, query.granularity, query.filters.zone)


def _slot(connection: Connection, beginnings: Sequence[int]) -> ColumnElement[int]:
    """How many slots a row's start lies after the first beginning."""
    moment: ColumnElement[Any] = sa.type_coerce(CALLS.c.started_at, Int64)
    if connection.dialect.name == "postgresql":
        moment = sa.cast(sa.extract("epoch", CALLS.c.started_at) * 1_000_000, sa.BigInteger)
    return (moment - beginnings[0]) // slot_of(beginnings)


Row = tuple[list[Any], list[Any]]


def _in_periods(rows: Sequence[Row], query: Query, beginnings: Sequence[int]) -> list[Row]:
    """Slots put together to periods."""
    width = slot_of(beginnings)
    periods: dict[tuple[Any, ...], list[Any]] = {}
    operations = [MEASURES[name].op for name in query.measures]
    for (slot, *names), values in rows:
        key = (period_of(beginnings[0] + slot * width, beginnings), *names)
        known = periods.get(key)
        if known is None:
            periods[key] = values
        else:
            periods[key] = [joined(*each) for each in zip(operations, known, values, strict=True)]
    return [(list(key), values) for key, values in periods.items()]
