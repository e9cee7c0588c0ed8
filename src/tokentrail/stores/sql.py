"""SqlStore: calls in SQLite or PostgreSQL, over the tables of `models`."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from functools import partial
from typing import Any, Final

import sqlalchemy as sa
from sqlalchemy import Connection, Engine, exc
from sqlalchemy.orm import Session
from sqlmodel import SQLModel

from tokentrail._measures import AMOUNTS, Test
from tokentrail._query import Filters, Query
from tokentrail._records import Record, to_us
from tokentrail.errors import StoreCorruptError
from tokentrail.models import LLMCall, LLMPayload, Neighbour
from tokentrail.stores import _engine, _joining
from tokentrail.stores._compile import answer, condition, conditions, operand, spans
from tokentrail.stores._neighbours import SqlShelf, Write, delete_before, table_of
from tokentrail.stores._rows import Shape, Shapes, payload_rows, washed
from tokentrail.stores.base import (
    Appended,
    Beside,
    Groups,
    Position,
    Progress,
    Refused,
    Row,
    Spans,
    StoreReplacedError,
    apart,
    fold,
    key_of,
    page_of_sessions,
    plus,
)

CHUNK: Final = 500
"""Ids in one statement."""
PRUNED_AT_ONCE: Final = 5_000
"""Rows one transaction of `prune` deletes, so that writers never wait long."""

CALLS: Final = LLMCall.__table__  # type: ignore[attr-defined]
RAW: Final = sa.table("llm_call", *(sa.column(column.name) for column in CALLS.columns))
"""The same table in storage units: what goes in is what is stored."""
_IDS: Final[Any] = sa.bindparam("ids", expanding=True)
_RANKS: Final = sa.select(CALLS.c.id, sa.type_coerce(CALLS.c.finality, sa.Integer)).where(
    CALLS.c.id.in_(_IDS)
)
_DELETE_CALLS: Final = sa.delete(CALLS).where(CALLS.c.id.in_(_IDS))
_PAYLOADS: Final = LLMPayload.__table__  # type: ignore[attr-defined]
_DELETE_PAYLOADS: Final = sa.delete(_PAYLOADS).where(_PAYLOADS.c.call_id.in_(_IDS))
_ADVANCE: Final = sa.text(
    "INSERT INTO journal_position (segment, position) VALUES (:segment, :position) "
    "ON CONFLICT (segment) DO UPDATE SET position = excluded.position "
    "WHERE journal_position.position < excluded.position"
)
_FORGET: Final = sa.text("DELETE FROM journal_position WHERE segment = :segment")


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
        self._shapes = Shapes(self._engine.dialect.name)
        self._postgres = self._engine.dialect.name == "postgresql"
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
            if self._postgres:
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
        with self._writing() as connection:
            weaker, taken = self._take(connection, strongest)
            refused = self._replace(connection, weaker, taken)
            beside = self._beside(connection, neighbours) if neighbours else Appended()
            for segment, position in positions:
                connection.execute(_ADVANCE, {"segment": segment, "position": position})
            for segment in forget:
                connection.execute(_FORGET, {"segment": segment})
        bad = {each.id for each in refused}
        replaced = len(weaker - bad)
        inserted = len(taken) - len(bad) - replaced
        refused = [*unfit, *refused]
        unchanged = len(calls) - inserted - replaced - len(refused)
        return plus(Appended(inserted, replaced, unchanged, tuple(refused)), beside)

    def _beside(self, connection: Connection, neighbours: Sequence[Record]) -> Appended:
        return _joining.append(SqlShelf(connection, partial(self._write_each, connection)), neighbours)

    def _take(self, connection: Connection, strongest: dict[str, Record]) -> tuple[set[str], list[Record]]:
        """The ids whose rows give way, and the records that become rows."""
        highest = connection.execute(sa.select(sa.func.max(CALLS.c.id))).scalar()
        # Ids grow with time, so nearly all of them are above everything stored and need no look-up.
        asked = [call_id for call_id in strongest if highest is not None and call_id <= highest]
        ranks: dict[str, int] = {}
        for chunk in _chunks(asked):
            ranks.update((row[0], row[1]) for row in connection.execute(_RANKS, {"ids": chunk}))
        if not ranks:
            return set(), list(strongest.values())
        taken = [record for record in strongest.values() if record["finality"] > ranks.get(record["id"], 0)]
        return {record["id"] for record in taken if record["id"] in ranks}, taken

    def _replace(self, connection: Connection, weaker: set[str], records: Sequence[Record]) -> list[Refused]:
        def write(some: Sequence[Record]) -> None:
            gone = weaker if some is records else weaker & {record["id"] for record in some}
            self._replace_all(connection, gone, some)

        return self._write_each(connection, write, records)

    def _write_each(self, connection: Connection, write: Write, records: Sequence[Record]) -> list[Refused]:
        """Write records; where something is wrong with one, the healthy ones do not wait for it."""
        try:
            with connection.begin_nested():
                write(records)
        except self._mistakes() as error:
            _raise_if_unwell(error)
            return [each for record in records if (each := self._write_one(connection, write, record))]
        return []

    def _write_one(self, connection: Connection, write: Write, record: Record) -> Refused | None:
        try:
            with connection.begin_nested():
                write([washed(record)])
        except self._mistakes() as error:
            return _refused(record, error)
        return None

    def _mistakes(self) -> tuple[type[Exception], ...]:
        # COPY goes past SQLAlchemy, so its errors come as the driver's own.
        driver = self._engine.dialect.loaded_dbapi
        return exc.DBAPIError, driver.Error, OverflowError, TypeError, ValueError

    def _replace_all(self, connection: Connection, weaker: set[str], records: Sequence[Record]) -> None:
        if weaker:
            _delete(connection, weaker)
        for shape, members in self._shapes.group(records):
            rows = shape.rows(members)
            if self._postgres:
                _copy(connection, shape, rows)
            else:
                connection.exec_driver_sql(shape.insert(), rows)
        payloads = payload_rows(records)
        if payloads:
            names = ("call_id", "request", "response")
            connection.execute(sa.insert(_PAYLOADS), [dict(zip(names, row, strict=True)) for row in payloads])

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

    def prune(self, before: datetime) -> int:
        mark = before if before.tzinfo else before.replace(tzinfo=UTC)
        old = sa.select(CALLS.c.id).where(CALLS.c.started_at < mark).limit(PRUNED_AT_ONCE)
        pruned = 0
        while True:
            with self._writing() as connection:
                ids = list(connection.execute(old).scalars())
                _delete(connection, ids)
                more = delete_before(connection, mark, PRUNED_AT_ONCE)
                if self._file is not None:
                    _give_back(connection)
            pruned += len(ids)
            if len(ids) < PRUNED_AT_ONCE and not more:
                return pruned

    def correct(self, records: Sequence[Record]) -> Appended:
        replaced, refused = 0, []
        with self._writing() as connection:
            for record in records:
                try:
                    with connection.begin_nested():
                        replaced += self._change(connection, record)
                except self._mistakes() as error:
                    refused.append(_refused(record, error))
        return Appended(
            replaced=replaced, unchanged=len(records) - replaced - len(refused), refused=tuple(refused)
        )

    def _change(self, connection: Connection, record: Record) -> bool:
        kept = {"id", "finality"}
        changes = {column: value for column, value in record.items() if column not in kept}
        blank = {column: None for column in changes if column in CALLS.c and changes[column] is None}
        ((shape, members),) = self._shapes.group([washed(changes)])
        (row,) = shape.rows(members)
        values = {**blank, **dict(zip(shape.columns, row, strict=True))}
        statement = sa.update(RAW).where(RAW.c.id == record["id"])
        if "finality" in record:
            statement = statement.where(RAW.c.finality == record["finality"])
        return bool(connection.execute(statement.values(values)).rowcount)

    def erase(self, filters: Filters) -> int:
        erased = 0
        while True:
            with self._writing() as connection:
                meant = sa.select(CALLS.c.id).where(*conditions(connection, filters)).limit(PRUNED_AT_ONCE)
                ids = list(connection.execute(meant).scalars())
                _delete(connection, ids)
                if self._file is not None:
                    _give_back(connection)
            erased += len(ids)
            if len(ids) < PRUNED_AT_ONCE:
                return erased

    def rebuild_rollups(self, progress: Progress | None = None) -> int:
        with self._reading() as connection:
            rows = connection.execute(sa.select(sa.func.count()).select_from(CALLS)).scalar_one()
        if progress is not None:
            progress(rows, rows)
        return rows

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
                sa.select(_PAYLOADS.c.request, _PAYLOADS.c.response).where(_PAYLOADS.c.call_id == call_id)
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

    def aggregate(self, query: Query) -> Groups:
        with self._reading() as connection:
            return Groups(answer(connection, query))

    def spans(self, filters: Filters, by: str | None = None) -> Spans:
        with self._reading() as connection:
            return Spans(spans(connection, filters, by))

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
            meant = {
                group["session_id"]
                for group in answer(connection, Query(by=("session_id",), filters=filters))
            }
            groups = [
                group
                for group in answer(connection, Query(AMOUNTS, by=("session_id",)))
                if group["session_id"] is not None
                and group["session_id"] in meant
                and (active_since is None or group["last_started_at"] >= active_since)
            ]
        return Groups(page_of_sessions(groups, order, limit, after))

    def close(self) -> None:
        if self._owns_engine:
            self._engine.dispose()


# --- statements ----------------------------------------------------------------------------------


def _chunks(ids: Iterable[str]) -> Iterator[list[str]]:
    found = list(ids)
    for begin in range(0, len(found), CHUNK):
        yield found[begin : begin + CHUNK]


def _delete(connection: Connection, ids: Iterable[str]) -> None:
    for chunk in _chunks(ids):
        connection.execute(_DELETE_PAYLOADS, {"ids": chunk})
        connection.execute(_DELETE_CALLS, {"ids": chunk})


def _give_back(connection: Connection) -> None:
    """Return the pages of an SQLite file that nothing uses any more."""
    free = connection.exec_driver_sql("PRAGMA freelist_count").scalar_one()
    for _ in range(free):
        # One page a call: Python's driver takes only the first step of the statement.
        connection.exec_driver_sql("PRAGMA incremental_vacuum(1)")


def _copy(connection: Connection, shape: Shape, rows: Sequence[tuple[Any, ...]]) -> None:
    cursor = connection.connection.cursor()
    try:
        with cursor.copy(shape.copy()) as copy:
            for row in rows:
                copy.write_row(row)
    finally:
        cursor.close()


def _refused(record: Record, error: Exception) -> Refused:
    _raise_if_unwell(error)
    cause = getattr(error, "orig", None) or error
    return Refused(record["id"], f"{type(cause).__name__}: {str(cause).splitlines()[0]:.200}")


def _raise_if_unwell(error: Exception) -> None:
    """Raise an error again that is the database's; return if it is one value's.

    The difference matters: a value that can never be stored must be let go, a full disk waited for.
    """
    cause = getattr(error, "orig", None) or error
    kinds = {kind.__name__ for kind in type(cause).__mro__}
    if kinds & {"DataError", "IntegrityError", "OverflowError", "TypeError", "ValueError"}:
        return
    if "ProgrammingError" in kinds and ("not supported" in str(cause) or "cannot adapt" in str(cause)):
        return
    raise error
