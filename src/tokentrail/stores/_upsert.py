"""Cells into a table: added to those that are there, all of a batch in one statement."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any

from sqlalchemy import Connection

from tokentrail._measures import MEASURES
from tokentrail.stores._delta import Cell
from tokentrail.stores._lanes import Lanes, column_of, unpacked


def upsert(
    connection: Connection,
    table: str,
    keys: Sequence[str],
    lanes: Lanes,
    cells: Mapping[tuple[Any, ...], Cell],
    *,
    postgres: bool,
) -> None:
    """Add cells to a table.

    Only the columns that any of the cells uses are named: most are zero in most batches.

    Args:
        connection: in a writing transaction.
        table: its name.
        keys: the columns that say which cell.
        lanes: what the table counts.
        cells: values of `keys` → what is added.
        postgres: whether the database is PostgreSQL; else it is SQLite.
    """
    if not cells:
        return
    places = list(zip(*cells, strict=True))
    sums = zip(*[unpacked(cell.total, lanes) for cell in cells.values()], strict=True)
    extremes = zip(*[cell.extremes for cell in cells.values()], strict=True)
    adding = [(name, column) for name, column in zip(lanes.sums, sums, strict=True) if any(column)]
    outdoing = [
        (name, column)
        for name, column in zip(lanes.extremes, extremes, strict=True)
        if column.count(None) < len(column)
    ]
    changed = tuple(name for name, _ in adding), tuple(name for name, _ in outdoing)
    columns = [*places, *(column for _, column in adding), *(column for _, column in outdoing)]
    if postgres:
        kinds = ["text" if isinstance(place[0], str) else "bigint" for place in places]
        statement = _statement(table, tuple(keys), *changed, kinds=tuple(kinds))
        connection.exec_driver_sql(statement, tuple(map(list, columns)))
    else:
        statement = _statement(table, tuple(keys), *changed)
        connection.exec_driver_sql(statement, list(zip(*columns, strict=True)))


@lru_cache(maxsize=512)
def _statement(
    table: str,
    keys: tuple[str, ...],
    adding: tuple[str, ...],
    outdoing: tuple[str, ...],
    kinds: tuple[str, ...] = (),
) -> str:
    """The statement that adds to these counters and outdoes those extremes.

    Args:
        kinds: types of the keys in PostgreSQL; none: it is for SQLite.
    """
    names = (*keys, *map(column_of, adding), *map(column_of, outdoing))
    into = f"INSERT INTO {table} ({', '.join(names)})"
    changes = [_added(table, name) for name in adding]
    changes += [_outdone(table, name, postgres=bool(kinds)) for name in outdoing]
    then = (
        f"ON CONFLICT ({', '.join(keys)}) DO UPDATE SET {', '.join(changes)}"
        if changes
        else "ON CONFLICT DO NOTHING"
    )
    if kinds:
        more = ("bigint",) * (len(names) - len(keys))
        arrays = ", ".join(f"%s::{kind}[]" for kind in (*kinds, *more))
        return f"{into} SELECT * FROM unnest({arrays}) {then}"  # noqa: S608  names of our own
    return f"{into} VALUES ({', '.join('?' * len(names))}) {then}"


def _added(table: str, name: str) -> str:
    column = column_of(name)
    return f"{column} = {table}.{column} + excluded.{column}"


def _outdone(table: str, name: str, *, postgres: bool) -> str:
    column, op = column_of(name), MEASURES[name].op
    mine, other = f"{table}.{column}", f"excluded.{column}"
    if postgres:  # which takes no notice of NULL
        return f"{column} = {'least' if op == 'min' else 'greatest'}({mine}, {other})"
    return f"{column} = coalesce({op}({mine}, {other}), {mine}, {other})"
