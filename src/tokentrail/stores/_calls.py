"""How calls become rows in SQLite and PostgreSQL, and the sums beside them follow."""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from typing import Any, Final, NamedTuple

import sqlalchemy as sa
from sqlalchemy import Connection, Engine, exc

from tokentrail._records import BOOLEAN, FIELDS, LIST, Record, from_us, to_us
from tokentrail.models import LLMCall, LLMPayload
from tokentrail.stores._delta import TAKEN, Delta
from tokentrail.stores._lanes import COUNTED, TESTED
from tokentrail.stores._rollups import Rollups
from tokentrail.stores._rows import Groups, Shape, Shapes, by_columns, payload_rows, washed
from tokentrail.stores.base import Appended, Refused

CHUNK: Final = 500
"""Ids in one statement."""
REBUILT_AT_ONCE: Final = 1_000
"""Rows added up at once; the most whose largest counters fit into a lane."""

CALLS: Final[sa.Table] = LLMCall.__table__  # type: ignore[attr-defined]
RAW: Final = sa.table("llm_call", *(sa.column(column.name) for column in CALLS.columns))
"""The same table in storage units: what goes in is what is stored."""
FACTS: Final = tuple(
    name for name in (column.name for column in CALLS.columns) if name in {"id", *TAKEN, *TESTED, *COUNTED}
)
"""Columns that the sums are made of."""

_IDS: Final[Any] = sa.bindparam("ids", expanding=True)
_RANKS: Final = sa.select(RAW.c.id, RAW.c.finality).where(RAW.c.id.in_(_IDS))
_FACTS: Final = sa.select(*(RAW.c[name] for name in FACTS))
_DELETE_CALLS: Final = sa.delete(CALLS).where(CALLS.c.id.in_(_IDS))
PAYLOADS: Final[sa.Table] = LLMPayload.__table__  # type: ignore[attr-defined]
_DELETE_PAYLOADS: Final = sa.delete(PAYLOADS).where(PAYLOADS.c.call_id.in_(_IDS))

Write = Callable[[Sequence[Record]], None]


class MistakenError(Exception):
    """Of some records one cannot be written. The transaction is void, and to be begun again: each alone."""


