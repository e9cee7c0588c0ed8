"""Cells into a table: added to those that are there, all of a batch in one statement."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
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
    sums = list(zip(*(unpacked(cell.total, lanes) for cell in cells.values()), strict=True))
    extremes = list(zip(*(cell.extremes for cell in cells.values()), strict=True))
    adding = [(name, column) for name, column in zip(lanes.sums, sums, strict=True) if any(column)]
    outdoing = [
        (name, column)
        for name, column in zip(lanes.extremes, extremes, strict=True)
        if column.count(None) < len(column)
    ]
    names = (*keys, *(column_of(name) for name, _ in (*adding, *outdoing)))
    columns = (*places, *(column for _, column in (*adding, *outdoing)))
    changes = [_added(table, name) for name, _ in adding]
    changes += [_outdone(table, name, postgres=postgres) for name, _ in outdoing]
    into = f"INSERT INTO {table} ({', '.join(names)})"
    then = (
        f"ON CONFLICT ({', '.join(keys)}) DO UPDATE SET {', '.join(changes)}"
        if changes
        else "ON CONFLICT DO NOTHING"
    )
    if postgres:
        kinds = ["text" if isinstance(place[0], str) else "bigint" for place in places]
        kinds += ["bigint"] * (len(columns) - len(kinds))
        arrays = ", ".join(f"%s::{kind}[]" for kind in kinds)
        connection.exec_driver_sql(
            f"{into} SELECT * FROM unnest({arrays}) {then}",  # noqa: S608  names of our own
            tuple(map(list, columns)),
        )
    else:
        marks = ", ".join("?" * len(columns))
        connection.exec_driver_sql(f"{into} VALUES ({marks}) {then}", list(zip(*columns, strict=True)))


def _added(table: str, name: str) -> str:
    column = column_of(name)
    return f"{column} = {table}.{column} + excluded.{column}"


def _outdone(table: str, name: str, *, postgres: bool) -> str:
    column, op = column_of(name), MEASURES[name].op
    mine, other = f"{table}.{column}", f"excluded.{column}"
    if postgres:  # which takes no notice of NULL
        return f"{column} = {'least' if op == 'min' else 'greatest'}({mine}, {other})"
    return f"{column} = coalesce({op}({mine}, {other}), {mine}, {other})"
