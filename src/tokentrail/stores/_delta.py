"""What a change of rows adds to the sums beside them: the new rows' share, without the old rows'.

rollups += share(new) - share(old), in the transaction that replaces old by new. Nothing else keeps them
right, and nothing else is needed: whatever fact of a call changes, old and new land in different cells.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from functools import lru_cache
from operator import itemgetter
from typing import Any, Final, NamedTuple, TypeAlias

from tokentrail._records import FAILED, Record
from tokentrail.stores._cover import HOUR, QUARTER, WIDTHS
from tokentrail.stores._lanes import NARROW, NARROW_MASK, WIDE, Kind, Lanes, extremes_of, outdone
from tokentrail.stores._rows import Groups

SERIES_FIELDS: Final = ("provider", "model", "requested_model", "call_type", "status", "is_streaming")
"""A series is one combination of these that occurs, as in Prometheus."""
SERIES, ALL, MODEL, USER, CLIENT, TAG, ERROR_TYPE = range(7)
"""Dimensions of the rollups. `ALL` and `MODEL` are there because a time series wants few keys a slot."""
LABELS: Final = {"user_id": USER, "client_id": CLIENT, "tag": TAG, "error_type": ERROR_TYPE}
FINEST: Final = {USER: HOUR}
"""The smallest cells of a dimension, where they are no quarters: most users call once an hour or less."""

UNKNOWN: Final = ""
"""The token of calls that have no such label; a known one is `=` and its text."""
EVERYTHING: Final = "="
"""The only token of `ALL`."""
OTHER: Final = "*"
"""The token of all labels beyond the most there may be."""
TAKEN: Final = (*SERIES_FIELDS, "user_id", "client_id", "tags", "error_type", "session_id", "started_at")
"""Columns that say in which cells a call counts."""

Key: TypeAlias = tuple[int, int, str]
"""(dimension, slot of its finest level, token)."""


_Labels: TypeAlias = tuple[str | None, str | None, tuple[str, ...], tuple[str | None, ...]]
_Owner: TypeAlias = tuple[int, str | None, _Labels]
"""(quarter, session, labels). Few calls of a batch differ in all of it: most are counted together, and
under all of their labels at once.
"""
_Gain: TypeAlias = list[int]
"""[all counters as one integer, when the first call started, when the last one did]."""

Stale: TypeAlias = dict[Any, list[int | None]]
"""Cells, and the extremes of old rows in them that no new row reaches."""


class Cell(NamedTuple):
    """What one cell gains."""

    total: int
    extremes: list[int | None]


class Side:
    """The shares of some calls, by where they count."""

    def __init__(self) -> None:
        self._series: dict[tuple[int, tuple[Any, ...]], _Cell] = {}
        self._owners: dict[_Owner, _Gain] = {}

    def add(self, groups: Groups) -> None:
        """Count calls.

        Raises:
            OverflowError: a value is too large to be counted.
        """
        series, owners = self._series, self._owners
        for columns, members in groups:
            shape = _shape(columns)
            for record in members:
                get = record.get
                total = shape.kind(record).adds(record)
                started = record["started_at"]
                slot = started // WIDTHS[QUARTER]
                cell = series.get(key := (slot, shape.series(record)))
                if cell is None:
                    series[key] = _Cell(total, [record])
                else:
                    cell.total += total
                    cell.members.append(record)
                tags = get("tags")
                failed = (get("error_type"),) if record["status"] in FAILED else ()
                labels = (get("user_id"), get("client_id"), tuple(tags) if tags else (), failed)
                _gain(owners, (slot, get("session_id"), labels), total, started, started)

    def cells(self) -> dict[Key, Cell]:
        """All cells of the finest levels."""
        found = self.labels()
        for (slot, series), cell in self._series.items():
            wide = Cell(cell.total, extremes_of(WIDE, cell.members))
            for key in (
                (SERIES, slot, token_of_series(series)),
                (ALL, slot, EVERYTHING),
                (MODEL, slot, token_of(series[1])),
            ):
                known = found.get(key)
                found[key] = wide if known is None else joined(known, wide)
        return found

    def labels(self) -> dict[Key, Cell]:
        """What each label gains."""
        found: dict[tuple[int, int, str | None], _Gain] = {}
        hours = WIDTHS[HOUR] // WIDTHS[QUARTER]
        for (slot, _, (user, client, tags, error_types)), gain in self._owners.items():
            _gain(found, (USER, slot // hours, user), *gain)
            _gain(found, (CLIENT, slot, client), *gain)
            for tag in dict.fromkeys(tags) or (None,):
                _gain(found, (TAG, slot, tag), *gain)
            for error_type in error_types:
                _gain(found, (ERROR_TYPE, slot, error_type), *gain)
        return {
            (dimension, slot, token_of(label)): _narrow(gain)
            for (dimension, slot, label), gain in found.items()
        }

    def sessions(self) -> dict[str, Cell]:
        """What each session gains."""
        found: dict[str, _Gain] = {}
        for (_, session_id, _), gain in self._owners.items():
            if session_id is not None:
                _gain(found, session_id, *gain)
        return {session_id: _narrow(gain) for session_id, gain in found.items()}

    def spans(self) -> dict[tuple[int, tuple[Any, ...]], tuple[list[int], list[int]]]:
        """How long calls took, and their first tokens, by hour and series."""
        found: dict[tuple[int, tuple[Any, ...]], tuple[list[int], list[int]]] = {}
        many = WIDTHS[HOUR] // WIDTHS[QUARTER]
        for (slot, series), cell in self._series.items():
            members = [record for record in cell.members if not record.get("cache_hit")]
            several = found.setdefault((slot // many, series), ([], []))
            for values, column in zip(several, ("duration_us", "time_to_first_token_us"), strict=True):
                values += [record[column] for record in members if column in record]
        return {place: several for place, several in found.items() if any(several)}


def _gain(gains: dict[Any, _Gain], key: Any, total: int, first: int, last: int) -> None:
    gain = gains.get(key)
    if gain is None:
        gains[key] = [total, first, last]
        return
    gain[0] += total
    if first < gain[1]:
        gain[1] = first
    if last > gain[2]:
        gain[2] = last


def _narrow(gain: _Gain) -> Cell:
    total, first, last = gain
    return Cell(total & NARROW_MASK, [first, last])


class _Cell:
    __slots__ = ("members", "total")

    def __init__(self, total: int, members: list[Record]) -> None:
        self.total = total
        self.members = members


def joined(one: Cell, other: Cell) -> Cell:
    """Two gains of one cell as one."""
    lanes = WIDE if len(one.extremes) == len(WIDE.extremes) else NARROW
    return Cell(one.total + other.total, outdone(lanes, one.extremes, other.extremes))


def token_of(value: str | None) -> str:
    """How a label is written as a key."""
    return UNKNOWN if value is None else f"={value}"


@lru_cache(maxsize=4_096)
def token_of_series(series: tuple[Any, ...]) -> str:
    """How a series is written as a key."""
    return json.dumps(series)


def label_of(token: str) -> str | None:
    """The label a key stands for."""
    return token[1:] if token else None


def table_of(dimension: int) -> tuple[str, Lanes]:
    """Where a dimension's cells are, and what they count."""
    return ("usage", WIDE) if dimension <= MODEL else ("usage_label", NARROW)


