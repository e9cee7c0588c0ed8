"""All rollups again, from the rows: after an upgrade, or where somebody changed rows by hand."""

from __future__ import annotations

import sqlalchemy as sa
from sqlalchemy import Connection

from tokentrail._measures import MEASURES
from tokentrail._records import Record
from tokentrail.stores import _sketches
from tokentrail.stores._calls import CALLS, all_facts, ledger
from tokentrail.stores._cover import DAY, HOUR, LUNE, WIDTHS
from tokentrail.stores._delta import FINEST, Delta, table_of
from tokentrail.stores._lanes import Lanes, column_of
from tokentrail.stores._rollups import Rollups, replace_sketches
from tokentrail.stores._rows import by_columns
from tokentrail.stores.base import Progress


def rebuild(connection: Connection, progress: Progress | None = None) -> int:
    """Add everything up again, in the transaction of the caller; returns how many rows.

    What was pruned has no rows any more: cells and sessions that began before the mark stay as they are.
    """
    mark = ledger(connection).pruned_before
    since = None if mark is None else -(-mark // WIDTHS[HOUR]) * WIDTHS[HOUR]
    rows = connection.execute(sa.select(sa.func.count()).select_from(CALLS)).scalar_one()
    _delete(connection, since)
    kept = set(connection.exec_driver_sql("SELECT session_id FROM session").scalars())
    postgres = connection.dialect.name == "postgresql"
    rollups, done = Rollups(postgres=postgres), 0
    for records in all_facts(connection, since):
        delta = Delta()
        delta.add(by_columns(_without_session(record, kept) for record in records), [])
        rollups.apply(connection, delta, whole=False)
        done += len(records)
        if progress is not None:
            progress(done, max(rows, done))
    for dimension in range(7):
        _raise_levels(connection, dimension)
    _raise_sketches(connection, postgres=postgres)
    if progress is not None:
        progress(rows, rows)
    return rows


def _without_session(record: Record, kept: set[str]) -> Record:
    if record.get("session_id") not in kept:
        return record
    return {name: value for name, value in record.items() if name != "session_id"}


def _delete(connection: Connection, since: int | None) -> None:
    if since is None:
        for table in ("usage", "usage_label", "usage_sketch", "session", "usage_key"):
            connection.exec_driver_sql(f"DELETE FROM {table}")  # noqa: S608  names of our own
        connection.exec_driver_sql("UPDATE ledger SET keys_version = keys_version + 1")
        return
    for dimension in range(7):
        table, _ = table_of(dimension)
        finest = FINEST.get(dimension, 0)
        connection.exec_driver_sql(
            f"DELETE FROM {table} WHERE dimension = {dimension} AND "  # noqa: S608  integers
            f"(level > {finest} OR period >= {since // WIDTHS[finest]})"
        )
    connection.exec_driver_sql(
        f"DELETE FROM usage_sketch WHERE level > {HOUR} OR period >= {since // WIDTHS[HOUR]}"  # noqa: S608
    )
    connection.exec_driver_sql(f"DELETE FROM session WHERE first_started_at >= {since}")  # noqa: S608


def _raise_levels(connection: Connection, dimension: int) -> None:
    """Every level above the finest, from the one below it."""
    table, lanes = table_of(dimension)
    for level in range(FINEST.get(dimension, 0) + 1, LUNE + 1):
        many = WIDTHS[level] // WIDTHS[level - 1]
        names = [column_of(name) for name in (*lanes.sums, *lanes.extremes)]
        statement = (
            f"INSERT INTO {table} (dimension, level, period, key, {', '.join(names)}) "  # noqa: S608
            f"SELECT dimension, {level}, {_floored(many)}, key, {_added(lanes)} FROM {table} "
            f"WHERE dimension = {dimension} AND level = {level - 1} "
            f"GROUP BY dimension, {_floored(many)}, key"
        )
        connection.execute(sa.text(statement))


def _floored(many: int) -> str:
    # Integer division goes towards zero in both databases, and there are calls before 1970.
    remainder = f"((period % {many} + {many}) % {many})"
    return f"(period - {remainder}) / {many}"


def _added(lanes: Lanes) -> str:
    sums = [f"sum({column_of(name)})" for name in lanes.sums]
    return ", ".join([*sums, *(f"{MEASURES[name].op}({column_of(name)})" for name in lanes.extremes)])


def _raise_sketches(connection: Connection, *, postgres: bool) -> None:
    for level in (DAY, LUNE):
        many = WIDTHS[level] // WIDTHS[HOUR]
        totals: dict[tuple[int, int], list[int]] = {}
        rows = connection.exec_driver_sql(
            f"SELECT period, key, durations, firsts FROM usage_sketch WHERE level = {HOUR}"  # noqa: S608
        )
        for period, key, *blobs in rows:
            pair = totals.setdefault((period // many, key), [0, 0])
            for index, blob in enumerate(blobs):
                pair[index] += _sketches.unpacked(blob)
        cells = [(level, period, key, *map(_sketches.packed, pair)) for (period, key), pair in totals.items()]
        if cells:
            replace_sketches(connection, cells, postgres=postgres)
