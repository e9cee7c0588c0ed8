"""MemoryStore: plain Python, and the definition of right for every other store."""

from __future__ import annotations

import threading
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from datetime import datetime
from typing import Any

from sqlmodel import SQLModel

from tokentrail._measures import AMOUNTS, MEASURES, Measure, Test, operand, passes
from tokentrail._neighbours import FIELDS_OF, MESSAGE
from tokentrail._periods import edges, period_of
from tokentrail._query import Filters, Query, arrange, matching
from tokentrail._records import (
    COLUMN_OF,
    Record,
    to_us,
)
from tokentrail.models import LLMCall, LLMPayload, Neighbour
from tokentrail.models._columns import TIMES_US
from tokentrail.models._neighbours import NEIGHBOURS
from tokentrail.stores import _joining
from tokentrail.stores._cover import HOUR, WIDTHS
from tokentrail.stores._delta import SERIES, SERIES_FIELDS
from tokentrail.stores._plan import can_count, dimension_of, within
from tokentrail.stores.base import (
    Appended,
    Beside,
    Columns,
    Counts,
    Groups,
    Position,
    Progress,
    Refused,
    Row,
    Spans,
    Take,
    apart,
    columns_of,
    fold,
    key_of,
    page_of_sessions,
    plus,
    refusal,
)


