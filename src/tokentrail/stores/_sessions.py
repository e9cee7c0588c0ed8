"""Sessions, from the table that is kept for them beside the calls."""

from __future__ import annotations

from typing import Any, Final

import sqlalchemy as sa
from sqlalchemy import ColumnElement, Connection

from tokentrail._measures import AMOUNTS, MEASURES
from tokentrail._query import Filters
from tokentrail._records import from_us
from tokentrail.stores._calls import CALLS
from tokentrail.stores._compile import conditions
from tokentrail.stores._lanes import NARROW, column_of, known_of
from tokentrail.stores.base import session_order

SESSIONS: Final = sa.table(
    "session",
    sa.column("session_id", sa.Text),
    *(sa.column(column_of(name), sa.BigInteger) for name in (*NARROW.sums, *NARROW.extremes)),
)
_FIRST: Final = SESSIONS.c.first_started_at
_LAST: Final = SESSIONS.c.last_started_at
_KNOWN: Final = NARROW.extremes
"""What is known of every session: each has a call, and each call a start."""


def sessions_in(connection: Connection, filters: Filters) -> int:
    """How many sessions have a call in a window."""
    asked = sa.select(sa.func.count()).select_from(SESSIONS).where(*_in_window(filters))
    return int(connection.execute(asked).scalar_one())


def page_of_sessions(
    connection: Connection,
    filters: Filters,
    *,
    active_since: int | None,
    order: str,
    limit: int,
    after: tuple[int | None, str] | None,
) -> list[dict[str, Any]]:
    """See `Store.sessions`."""
    name, sign = session_order(order)
    value = _shown(name)
    place = value.asc() if sign > 0 else value.desc()
    where = _passing(connection, filters)
    if active_since is not None:
        where.append(active_since <= _LAST)
    if after is not None:
        where.append(_after(name, value, sign, *after))
    asked = (
        sa.select(SESSIONS.c.session_id, *(_shown(each).label(each) for each in AMOUNTS))
        .where(*where)
        .order_by(place if name in _KNOWN else place.nulls_last(), SESSIONS.c.session_id)
        .limit(limit)
    )
    return [dict(row) for row in connection.execute(asked).mappings()]


def _passing(connection: Connection, filters: Filters) -> list[ColumnElement[bool]]:
    if not filters.wanted:
        return _in_window(filters)
    calls = sa.select(CALLS.c.session_id).where(*conditions(connection, filters))
    return [SESSIONS.c.session_id.in_(calls)]


def _in_window(filters: Filters) -> list[ColumnElement[bool]]:
    """Sessions with a call in the window: their first or last is in it, or one in between."""
    start, end = filters.start_us, filters.end_us
    found: list[ColumnElement[bool]] = []
    if start is not None:
        found.append(start <= _LAST)
    if end is not None:
        found.append(end > _FIRST)
    if start is not None and end is not None:
        between = (
            sa.select(1)
            .select_from(CALLS)
            .where(
                CALLS.c.session_id == SESSIONS.c.session_id,
                CALLS.c.started_at >= from_us(start),
                CALLS.c.started_at < from_us(end),
            )
            .exists()
        )
        found.append(sa.or_(start <= _FIRST, end > _LAST, between))
    return found


def _shown(name: str) -> ColumnElement[Any]:
    column: ColumnElement[Any] = SESSIONS.c[column_of(name)]
    if MEASURES[name].op != "sum":
        return column
    return sa.case((SESSIONS.c[column_of(known_of(name))] > 0, column))


def _after(
    name: str, value: ColumnElement[Any], sign: int, last: int | None, session_id: str
) -> ColumnElement[bool]:
    later = SESSIONS.c.session_id > session_id
    if last is None:
        return sa.and_(value.is_(None), later)
    beyond = value > last if sign > 0 else value < last
    if name in _KNOWN:  # said so that an index leads to the page, however far down it is
        return sa.and_(value >= last if sign > 0 else value <= last, sa.or_(beyond, later))
    return sa.or_(beyond, sa.and_(value == last, later), value.is_(None))