class Calls:
    """Writes calls, in transactions of its user's that hold the writers' lock."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._postgres = engine.dialect.name == "postgresql"
        self._shapes = Shapes(engine.dialect.name)
        self._rollups = Rollups(postgres=self._postgres)

    def append(self, connection: Connection, strongest: dict[str, Record], *, alone: bool) -> Appended:
        """Make records rows, where they are stronger than those there are.

        Raises:
            MistakenError: see `each`.
        """
        known = ledger(connection)
        weaker, taken, expired = self._take(connection, strongest, known)
        if expired:
            _count_expired(connection, expired)
        refused = self._replace(connection, weaker, taken, known, alone=alone)
        bad = {each.id for each in refused}
        replaced = len(weaker - bad)
        inserted = len(taken) - len(bad) - replaced
        unchanged = len(strongest) - len(taken) - expired
        return Appended(inserted, replaced, unchanged, tuple(refused), expired)

    def _take(
        self, connection: Connection, strongest: dict[str, Record], known: Ledger
    ) -> tuple[set[str], list[Record], int]:
        """The ids whose rows give way, the records that become rows, and how many came too late."""
        # Ids grow with time, so nearly all of them are above everything stored and need no look-up.
        asked = [call_id for call_id in strongest if call_id <= known.highest]
        ranks: dict[str, int] = {}
        for chunk in _chunks(asked):
            ranks.update((row[0], row[1]) for row in connection.execute(_RANKS, {"ids": chunk}))
        taken = list(strongest.values())
        if ranks:
            taken = [record for record in taken if record["finality"] > ranks.get(record["id"], 0)]
        expired = 0
        mark = known.pruned_before
        if mark is not None:
            # What is as old as the pruned may be one of them, counted already, delivered again.
            fresh = [record for record in taken if record["id"] in ranks or not _is_before(record, mark)]
            taken, expired = fresh, len(taken) - len(fresh)
        weaker = {call_id for call_id, rank in ranks.items() if strongest[call_id]["finality"] > rank}
        return weaker, taken, expired

    def _replace(
        self,
        connection: Connection,
        weaker: set[str],
        records: Sequence[Record],
        known: Ledger,
        *,
        alone: bool,
    ) -> list[Refused]:
        gone = {record["id"]: record for record in facts(connection, weaker)} if weaker else {}
        delta = Delta()

        def write(some: Sequence[Record]) -> None:
            old = [gone[record["id"]] for record in some if record["id"] in gone]
            groups = by_columns(some)
            self._insert(connection, [record["id"] for record in old], groups)
            delta.add(groups, by_columns(old))

        refused = self.each(connection, write, records, alone=alone)
        self._apply(connection, delta, known)
        return refused

    def each(
        self, connection: Connection, write: Write, records: Sequence[Record], *, alone: bool
    ) -> list[Refused]:
        """Write records: together, or each alone, so that none waits for one with which something is wrong.

        Raises:
            MistakenError: something is, and they were to be written together. No savepoint goes around those:
                it would cost a tenth of the whole, every time.
        """
        if alone:
            return [each for record in records if (each := self._alone(connection, write, record))]
        try:
            write(records)
        except self._mistakes() as error:
            _raise_if_unwell(error)
            raise MistakenError from error
        return []

    def _alone(self, connection: Connection, write: Write, record: Record) -> Refused | None:
        try:
            with connection.begin_nested():
                write([washed(record)])
        except self._mistakes() as error:
            _raise_if_unwell(error)
            cause = getattr(error, "orig", None) or error
            return Refused(record["id"], f"{type(cause).__name__}: {str(cause).splitlines()[0]:.200}")
        return None

    def _mistakes(self) -> tuple[type[Exception], ...]:
        # COPY goes past SQLAlchemy, so its errors come as the driver's own.
        driver = self._engine.dialect.loaded_dbapi
        return exc.DBAPIError, driver.Error, OverflowError, TypeError, ValueError

    def _insert(self, connection: Connection, weaker: Collection[str], groups: Groups) -> None:
        if weaker:
            _delete(connection, weaker)
        for shape, members in self._shapes.of(groups):
            rows = shape.rows(members)
            if self._postgres:
                _copy(connection, shape, rows)
            else:
                connection.exec_driver_sql(shape.insert(), rows)
        payloads = payload_rows(groups)
        if payloads:
            names = ("call_id", "request", "response")
            connection.execute(sa.insert(PAYLOADS), [dict(zip(names, row, strict=True)) for row in payloads])

    # --- changes ---------------------------------------------------------------------------------

    def correct(self, connection: Connection, records: Sequence[Record]) -> Appended:
        """Change columns of rows there are."""
        delta = Delta()
        replaced = 0

        emptied = {
            record["id"]: [name for name, value in record.items() if value is None and name in CALLS.c]
            for record in records
        }

        def write(some: Sequence[Record]) -> None:
            nonlocal replaced
            (record,) = some
            for old in facts(connection, [record["id"]]):
                if self._change(connection, record, emptied[record["id"]]):
                    (new,) = facts(connection, [record["id"]])
                    delta.add(by_columns([new]), by_columns([old]))
                    replaced += 1

        refused = [each for record in records if (each := self._alone(connection, write, record))]
        self._apply(connection, delta, ledger(connection))
        unchanged = len(records) - replaced - len(refused)
        return Appended(replaced=replaced, unchanged=unchanged, refused=tuple(refused))

    def _change(self, connection: Connection, record: Record, emptied: Iterable[str]) -> bool:
        changes = {name: value for name, value in record.items() if name not in ("id", "finality")}
        ((shape, members),) = self._shapes.of(by_columns([changes]))
        (row,) = shape.rows(members)
        values = {**dict.fromkeys(emptied), **dict(zip(shape.columns, row, strict=True))}
        statement = sa.update(RAW).where(RAW.c.id == record["id"])
        if "finality" in record:
            statement = statement.where(RAW.c.finality == record["finality"])
        return bool(connection.execute(statement.values(values)).rowcount)

    def erase(self, connection: Connection, ids: Collection[str]) -> None:
        """Delete rows, and take their share away from every sum."""
        delta = Delta()
        delta.add([], by_columns(facts(connection, ids)))
        _delete(connection, ids)
        self._apply(connection, delta, ledger(connection))
        self._rollups.forget(connection, delta)

    def prune(self, connection: Connection, ids: Collection[str]) -> None:
        """Delete rows whose share stays in the sums."""
        newest = connection.execute(
            sa.select(sa.func.max(CALLS.c.started_at)).where(CALLS.c.id.in_(_IDS)), {"ids": list(ids)}
        ).scalar()
        if newest is None:
            return
        mark = ledger(connection).pruned_before
        beyond = to_us(newest) + 1
        _mark_pruned(connection, beyond if mark is None else max(mark, beyond))
        _delete(connection, ids)

    def _apply(self, connection: Connection, delta: Delta, known: Ledger) -> None:
        self._rollups.apply(connection, delta, known.pruned_before, known.keys_version)


# --- statements ----------------------------------------------------------------------------------


def facts(connection: Connection, ids: Collection[str]) -> list[Record]:
    """What the sums know of some rows, as records."""
    asked = _FACTS.where(RAW.c.id.in_(_IDS))
    return [record_of(row) for chunk in _chunks(ids) for row in connection.execute(asked, {"ids": chunk})]


def all_facts(connection: Connection, since_us: int | None) -> Iterator[list[Record]]:
    """The same of all rows that started at a moment or later, some at a time."""
    last = ""
    moment = sa.literal(None if since_us is None else from_us(since_us), CALLS.c.started_at.type)
    where = [] if since_us is None else [RAW.c.started_at >= moment]
    while True:
        asked = _FACTS.where(RAW.c.id > last, *where).order_by(RAW.c.id).limit(REBUILT_AT_ONCE)
        records = [record_of(row) for row in connection.execute(asked)]
        if not records:
            return
        yield records
        last = records[-1]["id"]


def record_of(row: Iterable[Any]) -> Record:
    """A row of `FACTS` in the units of records, as what became the row said it."""
    record: Record = {}
    for name, kind, value in zip(FACTS, _KINDS, row, strict=True):
        if value is None:
            continue
        if kind == LIST:
            record[name] = json.loads(value)
        elif kind == BOOLEAN:
            record[name] = bool(value)
        else:
            record[name] = value if isinstance(value, (int, str)) else to_us(value)
    return record


_KINDS: Final = tuple(FIELDS.get(name) for name in FACTS)


class Ledger(NamedTuple):
    """What is to be known of a database before it is changed."""

    pruned_before: int | None
    """Up to when calls have been pruned."""
    keys_version: int
    """Of the keys of the rollups."""
    highest: str
    """The largest id of a call."""


def ledger(connection: Connection) -> Ledger:
    """What a database is like now."""
    mark, keys, highest = connection.exec_driver_sql(
        "SELECT pruned_before, keys_version, (SELECT max(id) FROM llm_call) FROM ledger"
    ).one()
    return Ledger(mark if mark is None or isinstance(mark, int) else to_us(mark), keys, highest or "")


_LEDGER: Final = sa.table("ledger", sa.column("pruned_before", CALLS.c.started_at.type), sa.column("expired"))


def _mark_pruned(connection: Connection, mark: int) -> None:
    connection.execute(sa.update(_LEDGER).values(pruned_before=from_us(mark)))


def _count_expired(connection: Connection, expired: int) -> None:
    connection.execute(sa.update(_LEDGER).values(expired=_LEDGER.c.expired + expired))


def _is_before(record: Record, mark: int) -> bool:
    started = record.get("started_at")
    return isinstance(started, int) and started < mark


def _chunks(ids: Iterable[str]) -> Iterator[list[str]]:
    found = list(ids)
    for begin in range(0, len(found), CHUNK):
        yield found[begin : begin + CHUNK]


def _delete(connection: Connection, ids: Iterable[str]) -> None:
    for chunk in _chunks(ids):
        connection.execute(_DELETE_PAYLOADS, {"ids": chunk})
        connection.execute(_DELETE_CALLS, {"ids": chunk})


def _copy(connection: Connection, shape: Shape, rows: Sequence[tuple[Any, ...]]) -> None:
    cursor = connection.connection.cursor()
    try:
        with cursor.copy(shape.copy()) as copy:
            for row in rows:
                copy.write_row(row)
    finally:
        cursor.close()


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
