"""SqlStore: calls in SQLite or PostgreSQL, over the tables of `models`."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from functools import partial
from typing import Any, Final

import sqlalchemy as sa
from sqlalchemy import Connection, Engine
from sqlalchemy.orm import Session
from sqlmodel import SQLModel

from tokentrail._measures import Test
from tokentrail._query import Filters, Query, arrange
from tokentrail._records import Record, to_us
from tokentrail.errors import StoreCorruptError
from tokentrail.models import LLMCall, LLMPayload, Neighbour
from tokentrail.stores import _engine, _joining, _sketches
from tokentrail.stores._calls import CALLS, PAYLOADS, Calls, MistakenError, ledger
from tokentrail.stores._coarse import coarse, coarse_spans
from tokentrail.stores._compile import answer, condition, conditions, operand, spans
from tokentrail.stores._neighbours import SqlShelf, delete_before, table_of, take_rows
from tokentrail.stores._rebuild import rebuild
from tokentrail.stores._sessions import page_of_sessions
from tokentrail.stores.base import (
    ROLLUP,
    ROWS,
    Appended,
    Beside,
    Columns,
    Counts,
    Groups,
    Position,
    Progress,
    Row,
    Spans,
    StoreReplacedError,
    Take,
    apart,
    columns_of,
    fold,
    groups_of,
    key_of,
    plus,
)

ERASED_AT_ONCE: Final = 5_000
"""Rows one transaction of `prune` and `erase` deletes, so that writers never wait long."""
TAKEN_AT_ONCE: Final = 1_000
"""The same where the rows go somewhere else first."""

_ADVANCE: Final = sa.text(
    "INSERT INTO journal_position (segment, position) VALUES (:segment, :position) "
    "ON CONFLICT (segment) DO UPDATE SET position = excluded.position "
    "WHERE journal_position.position < excluded.position"
)
_FORGET: Final = sa.text("DELETE FROM journal_position WHERE segment = :segment")

FEW: Final = 2_000
"""So few calls are measured exactly, from rows."""


class SqlStore:
    """Calls in SQLite or PostgreSQL.

    Args:
        url: an SQLAlchemy URL, or an engine (which the store then does not dispose of).
        recover: see `open_store`.
    """

    def __init__(self, url: str | Engine, *, recover: bool = False) -> None:
        self._owns_engine = not isinstance(url, Engine)
        self._engine = url if isinstance(url, Engine) else _engine.make_engine(_engine.parse_url(url))
        # As it was given: journals are found by it.
        self.url = url if isinstance(url, str) else url.url.render_as_string(hide_password=False)
        self.set_aside: str | None = None
        self._file = _engine.file_of(self._engine.url)
        self._identity: tuple[int, int] | None = None
        self._pid = os.getpid()
        self._lock = threading.Lock()
        self._snapshot = threading.local()
        self._calls = Calls(self._engine)
        try:
            self._open(recover=recover)
        except BaseException:
            self.close()
            raise

    # --- opening ---------------------------------------------------------------------------------

    def _open(self, *, recover: bool) -> None:
        try:
            self._prepare(checked=recover)
        except StoreCorruptError:
            if not recover or self._file is None:
                raise
            found = _engine.identity(self._file)
            self._engine.dispose()
            stamp = datetime.now(UTC).strftime("%Y%m%dT%H%M%S%fZ")
            aside = _engine.set_aside(self._file, found, stamp)
            self.set_aside = None if aside is None else str(aside)
            self._prepare(checked=False)

    def _prepare(self, *, checked: bool) -> None:
        if self._file is not None:
            _engine.create_file(self._file)
        with _engine.errors_of(self._engine):
            if checked:
                with self._engine.connect() as connection:
                    _engine.check(connection, self._file)
            _engine.upgrade(self._engine)
        self._identity = None if self._file is None else _engine.identity(self._file)

    def _ready(self) -> None:
        """Notice a fork and an exchanged file before a connection is used."""
        if self._pid != os.getpid():
            self._engine.dispose(close=False)  # the parent goes on using its connections
            self._pid, self._lock = os.getpid(), threading.Lock()
        if self._file is None or _engine.identity(self._file) == self._identity:
            return
        with self._lock:
            if _engine.identity(self._file) == self._identity:
                return
            self._engine.dispose()
            self._prepare(checked=False)
        raise StoreReplacedError(
            f"{self._file} was deleted or exchanged while it was open. A new one is open in its place."
        )

    @contextmanager
    def _writing(self) -> Iterator[Connection]:
        self._ready()
        with (
            _engine.errors_of(self._engine),
            self._engine.connect().execution_options(writing=True) as connection,
            connection.begin(),
        ):
            connection.exec_driver_sql("UPDATE ledger SET version = version + 1")
            yield connection

    @contextmanager
    def _reading(self) -> Iterator[Connection]:
        held: Connection | None = getattr(self._snapshot, "connection", None)
        if held is not None:
            with _engine.errors_of(self._engine):
                yield held
            return
        self._ready()
        with _engine.errors_of(self._engine), self._engine.connect() as connection:
            yield connection

    @contextmanager
    def snapshot(self) -> Iterator[None]:
        with self._reading() as connection:
            if self._engine.dialect.name == "postgresql":
                connection.execution_options(isolation_level="REPEATABLE READ")
            with connection.begin():
                self._snapshot.connection = connection
                try:
                    yield
                finally:
                    del self._snapshot.connection

    # --- writing ---------------------------------------------------------------------------------

    def append(
        self, records: Sequence[Record], positions: Sequence[Position] = (), forget: Sequence[str] = ()
    ) -> Appended:
        calls, neighbours = apart(records)
        strongest, unfit = fold(calls)
        write = partial(self._append, strongest, neighbours, positions, forget)
        try:
            appended = write(alone=False)
        except MistakenError:
            appended = write(alone=True)
        folded = len(calls) - len(unfit) - len(strongest)
        return plus(Appended(unchanged=folded, refused=tuple(unfit)), appended)

    def _append(
        self,
        strongest: dict[str, Record],
        neighbours: Sequence[Record],
        positions: Sequence[Position],
        forget: Sequence[str],
        *,
        alone: bool,
    ) -> Appended:
        with self._writing() as connection:
            appended = self._calls.append(connection, strongest, alone=alone)
            if neighbours:
                shelf = SqlShelf(connection, partial(self._calls.each, connection, alone=alone))
                appended = plus(appended, _joining.append(shelf, neighbours))
            for segment, position in positions:
                connection.execute(_ADVANCE, {"segment": segment, "position": position})
            for segment in forget:
                connection.execute(_FORGET, {"segment": segment})
        return appended

    def keep(self, row: SQLModel) -> None:
        with self._writing() as connection, Session(connection) as session:
            session.merge(row)
            session.flush()

    def claim(self, row: SQLModel) -> bool:
        with self._writing() as connection, Session(connection) as session:
            if session.get(type(row), key_of(row)) is not None:
                return False
            session.merge(row)
            session.flush()
            return True

    def discard(self, table: type[SQLModel], key: str) -> bool:
        with self._writing() as connection, Session(connection) as session:
            row = session.get(table, key)
            if row is not None:
                session.delete(row)
                session.flush()
            return row is not None

    def prune(self, before: datetime, *, dry_run: bool = False, take: Take | None = None) -> int:
        mark = before if before.tzinfo else before.replace(tzinfo=UTC)
        most = ERASED_AT_ONCE if take is None else TAKEN_AT_ONCE
        old = sa.select(CALLS.c.id).where(CALLS.c.started_at < mark).order_by(CALLS.c.started_at)
        if dry_run:
            with self._reading() as connection:
                rows = sa.select(sa.func.count()).select_from(CALLS).where(CALLS.c.started_at < mark)
                return int(connection.execute(rows).scalar_one())
        pruned = 0
        while True:
            with self._writing() as connection:
                ids = list(connection.execute(old.limit(most).with_for_update()).scalars())
                if take is not None:
                    take_rows(connection, LLMCall, "id", ids, take)
                    take_rows(connection, LLMPayload, "call_id", ids, take)
                self._calls.prune(connection, ids)
                more = delete_before(connection, mark, most, take)
                if self._file is not None:
                    _give_back(connection)
            pruned += len(ids)
            if len(ids) < most and not more:
                return pruned

    def correct(self, records: Sequence[Record]) -> Appended:
        with self._writing() as connection:
            return self._calls.correct(connection, records)

    def erase(self, filters: Filters) -> int:
        erased = 0
        while True:
            with self._writing() as connection:
                meant = sa.select(CALLS.c.id).where(*conditions(connection, filters)).limit(ERASED_AT_ONCE)
                ids = list(connection.execute(meant).scalars())
                self._calls.erase(connection, ids)
                if self._file is not None:
                    _give_back(connection)
            erased += len(ids)
            if len(ids) < ERASED_AT_ONCE:
                return erased

    def kept_since(self) -> int | None:
        with self._reading() as connection:
            return ledger(connection).pruned_before

    def rebuild_rollups(self, progress: Progress | None = None) -> int:
        with self._writing() as connection:
            return rebuild(connection, progress)

    # --- reading ---------------------------------------------------------------------------------

    def positions(self) -> dict[str, int]:
        with self._reading() as connection:
            rows = connection.execute(sa.text("SELECT segment, position FROM journal_position"))
            return {segment: position for segment, position in rows}  # noqa: C416  rows are no pairs to mypy

    def get(self, call_id: str) -> LLMCall | None:
        with self._reading() as connection, Session(connection, expire_on_commit=False) as session:
            return session.get(LLMCall, call_id)

    def kept(self, table: type[Row]) -> list[Row]:
        with self._reading() as connection, Session(connection, expire_on_commit=False) as session:
            return sorted(session.execute(sa.select(table)).scalars(), key=key_of)

    def payload(self, call_id: str) -> dict[str, str | None]:
        with self._reading() as connection:
            row = connection.execute(
                sa.select(PAYLOADS.c.request, PAYLOADS.c.response).where(PAYLOADS.c.call_id == call_id)
            ).first()
        return {"request": row[0] if row else None, "response": row[1] if row else None}

    def scan(
        self,
        filters: Filters,
        *,
        limit: int,
        after: tuple[int, str] | None = None,
        offset: int = 0,
        when: Sequence[Test] = (),
        largest: str | None = None,
    ) -> list[LLMCall]:
        order = [CALLS.c.started_at.desc(), CALLS.c.id.desc()]
        if largest is not None:
            order.insert(0, operand(largest).desc().nulls_last())
        with self._reading() as connection, Session(connection, expire_on_commit=False) as session:
            where = [*conditions(connection, filters, after=after), *map(condition, when)]
            statement = sa.select(LLMCall).where(*where).order_by(*order).limit(limit).offset(offset)
            return list(session.execute(statement).scalars())

    def beside(
        self,
        table: type[Beside],
        filters: Filters,
        *,
        limit: int,
        after: tuple[int, str] | None = None,
        offset: int = 0,
    ) -> list[Beside]:
        columns = table_of(table).c
        with self._reading() as connection, Session(connection, expire_on_commit=False) as session:
            where = conditions(connection, filters, after=after, table=table_of(table))
            newest = sa.select(table).where(*where).order_by(columns.started_at.desc(), columns.id.desc())
            return list(session.execute(newest.limit(limit).offset(offset)).scalars())

    def erase_beside(self, table: type[Neighbour], filters: Filters) -> int:
        with self._writing() as connection:
            where = conditions(connection, filters, table=table_of(table))
            return connection.execute(sa.delete(table_of(table)).where(*where)).rowcount

    def tally(
        self, table: type[Neighbour], filters: Filters, by: Sequence[str] = ()
    ) -> list[tuple[Any, ...]]:
        columns = table_of(table).c
        keys = [columns[name] for name in by]
        with self._reading() as connection:
            where = conditions(connection, filters, table=table_of(table))
            bounds = sa.func.min(columns.started_at), sa.func.max(columns.started_at)
            asked = sa.select(*keys, sa.func.count(), *bounds).where(*where).group_by(*keys)
            return [
                (*row[:-2], *(None if moment is None else to_us(moment) for moment in row[-2:]))
                for row in connection.execute(asked)
            ]

    def columns(self, query: Query) -> Columns:
        with self._reading() as connection:
            found = coarse(connection, query)
            if found is not None:
                return Columns(found, ROLLUP)
            return Columns(columns_of(answer(connection, query), query), ROWS)

    def aggregate(self, query: Query) -> Groups:
        with self._reading() as connection:
            found = coarse(connection, query)
            if found is not None:
                return Groups(arrange(groups_of(found), query), ROLLUP)
            return Groups(answer(connection, query), ROWS)

    def spans(self, filters: Filters, by: str | None = None) -> Spans:
        with self._reading() as connection:
            groups = coarse_spans(connection, filters, by)
            many = _measured(groups) if groups is not None else 0
            if groups is not None and many > FEW:
                return Spans(groups, ROLLUP, _sketches.ERROR)
            exact = spans(connection, filters, by)
            if groups is not None and _measured(exact) != many:
                return Spans(groups, ROLLUP, _sketches.ERROR)  # some rows were pruned, and sums outlive them
            return Spans(exact)

    def sessions(
        self,
        filters: Filters,
        *,
        active_since: int | None = None,
        order: str = "-last_started_at",
        limit: int = 100,
        after: tuple[int | None, str] | None = None,
    ) -> Groups:
        with self._reading() as connection:
            page = page_of_sessions(
                connection, filters, active_since=active_since, order=order, limit=limit, after=after
            )
        return Groups(page, ROLLUP)

    def close(self) -> None:
        if self._owns_engine:
            self._engine.dispose()


# --- statements ----------------------------------------------------------------------------------


def _measured(groups: Mapping[Any, tuple[Counts, Counts]]) -> int:
    return sum(sum(durations.values()) for durations, _ in groups.values())


def _give_back(connection: Connection) -> None:
    """Return the pages of an SQLite file that nothing uses any more."""
    free = connection.exec_driver_sql("PRAGMA freelist_count").scalar_one()
    for _ in range(free):
        # One page a call: Python's driver takes only the first step of the statement.
        connection.exec_driver_sql("PRAGMA incremental_vacuum(1)")