class MemoryStore:
    """Keeps calls in a dict, for tests and for programs that want nothing on disk."""

    def __init__(self, url: str = "memory://", *, recover: bool = False) -> None:  # noqa: ARG002
        self.url = url
        self.set_aside: str | None = None
        self._calls: dict[str, Record] = {}
        self._neighbours: dict[str, dict[str, Record]] = {kind: {} for kind in FIELDS_OF}
        self._positions: dict[str, int] = {}
        self._kept: dict[type[SQLModel], dict[str, Any]] = {}
        self._pruned: dict[str, Record] = {}
        self._pruned_before = TIMES_US[0]
        self._lock = threading.RLock()

    # --- writing ---------------------------------------------------------------------------------

    def append(
        self, records: Sequence[Record], positions: Sequence[Position] = (), forget: Sequence[str] = ()
    ) -> Appended:
        calls, neighbours = apart(records)
        strongest, refused = fold(calls)
        inserted = replaced = expired = 0
        with self._lock:
            for call_id, record in strongest.items():
                old = self._calls.get(call_id)
                if old is not None and old["finality"] >= record["finality"]:
                    continue
                reason = refusal(record)
                started = record.get("started_at")
                if old is None and isinstance(started, int) and started < self._pruned_before:
                    expired += 1
                    continue
                if reason is not None:
                    refused.append(Refused(call_id, reason))
                    continue
                inserted += old is None
                replaced += old is not None
                self._calls[call_id] = dict(record)
            for segment, position in positions:
                self._positions[segment] = max(position, self._positions.get(segment, position))
            for segment in forget:
                self._positions.pop(segment, None)
            beside = _joining.append(self, neighbours) if neighbours else Appended()
        unchanged = len(calls) - inserted - replaced - len(refused) - expired
        return plus(Appended(inserted, replaced, unchanged, tuple(refused), expired), beside)

    def positions(self) -> dict[str, int]:
        with self._lock:
            return dict(self._positions)

    def keep(self, row: SQLModel) -> None:
        with self._lock:
            self._kept.setdefault(type(row), {})[key_of(row)] = row.model_copy()

    def claim(self, row: SQLModel) -> bool:
        with self._lock:
            taken = key_of(row) in self._kept.get(type(row), {})
            if not taken:
                self.keep(row)
        return not taken

    def kept(self, table: type[Row]) -> list[Row]:
        with self._lock:
            rows = sorted(self._kept.get(table, {}).items())
        return [row.model_copy() for _, row in rows]

    def discard(self, table: type[SQLModel], key: str) -> bool:
        with self._lock:
            return self._kept.get(table, {}).pop(key, None) is not None

    def prune(self, before: datetime, *, dry_run: bool = False, take: Take | None = None) -> int:
        mark = to_us(before)
        with self._lock:
            old = [call_id for call_id, record in self._calls.items() if record["started_at"] < mark]
            if dry_run:
                return len(old)
            for kind, there in self._neighbours.items():
                for row in list(there.values()):
                    if row["last_activity" if "last_activity" in row else "started_at"] < mark:
                        if take is not None:
                            take([NEIGHBOURS[kind].from_record(row)])
                        del there[row["id"]]
            for call_id in old:
                if take is not None:
                    self._hand_over(call_id, take)
                record = self._calls.pop(call_id)
                self._pruned[call_id] = record
                self._pruned_before = max(self._pruned_before, record["started_at"] + 1)
        return len(old)

    def _hand_over(self, call_id: str, take: Take) -> None:
        take([LLMCall.from_record(self._calls[call_id])])
        said = {name: text for name, text in self.payload(call_id).items() if text is not None}
        if said:
            take([LLMPayload(call_id=call_id, **said)])

    def correct(self, records: Sequence[Record]) -> Appended:
        refused: list[Refused] = []
        replaced = 0
        with self._lock:
            for record in records:
                old = self._calls.get(record["id"])
                if old is None or record.get("finality", old["finality"]) != old["finality"]:
                    continue
                new = {column: value for column, value in {**old, **record}.items() if value is not None}
                reason = refusal(new)
                if reason is not None:
                    refused.append(Refused(record["id"], reason))
                    continue
                self._calls[record["id"]] = new
                replaced += 1
        return Appended(
            replaced=replaced, unchanged=len(records) - replaced - len(refused), refused=tuple(refused)
        )

    def erase(self, filters: Filters) -> int:
        with self._lock:
            found = self._matching(filters)
            for record in found:
                del self._calls[record["id"]]
        return len(found)

    def kept_since(self) -> int | None:
        return None if self._pruned_before == TIMES_US[0] else self._pruned_before

    def rebuild_rollups(self, progress: Progress | None = None) -> int:
        """Nothing to rebuild: every answer is from the rows."""
        with self._lock:
            rows = len(self._calls)
        if progress is not None:
            progress(rows, rows)
        return rows

    # As a shelf of `_joining`, under the lock.

    def rows(self, kind: str, ids: Collection[str]) -> dict[str, Record]:
        there = self._neighbours[kind]
        return {row_id: there[row_id] for row_id in ids if row_id in there}

    def of_messages(self, kind: str, message_ids: Collection[str]) -> list[Record]:
        return [row for row in self._neighbours[kind].values() if row.get("message_id") in message_ids]

    def who(self, message_ids: Collection[str], call_ids: Collection[str]) -> dict[str, Record]:
        calls = {call_id: self._calls[call_id] for call_id in call_ids if call_id in self._calls}
        return {**calls, **self.rows(MESSAGE, message_ids)}

    def put(self, kind: str, rows: Sequence[Record]) -> list[Refused]:
        self._neighbours[kind].update((row["id"], row) for row in rows)
        return []

    def close(self) -> None:
        """Nothing to let go of; the calls stay while the object lives."""

    # --- reading ---------------------------------------------------------------------------------

    @contextmanager
    def snapshot(self) -> Iterator[None]:
        with self._lock:
            yield

    def get(self, call_id: str) -> LLMCall | None:
        with self._lock:
            record = self._calls.get(call_id)
        return None if record is None else LLMCall.from_record(record)

    def payload(self, call_id: str) -> dict[str, str | None]:
        with self._lock:
            record = self._calls.get(call_id, {})
        return {name: record.get(name) for name in ("request", "response")}

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
        found = [
            record
            for record in self._matching(filters)
            if (after is None or _place(record) < after) and all(passes(record, test) for test in when)
        ]
        found.sort(key=_place, reverse=True)
        if largest is not None:
            known = [record for record in found if operand(record, largest) is not None]
            known.sort(key=lambda record: operand(record, largest), reverse=True)
            found = known + [record for record in found if operand(record, largest) is None]
        return [LLMCall.from_record(record) for record in found[offset : offset + limit]]

    def beside(
        self,
        table: type[Beside],
        filters: Filters,
        *,
        limit: int,
        after: tuple[int, str] | None = None,
        offset: int = 0,
    ) -> list[Beside]:
        rows = self._matching(filters, self._neighbours[table.KIND])
        found = {(row["started_at"], row["id"]): row for row in rows}
        keys = sorted((key for key in found if after is None or key < after), reverse=True)
        return [table.from_record(found[key]) for key in keys[offset : offset + limit]]

    def erase_beside(self, table: type[Neighbour], filters: Filters) -> int:
        with self._lock:
            there = self._neighbours[table.KIND]
            found = self._matching(filters, there)
            for row in found:
                del there[row["id"]]
        return len(found)

    def tally(
        self, table: type[Neighbour], filters: Filters, by: Sequence[str] = ()
    ) -> list[tuple[Any, ...]]:
        rows = self._matching(filters, self._neighbours[table.KIND])
        groups: dict[str, list[Record]] = {} if by else {"[]": []}
        for row in rows:
            groups.setdefault(repr([row.get(name) for name in by]), []).append(row)
        return [
            (
                *(members[0].get(name) for name in by if members),
                len(members),
                min((row["started_at"] for row in members), default=None),
                max((row["started_at"] for row in members), default=None),
            )
            for members in groups.values()
        ]

    def spans(self, filters: Filters, by: str | None = None) -> Spans:
        found: dict[Any, tuple[Counts, Counts]] = {} if by else {None: ({}, {})}
        query = Query(by=() if by is None else (by,), filters=filters)
        for record in self._matching(filters) + self._pruned_but_counted(query, finest=HOUR):
            if record.get("cache_hit"):
                continue
            for key in _keys(record, query, _unchanged):
                spans = found.setdefault(key[0] if key else None, ({}, {}))
                for counts, column in zip(spans, ("duration_us", "time_to_first_token_us"), strict=True):
                    value = record.get(column)
                    if value is not None:
                        counts[value] = counts.get(value, 0) + 1
        return Spans(found)

    def sessions(
        self,
        filters: Filters,
        *,
        active_since: int | None = None,
        order: str = "-last_started_at",
        limit: int = 100,
        after: tuple[int | None, str] | None = None,
    ) -> Groups:
        members: dict[str, list[Record]] = {}
        with self._lock:
            for record in (*self._calls.values(), *self._pruned.values()):
                if record.get("session_id") is not None:
                    members.setdefault(record["session_id"], []).append(record)
        meant = {record.get("session_id") for record in self._matching(filters)}
        if not filters.wanted:
            meant |= {record.get("session_id") for record in self._matching(filters, self._pruned)}
        groups = [
            {"session_id": session_id, **{name: measured(MEASURES[name], calls) for name in AMOUNTS}}
            for session_id, calls in members.items()
            if session_id in meant
            and (active_since is None or max(call["started_at"] for call in calls) >= active_since)
        ]
        return Groups(page_of_sessions(groups, order, limit, after))

    def columns(self, query: Query) -> Columns:
        return Columns(columns_of(self.aggregate(query), query))

    def aggregate(self, query: Query) -> Groups:
        records = self._matching(query.filters) + self._pruned_but_counted(query)
        period = _period(query, records)
        groups: dict[tuple[Any, ...], list[Record]] = {}
        for record in records:
            for key in _keys(record, query, period):
                groups.setdefault(key, []).append(record)
        if not query.by and query.granularity is None:
            groups.setdefault((), [])
        names = query.by if query.granularity is None else ("period", *query.by)
        answer = [
            {
                **dict(zip(names, key, strict=True)),
                **{name: measured(MEASURES[name], members) for name in query.measures},
            }
            for key, members in groups.items()
        ]
        return Groups(arrange(answer, query))

    def _pruned_but_counted(self, query: Query, finest: int | None = None) -> list[Record]:
        """Calls without a row that the sums of other stores still count, where they can answer with them."""
        if not self._pruned:
            return []
        wanted = {name: value for name, value in query.filters.wanted.items() if name != "cache_hit"}
        asked = replace(query, filters=replace(query.filters, wanted=wanted)) if finest else query
        dimension = SERIES if finest else dimension_of(asked)
        if dimension is None or not can_count(asked, dimension):
            return []
        if finest and not {*asked.by, *wanted} <= set(SERIES_FIELDS):
            return []
        with self._lock:
            moments = [
                record["started_at"] // WIDTHS[0]
                for record in (*self._calls.values(), *self._pruned.values())
            ]
        span = (min(moments) * WIDTHS[0], (max(moments) + 1) * WIDTHS[0])
        found = within(asked, dimension, span, finest=finest)
        members = self._matching(query.filters, self._pruned)
        return [each for each in members if found and found.start_us <= each["started_at"] < found.end_us]

    def _matching(self, filters: Filters, rows: Mapping[str, Record] | None = None) -> list[Record]:
        with self._lock:
            records = list((self._calls if rows is None else rows).values())
        return matching(records, filters)


