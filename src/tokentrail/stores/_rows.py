"""Records as rows: one INSERT for each combination of columns in use, made once and kept.

Binding a NULL costs as much as binding a value, and most of a call's columns are empty; naming only those in
use halves the cost of a row.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import datetime
from functools import lru_cache
from itertools import repeat
from operator import add, itemgetter
from typing import Any, Final, TypeAlias

from tokentrail._records import BOOLEAN, COLUMN_OF, FIELDS, LIST, MAPPING, PAYLOADS, TIME, Record, from_us
from tokentrail.models._columns import TIMES_US

_KINDS: Final = {COLUMN_OF.get(name, name): kind for name, kind in FIELDS.items()}
_KEPT_SHAPES: Final = 2_000

_encode_json = json.JSONEncoder(ensure_ascii=False, separators=(",", ":")).encode

Encoder = Callable[[list[Any]], Iterable[Any]]
"""The values of one column, of all the records of a batch that have one shape, as the database takes them."""


@lru_cache(maxsize=4096)
def _text_of(values: tuple[str, ...]) -> str:
    return _encode_json(values)


def _lists(column: list[Any]) -> Iterable[str]:
    """The same few tags and doors come again and again, and encoding them is the dearest part of a row."""
    try:
        return list(map(_text_of, map(tuple, column)))
    except TypeError:  # something in one that is no text
        return map(_encode_json, column)


def _mappings(column: list[Any]) -> Iterable[str]:
    """Calls of one model have their settings in common, as one object or spelt alike: encoded once."""
    texts: dict[int, str] = {}
    alike: dict[str, str] = {}
    for key, value in dict(zip(map(id, column), column, strict=True)).items():
        spelt = repr(value)
        if spelt not in alike:
            alike[spelt] = _encode_json(value)
        texts[key] = alike[spelt]
    return map(texts.__getitem__, map(id, column))


def _booleans(column: list[Any]) -> Iterable[int]:
    return map(int, column)


def _moments(column: list[Any]) -> Iterable[int]:
    if set(map(type, column)) != {int} or min(column) not in TIMES_US or max(column) not in TIMES_US:
        raise OverflowError("a moment that no datetime can show")
    return column


def _timestamps(column: list[Any]) -> Iterable[datetime]:
    return map(from_us, _moments(column))


_ENCODERS: Final[Mapping[str, Mapping[int, Encoder]]] = {
    "sqlite": {LIST: _lists, MAPPING: _mappings, BOOLEAN: _booleans, TIME: _moments},
    "postgresql": {LIST: _lists, MAPPING: _mappings, TIME: _timestamps},
}


class Shape:
    """The columns of a record, and how the values of many become rows; each alone would be dear."""

    __slots__ = ("_encoded", "_plain", "columns")

    def __init__(self, keys: tuple[str, ...], encoders: Mapping[int, Encoder]) -> None:
        known = [key for key in keys if key in _KINDS]
        plain = [key for key in known if _KINDS[key] not in encoders]
        self._plain = _picker(plain)
        self._encoded = [(itemgetter(key), encoders[_KINDS[key]]) for key in known if _KINDS[key] in encoders]
        self.columns = (*plain, *(key for key in known if key not in plain))

    def rows(self, records: Sequence[Record]) -> list[tuple[Any, ...]]:
        """The values of records that have this shape, in the order of `columns`."""
        encoded = [encode(list(map(pick, records))) for pick, encode in self._encoded]
        return list(
            map(add, map(self._plain, records), zip(*encoded, strict=True) if encoded else repeat(()))
        )

    def insert(self) -> str:
        """The INSERT that names these columns and no others (SQLite)."""
        return (
            f"INSERT INTO llm_call ({', '.join(self.columns)}) "  # noqa: S608  names from our own table
            f"VALUES ({', '.join('?' * len(self.columns))})"
        )

    def copy(self) -> str:
        """The COPY for these columns (PostgreSQL)."""
        return f"COPY llm_call ({', '.join(self.columns)}) FROM STDIN"


def _picker(names: Sequence[str]) -> Callable[[Record], tuple[Any, ...]]:
    if len(names) > 1:
        return itemgetter(*names)
    return lambda record: tuple(record[name] for name in names)


Groups: TypeAlias = list[tuple[tuple[str, ...], list[Record]]]
"""Columns, and the records that have a value in just these."""


def by_columns(records: Iterable[Record]) -> Groups:
    """Records in groups; the order of groups is the order of their first record."""
    groups: dict[tuple[str, ...], list[Record]] = {}
    before: tuple[str, ...] | None = None
    for each in records:
        record = (
            {key: value for key, value in each.items() if value is not None}
            if None in each.values()
            else each
        )
        keys = tuple(record)
        if keys != before:  # as a rule they are the same objects: cheaper than a look-up
            members, before = groups.setdefault(keys, []), keys
        members.append(record)
    return list(groups.items())


class Shapes:
    """Keeps the shapes that there were."""

    def __init__(self, dialect: str) -> None:
        self._encoders = _ENCODERS[dialect]
        self._known: dict[tuple[str, ...], Shape] = {}

    def of(self, groups: Groups) -> list[tuple[Shape, list[Record]]]:
        """The shape of each group."""
        return [(self._shape(keys), members) for keys, members in groups]

    def _shape(self, keys: tuple[str, ...]) -> Shape:
        shape = self._known.get(keys)
        if shape is None:
            if len(self._known) >= _KEPT_SHAPES:
                self._known.clear()
            shape = self._known[keys] = Shape(keys, self._encoders)
        return shape


def payload_rows(groups: Groups) -> list[tuple[str, str | None, str | None]]:
    """Rows of `llm_payload`, of the records that carry one."""
    request, response = PAYLOADS
    return [
        (record["id"], record.get(request), record.get(response))
        for columns, members in groups
        if request in columns or response in columns
        for record in members
    ]


def washed(record: Record) -> Record:
    """A record that every database takes: no lone surrogates, no NUL, no columns without a value."""
    return {key: _wash(value) for key, value in record.items() if value is not None}


def _wash(value: Any) -> Any:
    if isinstance(value, str):
        return value.encode("utf-8", "replace").decode("utf-8").replace("\0", "\N{REPLACEMENT CHARACTER}")
    if isinstance(value, list):
        return [_wash(item) for item in value]
    if isinstance(value, dict):
        return {_wash(key): _wash(item) for key, item in value.items()}
    return value
