"""Neighbours of calls in SQLite and PostgreSQL."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Sequence
from datetime import datetime
from typing import Any, Final

import sqlalchemy as sa
from sqlalchemy import Connection
from sqlalchemy.orm import Session

from tokentrail._neighbours import INHERITED
from tokentrail._records import COLUMN_OF, Record
from tokentrail.models import LLMCall, Message
from tokentrail.models._neighbours import NEIGHBOURS, public_columns
from tokentrail.stores.base import Refused, Take

_CHUNK: Final = 500
Write = Callable[[Sequence[Record]], None]


class SqlShelf:
    """See `Shelf`.

    Args:
        connection: in a writing transaction.
        write_each: calls a function with rows; where it fails, with one row at a time, and says which failed.
    """

    def __init__(
        self, connection: Connection, write_each: Callable[[Write, Sequence[Record]], list[Refused]]
    ) -> None:
        self._connection = connection
        self._write_each = write_each

    def rows(self, kind: str, ids: Collection[str]) -> dict[str, Record]:
        return {row["id"]: row for row in self._select(kind, "id", ids)}

    def of_messages(self, kind: str, message_ids: Collection[str]) -> list[Record]:
        return self._select(kind, "message_id", message_ids)

    def _select(self, kind: str, column: str, values: Collection[str]) -> list[Record]:
        model = NEIGHBOURS[kind]
        named = table_of(model).c[column]
        found: list[Record] = []
        with Session(self._connection, expire_on_commit=False) as session:
            for chunk in _chunks(values):
                rows = session.execute(sa.select(model).where(named.in_(chunk))).scalars()
                found += [row.to_record() for row in rows]
        return found

    def who(self, message_ids: Collection[str], call_ids: Collection[str]) -> dict[str, Any]:
        calls = self._who(LLMCall, call_ids, (*INHERITED, "message_id"))
        return {**calls, **self._who(Message, message_ids, INHERITED)}

    def _who(self, model: Any, ids: Collection[str], names: Sequence[str]) -> dict[str, Any]:
        columns = table_of(model).c
        asked = sa.select(columns.id, *(columns[name] for name in names))
        return {
            row["id"]: row
            for chunk in _chunks(ids)
            for row in self._connection.execute(asked.where(columns.id.in_(chunk))).mappings()
        }

    def put(self, kind: str, rows: Sequence[Record]) -> list[Refused]:
        table = table_of(NEIGHBOURS[kind])

        def write(some: Sequence[Record]) -> None:
            for chunk in _chunks(row["id"] for row in some):
                self._connection.execute(sa.delete(table).where(table.c.id.in_(chunk)))
            blank = dict.fromkeys(table.c.keys())
            made = [
                {COLUMN_OF.get(name, name): value for name, value in public_columns(kind, row).items()}
                for row in some
            ]
            self._connection.execute(sa.insert(table), [{**blank, **row} for row in made])

        return self._write_each(write, rows) if rows else []


def delete_before(connection: Connection, mark: datetime, most: int, take: Take | None) -> bool:
    """Delete rows of every kind that are older, `most` of each; whether there may be more."""
    deleted = []
    for model in NEIGHBOURS.values():
        table = table_of(model)
        last = table.c.last_activity if "last_activity" in table.c else table.c.started_at
        old = sa.select(table.c.id).where(last < mark).limit(most).with_for_update()
        ids = list(connection.execute(old).scalars())
        if take is not None:
            take_rows(connection, model, "id", ids, take)
        for chunk in _chunks(ids):
            connection.execute(sa.delete(table).where(table.c.id.in_(chunk)))
        deleted.append(len(ids))
    return max(deleted) == most


def take_rows(connection: Connection, model: Any, key: str, ids: Collection[str], take: Take) -> None:
    """Hand rows over, before they are deleted."""
    with Session(connection, expire_on_commit=False) as session:
        for chunk in _chunks(ids):
            rows = session.execute(sa.select(model).where(table_of(model).c[key].in_(chunk))).scalars().all()
            if rows:
                take(rows)


def table_of(model: Any) -> sa.Table:
    """The table under a model."""
    table: sa.Table = model.__table__
    return table


def _chunks(values: Iterable[str]) -> list[list[str]]:
    found = list(values)
    return [found[begin : begin + _CHUNK] for begin in range(0, len(found), _CHUNK)]
