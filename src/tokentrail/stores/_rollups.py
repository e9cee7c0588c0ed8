"""Rollups: sums kept beside the calls, in the transaction that changes the calls."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from typing import Any, Final, TypeAlias

import sqlalchemy as sa
from sqlalchemy import Connection

from tokentrail._measures import MEASURES
from tokentrail._query import Exact, Filters, Query
from tokentrail._records import FAILED
from tokentrail.stores import _sketches
from tokentrail.stores._compile import answer
from tokentrail.stores._cover import HOUR, LUNE, QUARTER, WIDTHS
from tokentrail.stores._delta import (
    ALL,
    ERROR_TYPE,
    FINEST,
    LABELS,
    MODEL,
    OTHER,
    SERIES,
    SERIES_FIELDS,
    Cell,
    Delta,
    Key,
    joined,
    label_of,
    table_of,
    token_of_series,
)
from tokentrail.stores._lanes import NARROW, Lanes, column_of
from tokentrail.stores._upsert import upsert

MOST_KEYS: Final = 100_000
"""Keys one dimension may have. Beyond, calls are counted under one common key, and questions that need the
dimension are answered from rows."""
_CHUNK: Final = 500
_Level: TypeAlias = dict[tuple[Any, ...], Cell]
_CELL: Final = ("dimension", "level", "period", "key")
_SKETCH: Final = ("level", "period", "key")


class Rollups:
    """Writes what calls add to the sums, and what they take away.

    Args:
        postgres: whether the database is PostgreSQL; else it is SQLite.
        most_keys: how many keys a dimension may have.
    """

    def __init__(self, *, postgres: bool, most_keys: int = MOST_KEYS) -> None:
        self._postgres = postgres
        self._most_keys = most_keys
        self._keys: dict[tuple[int, str], int] = {}
        self._keys_version = -1

    def apply(
        self,
        connection: Connection,
        delta: Delta,
        mark: int | None = None,
        keys_version: int = 0,
        *,
        whole: bool = True,
    ) -> None:
        """Add the new side of a delta and take the old one away.

        Args:
            connection: in a writing transaction, after the rows were written.
            delta: both sides.
            mark: up to when calls were pruned: of those before it, extremes cannot be looked for again.
            keys_version: of the ledger; where it changed, keys have been deleted.
            whole: all levels of cells; else only the finest of each dimension.
        """
        if keys_version != self._keys_version:
            self._keys, self._keys_version = {}, keys_version
        gains, stale = delta.cells()
        if not gains:
            return
        ids = self._ids(connection, {(dimension, token) for dimension, _, token in gains})
        shrinks = bool(delta.old)
        for table, lanes, cells in _by_table(gains, ids, whole=whole):
            upsert(connection, table, _CELL, lanes, cells, postgres=self._postgres)
            if shrinks:
                _delete_empty(connection, table, cells)
        self._spans(connection, delta, ids, LUNE if whole else HOUR)
        for key, gone in stale.items():
            if mark is None or key[1] * WIDTHS[FINEST.get(key[0], QUARTER)] >= mark:
                self._refresh(connection, key, ids[key[0], key[2]], gone)
        self._sessions(connection, delta, mark)

    def forget(self, connection: Connection, delta: Delta) -> None:
        """Delete the labels of erased calls that no other call has: they may be the name of a user."""
        gone = {(key[0], key[2]) for side in delta.old for key in side.labels()}
        statement = sa.text(
            "DELETE FROM usage_key WHERE dimension = :dimension AND token = :token AND NOT EXISTS (SELECT 1 "
            "FROM usage_label AS u WHERE u.dimension = usage_key.dimension AND u.key = usage_key.id)"
        )
        if gone:
            rows = [{"dimension": dimension, "token": token} for dimension, token in sorted(gone)]
            connection.execute(statement, rows)
            connection.exec_driver_sql("UPDATE ledger SET keys_version = keys_version + 1")

    # --- keys ------------------------------------------------------------------------------------

    def _ids(self, connection: Connection, wanted: Collection[tuple[int, str]]) -> dict[tuple[int, str], int]:
        known = self._keys
        missing = [key for key in wanted if key not in known]
        if not missing:
            return known
        # Only keys that were there before are remembered: those made now may be rolled back.
        before = _known_ids(connection, missing)
        known.update(before)
        fresh = [key for key in missing if key not in before]
        return known if not fresh else {**known, **self._made(connection, fresh)}

    def _made(self, connection: Connection, fresh: Sequence[tuple[int, str]]) -> dict[tuple[int, str], int]:
        room = self._room(connection, {dimension for dimension, _ in fresh})
        made, beyond = [], []
        for dimension, token in sorted(fresh):
            if room[dimension] > 0:
                room[dimension] -= 1
                made.append((dimension, token))
            else:
                beyond.append((dimension, token))
        others = {(dimension, OTHER) for dimension, _ in beyond}
        made += [key for key in others if key not in _known_ids(connection, others)]
        if made:
            connection.execute(
                sa.text("INSERT INTO usage_key (dimension, token) VALUES (:dimension, :token)"),
                [{"dimension": dimension, "token": token} for dimension, token in made],
            )
        found = _known_ids(connection, [*made, *others])
        return {**found, **{key: found[key[0], OTHER] for key in beyond}}

    def _room(self, connection: Connection, dimensions: Collection[int]) -> dict[int, int]:
        """How many keys each dimension may still get; none once there were too many."""
        highest = connection.execute(sa.text("SELECT max(id) FROM usage_key")).scalar() or 0
        if highest < self._most_keys:
            return dict.fromkeys(dimensions, self._most_keys - highest)
        counted = sa.text(
            "SELECT dimension, count(*), sum(CASE WHEN token = '*' THEN 1 ELSE 0 END) FROM usage_key "
            "GROUP BY dimension"
        )
        counts = {row[0]: (row[1], row[2]) for row in connection.execute(counted)}
        return {
            dimension: 0
            if counts.get(dimension, (0, 0))[1]
            else self._most_keys - counts.get(dimension, (0, 0))[0]
            for dimension in dimensions
        }

    # --- distributions ---------------------------------------------------------------------------

    def _spans(
        self, connection: Connection, delta: Delta, ids: Mapping[tuple[int, str], int], coarsest: int
    ) -> None:
        """Sketches are read, changed and written: no database can add them up."""
        changes: dict[tuple[int, int, int], list[int]] = {}
        signed = [(1, side) for side in delta.new] + [(-1, side) for side in delta.old]
        for sign, side in signed:
            for (slot, series), several in side.spans().items():
                key = ids[SERIES, token_of_series(series)]
                pair = [sign * _sketches.sketch(values) for values in several]
                for level in range(HOUR, coarsest + 1):
                    place = (level, slot // (WIDTHS[level] // WIDTHS[HOUR]), key)
                    total = changes.setdefault(place, [0, 0])
                    total[0] += pair[0]
                    total[1] += pair[1]
        changes = {place: pair for place, pair in changes.items() if any(pair)}
        there = self._stored(connection, changes)
        written = []
        for place, pair in changes.items():
            old = there.get(place, (None, None))
            blobs = [
                _sketches.packed(_sketches.unpacked(blob) + change)
                for blob, change in zip(old, pair, strict=True)
            ]
            written.append((*place, *blobs))
        if written:
            replace_sketches(connection, written, postgres=self._postgres)

    def _stored(
        self, connection: Connection, places: Collection[tuple[int, int, int]]
    ) -> dict[tuple[int, int, int], tuple[Any, Any]]:
        wanted: dict[tuple[int, int], list[int]] = {}
        for level, period, key in places:
            wanted.setdefault((level, period), []).append(key)
        found: dict[tuple[int, int, int], tuple[Any, Any]] = {}
        for (level, period), keys in wanted.items():
            rows = connection.exec_driver_sql(
                f"SELECT key, durations, firsts FROM usage_sketch "  # noqa: S608  integers
                f"WHERE level = {level} AND period = {period} AND key IN ({', '.join(map(str, keys))})"
            ).fetchall()
            for key, *blobs in rows:
                found[level, period, key] = (blobs[0], blobs[1])
        return found

    # --- extremes that may have left -------------------------------------------------------------

    def _refresh(self, connection: Connection, key: Key, key_id: int, gone: Sequence[int | None]) -> None:
        """Look for the extremes of a cell again, where an old row had one of them."""
        dimension, slot, token = key
        table, lanes = table_of(dimension)
        finest = FINEST.get(dimension, QUARTER)
        columns = [column_of(name) for name in lanes.extremes]
        for level in range(finest, LUNE + 1):
            period = slot // (WIDTHS[level] // WIDTHS[finest])
            place = {"dimension": dimension, "level": level, "period": period, "key": key_id}
            if not _had_one(connection, table, columns, place, gone):
                continue
            if level > finest:
                _set(connection, table, place, _of_parts(connection, table, lanes, place))
                continue
            window = slot * WIDTHS[finest], (slot + 1) * WIDTHS[finest]
            asked = Filters(*window, wanted=wanted_of(dimension, token))
            (found,) = answer(connection, Query(lanes.extremes, filters=asked))
            _set(connection, table, place, {column_of(name): found[name] for name in lanes.extremes})

    def _sessions(self, connection: Connection, delta: Delta, mark: int | None) -> None:
        gains, stale = delta.sessions()
        cells = {(session_id,): cell for session_id, cell in gains.items()}
        upsert(connection, "session", ("session_id",), NARROW, cells, postgres=self._postgres)
        gone_sessions = delta.gone_sessions()
        if gone_sessions:
            connection.execute(
                sa.text("DELETE FROM session WHERE session_id = :id AND calls = 0"),
                [{"id": session_id} for session_id in gone_sessions],
            )
        columns = [column_of(name) for name in NARROW.extremes]
        for session_id, gone in stale.items():
            place = {"session_id": session_id}
            if _had_one(connection, "session", columns, place, gone, mark):
                asked = Filters(wanted={"session_id": (Exact(session_id),)})
                (found,) = answer(connection, Query(NARROW.extremes, filters=asked))
                if found["last_started_at"] is not None:
                    _set(connection, "session", place, {column_of(n): found[n] for n in NARROW.extremes})


def wanted_of(dimension: int, token: str) -> dict[str, tuple[Any, ...]]:
    """The filters that the calls of one key pass."""
    if dimension == ALL:
        return {}
    if dimension == SERIES:
        values = json.loads(token)
        return {name: (_exact(value),) for name, value in zip(SERIES_FIELDS, values, strict=True)}
    if dimension == MODEL:
        return {"model": (_exact(label_of(token)),)}
    (name,) = (name for name, each in LABELS.items() if each == dimension)
    failed = {"status": tuple(map(Exact, FAILED))} if dimension == ERROR_TYPE else {}
    return {name: (_exact(label_of(token)),), **failed}


def _exact(value: Any) -> Any:
    return Exact(value) if isinstance(value, str) else value


# --- cells ----------------------------------------------------------------------------------------


def _by_table(
    gains: Mapping[Key, Cell], ids: Mapping[tuple[int, str], int], *, whole: bool
) -> Iterator[tuple[str, Lanes, dict[tuple[Any, ...], Cell]]]:
    """The cells of all levels, each level from the one below."""
    tables: dict[str, tuple[Lanes, list[_Level]]] = {}
    for (dimension, slot, token), cell in gains.items():
        name, lanes = table_of(dimension)
        _, levels = tables.setdefault(name, (lanes, [{} for _ in WIDTHS]))
        finest = FINEST.get(dimension, QUARTER)
        _count(levels[finest], (dimension, finest, slot, ids[dimension, token]), cell)
    for name, (lanes, levels) in tables.items():
        for level in range(HOUR, LUNE + 1) if whole else ():
            many = WIDTHS[level] // WIDTHS[level - 1]
            for (dimension, _, period, key), cell in levels[level - 1].items():
                _count(levels[level], (dimension, level, period // many, key), cell)
        yield name, lanes, {place: cell for cells in levels for place, cell in cells.items()}


def _count(cells: _Level, place: tuple[int, ...], cell: Cell) -> None:
    known = cells.get(place)
    cells[place] = cell if known is None else joined(known, cell)


def _known_ids(connection: Connection, keys: Iterable[tuple[int, str]]) -> dict[tuple[int, str], int]:
    by_dimension: dict[int, list[str]] = {}
    for dimension, token in keys:
        by_dimension.setdefault(dimension, []).append(token)
    asked = sa.text(
        "SELECT token, id FROM usage_key WHERE dimension = :dimension AND token IN :tokens"
    ).bindparams(sa.bindparam("tokens", expanding=True))
    found: dict[tuple[int, str], int] = {}
    for dimension, tokens in by_dimension.items():
        for begin in range(0, len(tokens), _CHUNK):
            chunk = {"dimension": dimension, "tokens": tokens[begin : begin + _CHUNK]}
            found.update(((dimension, row[0]), row[1]) for row in connection.execute(asked, chunk))
    return found


def _delete_empty(connection: Connection, table: str, places: Iterable[tuple[Any, ...]]) -> None:
    connection.execute(
        sa.text(
            f"DELETE FROM {table} WHERE dimension = :dimension AND level = :level "  # noqa: S608
            "AND period = :period AND key = :key AND calls = 0"
        ),
        [dict(zip(_CELL, place, strict=True)) for place in places],
    )


def _had_one(
    connection: Connection,
    table: str,
    columns: Sequence[str],
    place: Mapping[str, Any],
    gone: Sequence[int | None],
    mark: int | None = None,
) -> bool:
    """Whether a cell is still there, one of its extremes is of the calls that are gone, and none older than
    the mark.
    """
    asked = sa.text(f"SELECT {', '.join(columns)} FROM {table} WHERE {_at(place)}")  # noqa: S608
    stored = connection.execute(asked, place).first()
    if stored is None or (mark is not None and stored[0] is not None and stored[0] < mark):
        return False
    return any(value is not None and value == left for value, left in zip(stored, gone, strict=True))


def _of_parts(connection: Connection, table: str, lanes: Lanes, place: Mapping[str, Any]) -> dict[str, Any]:
    """The extremes of a cell, from the cells of the level below."""
    many = WIDTHS[place["level"]] // WIDTHS[place["level"] - 1]
    shown = ", ".join(
        f"{MEASURES[name].op}({column_of(name)}) AS {column_of(name)}" for name in lanes.extremes
    )
    asked = sa.text(
        f"SELECT {shown} FROM {table} WHERE dimension = :dimension AND level = :below "  # noqa: S608
        "AND period >= :low AND period < :high AND key = :key"
    )
    low = place["period"] * many
    parts = {
        "dimension": place["dimension"],
        "key": place["key"],
        "below": place["level"] - 1,
        "low": low,
        "high": low + many,
    }
    return dict(connection.execute(asked, parts).mappings().one())


def _set(connection: Connection, table: str, place: Mapping[str, Any], values: Mapping[str, Any]) -> None:
    changes = ", ".join(f"{column} = :{column}" for column in values)
    connection.execute(
        sa.text(f"UPDATE {table} SET {changes} WHERE {_at(place)}"),  # noqa: S608
        {**place, **values},
    )


def _at(place: Mapping[str, Any]) -> str:
    return " AND ".join(f"{name} = :{name}" for name in place)


def replace_sketches(connection: Connection, rows: Sequence[tuple[Any, ...]], *, postgres: bool) -> None:
    into = "INSERT INTO usage_sketch (level, period, key, durations, firsts)"
    change = (
        "ON CONFLICT (level, period, key) DO UPDATE SET durations = excluded.durations, "
        "firsts = excluded.firsts"
    )
    if postgres:
        columns = tuple(map(list, zip(*rows, strict=True)))
        arrays = "%s::bigint[], %s::bigint[], %s::bigint[], %s::bytea[], %s::bytea[]"
        connection.exec_driver_sql(f"{into} SELECT * FROM unnest({arrays}) {change}", columns)  # noqa: S608
    else:
        connection.exec_driver_sql(f"{into} VALUES (?, ?, ?, ?, ?) {change}", list(rows))