def _place(record: Record) -> tuple[int, str]:
    return record["started_at"], record["id"]


def _value(record: Record, name: str) -> Any:
    return record.get(COLUMN_OF.get(name, name))


def _period(query: Query, records: Sequence[Record]) -> Callable[[int], int]:
    if query.granularity is None or not records:
        return _unchanged
    moments = [record["started_at"] for record in records]
    beginnings = edges(min(moments), max(moments) + 1, query.granularity, query.filters.zone)
    return lambda moment: period_of(moment, beginnings)


def _unchanged(moment: int) -> int:
    return moment


def _keys(record: Record, query: Query, period: Callable[[int], int]) -> Iterable[tuple[Any, ...]]:
    keys: list[tuple[Any, ...]] = [()]
    if query.granularity is not None:
        keys = [(period(record["started_at"]),)]
    for name in query.by:
        values = (
            (list(dict.fromkeys(record.get("tags") or [None]))) if name == "tag" else [_value(record, name)]
        )
        keys = [(*key, value) for key in keys for value in values]
    return keys


# --- measures: what each operation means ---------------------------------------------------------


def measured(measure: Measure, records: Iterable[Record]) -> int | None:
    """A measure over records, in storage units."""
    members = [record for record in records if all(passes(record, test) for test in measure.when)]
    if measure.op == "count":
        return len(members)
    values: list[int] = [
        value for record in members if (value := operand(record, measure.column)) is not None
    ]
    if measure.op == "distinct":
        return len(set(values))
    if not values:
        return None
    if measure.op == "sum":
        return sum(values)
    return min(values) if measure.op == "min" else max(values)
