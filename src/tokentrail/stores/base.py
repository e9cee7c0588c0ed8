"""Store: what every place that keeps calls can do, and what it says about what it did."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager
from datetime import datetime
from typing import Any, Final, NamedTuple, Protocol, TypeAlias, TypeVar, runtime_checkable

import sqlalchemy as sa
from sqlmodel import SQLModel

from tokentrail._measures import AMOUNTS, Test
from tokentrail._query import Filters, Query
from tokentrail._records import (
    BOOLEAN,
    COLUMN_OF,
    FIELDS,
    LIST,
    LONG_TEXT,
    MAPPING,
    PROVISIONAL,
    TEXT,
    TIME,
    Record,
)
from tokentrail.errors import QueryError, StoreError
from tokentrail.models import LLMCall, Neighbour
from tokentrail.models._columns import TIMES_US
from tokentrail.stores._lanes import COUNTED, LARGEST

Row = TypeVar("Row", bound=SQLModel)
Beside = TypeVar("Beside", bound=Neighbour)

Position: TypeAlias = tuple[str, int]
"""How far a journal segment has been read into the store: (segment name, offset)."""


Progress: TypeAlias = Callable[[int, int], object]
"""Told how many rows are done, and how many there are."""

Take: TypeAlias = Callable[[Sequence[SQLModel]], object]
"""Given the rows of one table that are about to be deleted; if it raises, they are not."""

ROLLUP: Final = "rollup"
"""Answered from the sums that are kept beside the rows."""
ROWS: Final = "rows"
"""Answered from every row."""


class StoreReplacedError(StoreError):
    """The database was deleted or exchanged while it was open.

    A new one has been opened in its place and nothing of the batch was stored: read the journal again from
    where the new database says it is (`positions()`).
    """


class Refused(NamedTuple):
    """A record that the store cannot hold."""

    id: str
    reason: str


class Appended(NamedTuple):
    """What became of the records of one `append`."""

    inserted: int = 0
    replaced: int = 0
    """Calls whose weaker row (a lower finality) gave way."""
    unchanged: int = 0
    """Records that were there already, as strong or stronger."""
    refused: tuple[Refused, ...] = ()
    expired: int = 0
    """Records older than what has been pruned, which may have been there before: dropped."""


class Groups(list[dict[str, Any]]):
    """The groups of an answer, and how they were found: `rollup` or `rows`."""

    def __init__(self, groups: Iterable[dict[str, Any]] = (), method: str = ROWS) -> None:
        super().__init__(groups)
        self.method = method


class Columns(NamedTuple):
    """The groups of an answer as columns, in no order: a list for each field and measure."""

    values: dict[str, list[Any]]
    method: str = ROWS


def columns_of(groups: Sequence[Mapping[str, Any]], query: Query) -> dict[str, list[Any]]:
    """Groups as columns."""
    names = (
        (*query.by, *query.measures) if query.granularity is None else ("period", *query.by, *query.measures)
    )
    return {name: [group[name] for group in groups] for name in names}


def groups_of(columns: Mapping[str, list[Any]]) -> list[dict[str, Any]]:
    """Columns as groups."""
    return [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]


Counts: TypeAlias = dict[float, int]
"""How often each value, in microseconds, occurs."""


class Spans(NamedTuple):
    """How long calls took, and how long their first token did."""

    groups: dict[Any, tuple[Counts, Counts]]
    """By group: durations, and times to the first token. Without `by` there is one group, `None`."""
    method: str = ROWS
    error: float = 0.0
    """Largest relative error of a value; 0 is exact."""


@runtime_checkable
class Store(Protocol):
    """Where calls are kept. `MemoryStore` defines what is right; every other store answers the same."""

    url: str
    set_aside: str | None
    """Where a damaged database lies in whose place this one was begun."""

    def append(
        self, records: Sequence[Record], positions: Sequence[Position] = (), forget: Sequence[str] = ()
    ) -> Appended:
        """Keep ended calls, journal positions and the removal of positions, in one transaction.

        Idempotent by (id, finality): a higher finality replaces the row of the same id, an equal or lower
        one changes nothing. Positions only move forward. A record that cannot be held is named in
        `Appended.refused` and stops no other.

        Raises:
            StoreCorruptError: the database is damaged.
            StoreReplacedError: the database is another one than before.
            StoreError: nothing was stored; the same call may be made again.
        """

    def positions(self) -> dict[str, int]:
        """How far each journal segment has been read into this store."""

    def correct(self, records: Sequence[Record]) -> Appended:
        """Change what rows say, whatever their finality; sums follow.

        Args:
            records: `id` and the columns to change, in storage units; `None` empties a column. `finality` is
                no change but a condition: a row of another finality stays as it is.

        Returns:
            Appended: `replaced` rows were changed; `unchanged` are those that are not there, or are of
                another finality.
        """

    def erase(self, filters: Filters) -> int:
        """Delete calls as if they had never been: rows, payloads and their share of every sum.

        Returns:
            int: how many rows.
        """

    def columns(self, query: Query) -> Columns:
        """The groups that `aggregate` would answer, for answers of thousands of them."""

    def aggregate(self, query: Query) -> Groups:
        """One dict a group: the fields of `query.by`, `period`, and the measures in storage units."""

    def spans(self, filters: Filters, by: str | None = None) -> Spans:
        """How long calls took that were no answer from a response cache: whole distributions."""

    def sessions(
        self,
        filters: Filters,
        *,
        active_since: int | None = None,
        order: str = "-last_started_at",
        limit: int = 100,
        after: tuple[int | None, str] | None = None,
    ) -> Groups:
        """Sessions with a call that passes the filters: `session_id`, and `AMOUNTS` of the whole session.

        Args:
            filters: which calls make a session one that is meant.
            active_since: only sessions with a call since then, in microseconds since the epoch.
            order: one of `AMOUNTS`, largest first with a leading `-`; unknown comes last, ties by id.
            limit: how many at most.
            after: (the value of `order`, `session_id`) of the last session of the page before.

        Raises:
            QueryError: there is no such order.
        """

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
        """Calls, newest first; ties by id, so that pages never overlap.

        Args:
            filters: which calls.
            limit: how many at most.
            after: (`started_at` in microseconds, `id`) of the last call of the page before.
            offset: how many to leave out first.
            when: tests that each of them passes, as a measure has them.
            largest: a column to sort by instead, largest first and unknown last; then newest first.
        """

    def beside(
        self,
        table: type[Beside],
        filters: Filters,
        *,
        limit: int,
        after: tuple[int, str] | None = None,
        offset: int = 0,
    ) -> list[Beside]:
        """Rows of one kind of neighbour, in the order of `scan`."""

    def erase_beside(self, table: type[Neighbour], filters: Filters) -> int:
        """Delete rows of one kind of neighbour; returns how many."""

    def tally(
        self, table: type[Neighbour], filters: Filters, by: Sequence[str] = ()
    ) -> list[tuple[Any, ...]]:
        """How many rows of a kind there are, and when the earliest and the latest are from.

        Returns:
            list: (value of each field of `by`…, count, earliest and latest `started_at` in microseconds), in
                no order. Without `by` there is one.
        """

    def snapshot(self) -> AbstractContextManager[None]:
        """What this thread asks inside is answered as of one moment, whatever is written meanwhile."""

    def get(self, call_id: str) -> LLMCall | None:
        """One call, or `None`."""

    def payload(self, call_id: str) -> dict[str, str | None]:
        """`request` and `response` of a call as JSON text; `None` where nothing was captured."""

    def keep(self, row: SQLModel) -> None:
        """Insert or replace a row of a small table (`ModelPrice`, `Budget`) by its key."""

    def claim(self, row: SQLModel) -> bool:
        """Insert a row if its key is free; whether it was. Of several who claim, one is told yes."""

    def kept(self, table: type[Row]) -> list[Row]:
        """All rows of a small table, by key."""

    def discard(self, table: type[SQLModel], key: str) -> bool:
        """Delete a row of a small table; whether it was there."""

    def prune(self, before: datetime, *, dry_run: bool = False, take: Take | None = None) -> int:
        """Delete the calls that started before a moment, or only count; returns how many. Sums keep them.

        `take` is given every row first, in the transaction that deletes it.
        """

    def kept_since(self) -> int | None:
        """From which moment on calls are rows: those before were pruned, and are in sums only."""

    def rebuild_rollups(self, progress: Progress | None = None) -> int:
        """Add up again, from the rows, all sums that are kept beside them; returns how many rows."""

    def close(self) -> None:
        """Let go of files and connections."""


def key_of(row: SQLModel) -> str:
    """The key of a row of a small table."""
    key: str = sa.inspect(type(row)).mapper.primary_key_from_instance(row)[0]
    return key


def plus(one: Appended, other: Appended) -> Appended:
    """What became of two lots of records."""
    return Appended(
        one.inserted + other.inserted,
        one.replaced + other.replaced,
        one.unchanged + other.unchanged,
        one.refused + other.refused,
        one.expired + other.expired,
    )


def apart(records: Sequence[Record]) -> tuple[Sequence[Record], Sequence[Record]]:
    """Calls, and their neighbours."""
    neighbours = [record for record in records if "kind" in record]
    return [record for record in records if "kind" not in record] if neighbours else records, neighbours


def fold(records: Sequence[Record]) -> tuple[dict[str, Record], list[Refused]]:
    """The strongest record of each id, the first of equals; and those that no row can be made of."""
    strongest: dict[str, Record] = {}
    refused: list[Refused] = []
    for record in records:
        call_id = record.get("id")
        rank = record.get("finality")
        if not isinstance(call_id, str) or not isinstance(rank, int) or rank < PROVISIONAL:
            refused.append(Refused(str(call_id), "it has no id, or has not ended"))
            continue
        known = strongest.get(call_id)
        if known is None or known["finality"] < record["finality"]:
            strongest[call_id] = record
    return strongest, refused


_TYPES: Final[Mapping[int, type]] = {
    TEXT: str, LONG_TEXT: str, BOOLEAN: bool, LIST: list, MAPPING: dict,
}  # fmt: skip
_STORED: Final = range(-(2**63), 2**63)


def refusal(
    record: Record, required: Sequence[str] = ("started_at", "status"), fields: Mapping[str, int] = FIELDS
) -> str | None:
    """Why a record cannot be a row, or `None` if it can."""
    missing = [name for name in required if record.get(name) is None]
    if missing:
        return f"{missing[0]} is missing"
    for name, kind in fields.items():
        value = record.get(COLUMN_OF.get(name, name))
        if value is None:
            continue
        wrong = not isinstance(value, _TYPES.get(kind, int))
        if wrong or (isinstance(value, int) and value not in _range(name, kind, fields)):
            return f"{name} cannot be {type(value).__name__} {value!r:.40}"
    return None


def _range(name: str, kind: int, fields: Mapping[str, int]) -> range:
    if kind == TIME:
        return TIMES_US
    if fields is FIELDS and COLUMN_OF.get(name, name) in COUNTED:
        return range(-LARGEST, LARGEST + 1)
    return _STORED


def page_of_sessions(
    groups: Iterable[dict[str, Any]], order: str, limit: int, after: tuple[int | None, str] | None
) -> list[dict[str, Any]]:
    """Sessions in order, from one place on."""
    name, sign = session_order(order)

    def place(value: int | None, session_id: str) -> tuple[bool, int, str]:
        return (True, 0, session_id) if value is None else (False, sign * value, session_id)

    found = {place(group[name], group["session_id"]): group for group in groups}
    keys = sorted(key for key in found if after is None or key > place(*after))
    return [found[key] for key in keys[:limit]]


def session_order(order: str) -> tuple[str, int]:
    """The measure sessions are sorted by, and 1 or -1 for upwards or downwards.

    Raises:
        QueryError: there is no such order.
    """
    name = order.removeprefix("-")
    if name not in AMOUNTS:
        raise QueryError(f"order: {name!r} is unknown. There are: {', '.join(sorted(AMOUNTS))}.")
    return name, -1 if order.startswith("-") else 1
