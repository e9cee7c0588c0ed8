"""Questions answered from the rollups; what lies beside whole cells is read from rows and joined."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import repeat
from typing import Any, Final

import sqlalchemy as sa
from sqlalchemy import Connection

from tokentrail._measures import MEASURES, joined
from tokentrail._query import Filters, Query
from tokentrail.stores import _sketches
from tokentrail.stores._compile import answer, spans
from tokentrail.stores._cover import LUNE, Piece, cover
from tokentrail.stores._delta import ALL, USER, label_of, table_of, token_of
from tokentrail.stores._lanes import column_of, known_of
from tokentrail.stores._plan import DISTINCT, Plan, buckets, plan, plan_of_spans, span_of, tokens_of, within
from tokentrail.stores._sessions import sessions_in
from tokentrail.stores.base import Counts

MOST_PIECES: Final = 2_000
"""Pieces of a cover in one statement, or a few more."""
MANY_KEYS: Final = frozenset((USER,))
"""Dimensions with so many keys that only those that are shown are added up in full."""


def coarse(connection: Connection, query: Query) -> dict[str, list[Any]] | None:
    """The groups of a question from rollups, as columns in no order; `None` if they cannot answer it."""
    found = plan(connection, query)
    if found is None:
        return None
    measures = tuple(name for name in query.measures if MEASURES[name].op != "distinct")
    beside = _beside(connection, found, query, measures)
    columns = _counted(connection, found, query, measures, beside)
    names = query.by if query.granularity is None else ("period", *query.by)
    _join(columns, beside, names, measures)
    return columns if names else _total(connection, query, columns)


def _beside(
    connection: Connection, found: Plan, query: Query, measures: tuple[str, ...]
) -> list[dict[str, Any]]:
    """What the rows before and after the whole cells say."""
    asked = replace(query, measures=measures or ("calls",), order=None, limit=None)
    parts = [part for part in (found.before, found.after) if part is not None]
    several = [answer(connection, replace(asked, filters=part)) for part in parts]
    if not query.by and query.granularity is None:
        several = [groups for groups in several if groups[0].get("calls") != 0]
    return [group for groups in several for group in groups]


def _join(
    columns: dict[str, list[Any]],
    beside: Sequence[dict[str, Any]],
    names: Sequence[str],
    measures: Sequence[str],
) -> None:
    """Add groups to columns, and to those of the same name."""
    if not beside:
        return
    there = zip(*(columns[name] for name in names), strict=True) if names else repeat((), _many(columns))
    rows = {place: row for row, place in enumerate(there)}
    for group in beside:
        row = rows.setdefault(tuple(group[name] for name in names), len(rows))
        for name in measures:
            values = columns[name]
            if row < len(values):
                values[row] = joined(MEASURES[name].op, values[row], group[name])
            else:
                values.append(group[name])
        for name in names:
            if row == len(columns[name]):
                columns[name].append(group[name])


def _many(columns: dict[str, list[Any]]) -> int:
    return len(next(iter(columns.values()), ()))


def _total(connection: Connection, query: Query, columns: dict[str, list[Any]]) -> dict[str, list[Any]]:
    """The one group of a question that tells nothing apart; it is there without calls too."""
    total = {name: values[0] for name, values in columns.items() if values}
    distinct = {name for name in query.measures if MEASURES[name].op == "distinct"}
    total |= {name: _distinct(connection, query, name) for name in distinct}
    return {name: [total.get(name, 0 if MEASURES[name].op == "count" else None)] for name in query.measures}


def _counted(
    connection: Connection,
    found: Plan,
    query: Query,
    measures: Sequence[str],
    beside: Sequence[dict[str, Any]],
) -> dict[str, list[Any]]:
    among = None
    if found.keys is None and found.dimension in MANY_KEYS and not found.beginnings:
        among = _foremost(connection, found, query, beside)
    sums = [name for name in measures if MEASURES[name].op in ("count", "sum")]
    extremes = [name for name in measures if name not in sums]
    lanes = _raised(connection, ["calls", *sums])
    rows = [row for row in _read(connection, found, lanes, among=among) if row[2]]
    columns = dict(zip(("period", "group", *lanes), map(list, zip(*rows, strict=True)), strict=bool(rows)))
    doubtful = _doubtful(sums, columns)
    if doubtful:
        columns |= _more(rows, doubtful, _read(connection, found, doubtful, among=among))
    shown: dict[str, list[Any]] = {}
    if found.beginnings:
        shown["period"] = [found.beginnings[number] for number in columns.get("period", ())]
    groups = columns.get("group", [])
    if found.keys is None:
        tokens = tokens_of(connection, found.dimension, set(groups))
        labels = {key: (label_of(token),) for key, token in tokens.items()}
        groups = [labels[key] for key in groups]
    for place, field in enumerate(query.by):
        shown[field] = [group[place] for group in groups]
    for name in sums:
        shown[name] = _column(name, columns, len(rows))
    if extremes:
        shown |= _more(rows, extremes, _read(connection, found, extremes, among=among, signed=False))
    return shown


def _more(rows: Sequence[Any], names: Sequence[str], others: Iterable[Any]) -> dict[str, list[Any]]:
    """Further columns of the same groups, read on their own."""
    by_place = {(period, group): values for period, group, *values in others}
    nothing = [None] * len(names)
    several = [by_place.get((row[0], row[1]), nothing) for row in rows]
    return {name: [values[place] for values in several] for place, name in enumerate(names)}


def _column(name: str, columns: dict[str, list[Any]], many: int) -> list[Any]:
    """A measure of all groups: a sum is unknown where no value of it is known."""
    values = columns.get(name)
    if not values:
        return [None if _is_sum(name) else 0] * many
    known = columns.get(known_of(name)) if _is_sum(name) else None
    if known is None or 0 not in known:
        return values
    return [value if count else None for value, count in zip(values, known, strict=True)]


def _doubtful(sums: Iterable[str], columns: dict[str, list[Any]]) -> list[str]:
    """The counters that tell whether a sum that is zero anywhere is so of known values; others need none."""
    zero = [name for name in sums if _is_sum(name) and 0 in columns.get(name, ())]
    return [count for count in dict.fromkeys(map(known_of, zero)) if count not in columns]


def _raised(connection: Connection, names: Iterable[str]) -> list[str]:
    """Of some measures those that any call has ever raised: most never are."""
    counts = {name: known_of(name) if _is_sum(name) else name for name in names}
    totals = ", ".join(f"sum({column_of(count)})" for count in counts.values())
    found = connection.exec_driver_sql(
        f"SELECT {totals} FROM usage WHERE dimension = {ALL} AND level = {LUNE}"  # noqa: S608  names of ours
    ).one()
    there = [name for name, total in zip(counts, found, strict=True) if total]
    return ["calls", *(name for name in there if name != "calls")]


def _is_sum(name: str) -> bool:
    return MEASURES[name].op == "sum"


def _foremost(
    connection: Connection, found: Plan, query: Query, beside: Sequence[dict[str, Any]]
) -> set[int] | None:
    """The keys that can be among the first: by the cells, and all that have rows beside them."""
    name = (query.order or "").removeprefix("-")
    if query.limit is None or name not in MEASURES or MEASURES[name].op not in ("count", "sum"):
        return None
    lanes = ["calls", name, known_of(name) if _is_sum(name) else "calls"]
    sign = -1 if (query.order or "").startswith("-") else 1
    rows = _read(connection, found, lanes)
    ranks = sorted(
        ((not known, sign * value if known else 0), key) for _, key, calls, value, known in rows if calls
    )
    others = _ids(connection, found.dimension, [group[query.by[0]] for group in beside])
    ranks = [(rank, key) for rank, key in ranks if key not in others]
    last = ranks[min(query.limit, len(ranks)) - 1][0] if ranks else None
    return others | {key for rank, key in ranks if last is not None and rank <= last}


def _ids(connection: Connection, dimension: int, labels: Sequence[str | None]) -> set[int]:
    asked = sa.text("SELECT id FROM usage_key WHERE dimension = :dimension AND token IN :tokens").bindparams(
        sa.bindparam("tokens", expanding=True)
    )
    tokens = [token_of(label) for label in labels]
    found: set[int] = set()
    for begin in range(0, len(tokens), 500):
        chunk = {"dimension": dimension, "tokens": tokens[begin : begin + 500]}
        found.update(connection.execute(asked, chunk).scalars())
    return found


# --- how many different ---------------------------------------------------------------------------


def _distinct(connection: Connection, query: Query, name: str) -> int:
    if name == "sessions":
        return sessions_in(connection, query.filters)
    column, dimension = str(MEASURES[name].column), DISTINCT[name]
    span = span_of(connection)
    found = None if span is None else within(Query(filters=query.filters), dimension, span)
    if found is None:
        (group,) = answer(connection, Query((name,), filters=query.filters))
        return int(group[name])
    table, _ = table_of(dimension)
    pieces = _pieces(found, signed=False)
    keys = {
        key for (key,) in _rows(connection, found, pieces, table, "DISTINCT u.key", "AND u.calls > 0", None)
    }
    parts = [part for part in (found.before, found.after) if part is not None]
    unknown = _ids(connection, dimension, [None])
    if not parts:
        return len(keys - unknown)
    labels = {
        group[column]
        for part in parts
        for group in answer(connection, Query(by=(column,), filters=part))
        if group[column] is not None
    }
    beside = _ids(connection, dimension, list(labels))
    return len((keys | beside) - unknown)


# --- distributions --------------------------------------------------------------------------------


def coarse_spans(
    connection: Connection, filters: Filters, by: str | None
) -> dict[Any, tuple[Counts, Counts]] | None:
    """Distributions by group, within `_sketches.ERROR`; `None` if only rows can tell."""
    found = plan_of_spans(connection, filters, by)
    if found is None or found.keys is None:
        return None
    totals: dict[Any, list[int]] = {}
    blobs_of = "c.bucket, u.key, c.sign, u.durations, u.firsts"
    cells = _rows(connection, found, _pieces(found), "usage_sketch", blobs_of, "", found.keys)
    for _, key, sign, *blobs in cells:
        pair = totals.setdefault(found.keys[key], [0, 0])
        for index, blob in enumerate(blobs):
            pair[index] += sign * _sketches.unpacked(blob)
    groups: dict[Any, tuple[Counts, Counts]] = {}
    for name, (durations, firsts) in totals.items():
        groups[name[0] if name else None] = (_sketches.counts_of(durations), _sketches.counts_of(firsts))
    for part in (found.before, found.after):
        for key, several in (spans(connection, part, by) if part is not None else {}).items():
            there = groups.setdefault(key, ({}, {}))
            for counts, more in zip(there, several, strict=True):
                for value, count in more.items():
                    counts[value] = counts.get(value, 0) + count
    return groups if by is not None or groups else {None: ({}, {})}


# --- statements -----------------------------------------------------------------------------------


def _read(
    connection: Connection,
    found: Plan,
    names: Sequence[str],
    *,
    among: Collection[int] | None = None,
    signed: bool = True,
) -> list[Any]:
    """(number of the period, group or key, *counters); extremes with `signed=False`."""
    table, _ = table_of(found.dimension)
    postgres = connection.dialect.name == "postgresql"
    place = ["c.bucket", "u.key"]
    together = ", ".join([*place, *(_over_cells(name, postgres=postgres) for name in names)])
    apart = ", ".join([*place, *(f"u.{column_of(name)}" for name in names)])
    several, single = _apart(_pieces(found, signed=signed))
    which = among if found.keys is None else found.keys
    rows = _rows(connection, found, several, table, together, "GROUP BY 1, 2", which)
    rows += _rows(connection, found, single, table, apart, "", which)
    return rows if found.keys is None else _by_group(rows, found.keys, names)


def _by_group(rows: Iterable[Any], groups: Mapping[int, Any], names: Sequence[str]) -> list[Any]:
    """The same by group, which may have many keys: a database would look through them for every cell."""
    operations = [MEASURES[name].op if name in MEASURES else "sum" for name in names]
    totals: dict[tuple[int, Any], Sequence[Any]] = {}
    for period, key, *values in rows:
        place = (period, groups[key])
        known = totals.get(place)
        if known is not None:
            totals[place] = list(map(joined, operations, known, values))
        else:
            totals[place] = values
    return [(*place, *values) for place, values in totals.items()]


def _over_cells(name: str, *, postgres: bool) -> str:
    op = MEASURES[name].op if name in MEASURES else "sum"
    if op in ("min", "max"):
        return f"{op}(u.{column_of(name)})"
    total = f"sum(c.sign * u.{column_of(name)})"
    return f"CAST({total} AS BIGINT)" if postgres else total


def _pieces(found: Plan, *, signed: bool = True) -> list[tuple[int, Piece]]:
    """(number of the period, piece of it) of all that is made of whole cells."""
    return [
        (bucket, piece)
        for bucket, start, end in buckets(found)
        for piece in cover(start, end, found.finest, signed=signed)
    ]


def _apart(
    pieces: Sequence[tuple[int, Piece]],
) -> tuple[list[tuple[int, Piece]], list[tuple[int, Piece]]]:
    """Pieces that have to be added up, and those that are all of their period, and one cell a key.

    Most series consist of the latter; sorting them to add them up costs more than reading them.
    """
    many = Counter(bucket for bucket, _ in pieces)
    together: list[tuple[int, Piece]] = []
    single: list[tuple[int, Piece]] = []
    for bucket, piece in pieces:
        alone = many[bucket] == 1 and piece.sign == 1 and piece.high - piece.low == 1
        (single if alone else together).append((bucket, piece))
    return together, single


def _rows(
    connection: Connection,
    found: Plan,
    pieces: Sequence[tuple[int, Piece]],
    table: str,
    shown: str,
    further: str,
    which: Collection[int] | None,
) -> list[Any]:
    """What is shown of some cells of a plan: those of some keys, or of all."""
    if which is not None and not which:
        return []
    where = ["u.level = c.level", "u.period >= c.low", "u.period < c.high"]
    if table != "usage_sketch":
        where.append(f"u.dimension = {found.dimension}")
    if which is not None:
        where.append(f"u.key IN ({', '.join(map(str, sorted(which)))})")
    rows: list[Any] = []
    for chunk in _chunks(pieces):
        values = _values((bucket, *piece) for bucket, piece in chunk)
        with connection.exec_driver_sql(
            # As text: hundreds of parameters cost more than the question. All of it are integers of ours.
            f"WITH cover(bucket, sign, level, low, high) AS (VALUES {values}) "  # noqa: S608
            f"SELECT {shown} FROM cover AS c CROSS JOIN {table} AS u "
            f"WHERE {' AND '.join(where)} {further}"
        ) as result:
            rows += result.cursor.fetchall()  # plain tuples, thousands of them
    return rows


def _chunks(pieces: Sequence[tuple[int, Piece]]) -> Iterator[Sequence[tuple[int, Piece]]]:
    """Pieces for one statement each; those of one period stay together, for they are added up."""
    begin = 0
    while begin < len(pieces):
        end = begin + MOST_PIECES
        while end < len(pieces) and pieces[end][0] == pieces[end - 1][0]:
            end += 1
        yield pieces[begin:end]
        begin = end


def _values(rows: Iterable[Sequence[int]]) -> str:
    return ", ".join(f"({', '.join(map(str, row))})" for row in rows)