# --- shapes: what is the same for all records with the same columns -------------------------------

_DECISIVE: Final = ("status", "cache_hit", "is_streaming", "call_type", "usage_source", "attempt_kind")
_KEPT_SHAPES: Final = 2_000
_KEPT_KINDS: Final = 2_000
_shapes: dict[tuple[str, ...], _Shape] = {}


class _Shape:
    def __init__(self, columns: tuple[str, ...]) -> None:
        there = [name for name in _DECISIVE if name in columns]
        self._decisive: Callable[[Record], Any] = itemgetter(*there)
        self._flagged = "usage_flags" in columns
        self._kinds: dict[Any, Kind] = {}
        whole = all(name in columns for name in SERIES_FIELDS)
        self.series: Callable[[Record], tuple[Any, ...]] = itemgetter(*SERIES_FIELDS) if whole else _series

    def kind(self, record: Record) -> Kind:
        ended = record.get("ended_at")
        key = (
            self._decisive(record),
            record.get("total_tokens") == 0,
            ended is not None and ended < record["started_at"],
            tuple(record["usage_flags"]) if self._flagged else (),
        )
        kind = self._kinds.get(key)
        if kind is None:
            if len(self._kinds) >= _KEPT_KINDS:
                self._kinds.clear()
            kind = self._kinds[key] = Kind(record)
        return kind


def _shape(columns: tuple[str, ...]) -> _Shape:
    shape = _shapes.get(columns)
    if shape is None:
        if len(_shapes) >= _KEPT_SHAPES:
            _shapes.clear()
        shape = _shapes[columns] = _Shape(columns)
    return shape


def _series(record: Record) -> tuple[Any, ...]:
    return tuple(record.get(name) for name in SERIES_FIELDS)


# --- both sides -----------------------------------------------------------------------------------


class Delta:
    """New rows, and the rows that gave way to them."""

    def __init__(self) -> None:
        self.new: list[Side] = []
        self.old: list[Side] = []

    def add(self, new: Groups, old: Groups) -> None:
        """Rows that came, and rows that went; all or, if one of them cannot be counted, none.

        Raises:
            OverflowError: a value is too large to be counted.
        """
        both = (Side(), Side())
        for side, groups in zip(both, (new, old), strict=True):
            side.add(groups)
        for sides, side, groups in zip((self.new, self.old), both, (new, old), strict=True):
            if groups:
                sides.append(side)

    def cells(self) -> tuple[dict[Key, Cell], Stale]:
        """What each cell gains, and the extremes that may have left it with an old row."""
        new, old = (_sum(side.cells() for side in sides) for sides in (self.new, self.old))
        return new, _take(new, old)

    def sessions(self) -> tuple[dict[str, Cell], Stale]:
        """The same of sessions."""
        new, old = (_sum(side.sessions() for side in sides) for sides in (self.new, self.old))
        return new, _take(new, old)

    def gone_sessions(self) -> set[str]:
        """Sessions that an old row was of."""
        return {session_id for side in self.old for session_id in side.sessions()}


def _sum(several: Iterable[dict[Any, Cell]]) -> dict[Any, Cell]:
    total: dict[Any, Cell] = {}
    for cells in several:
        if not total:
            total = cells
            continue
        for key, cell in cells.items():
            known = total.get(key)
            total[key] = cell if known is None else joined(known, cell)
    return total


def _take(new: dict[Any, Cell], old: dict[Any, Cell]) -> Stale:
    stale: Stale = {}
    for key, gone in old.items():
        there = new.get(key, Cell(0, [None] * len(gone.extremes)))
        if joined(there, gone).extremes != there.extremes:
            stale[key] = gone.extremes
        new[key] = Cell(there.total - gone.total, there.extremes)
    return stale
