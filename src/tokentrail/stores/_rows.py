"""Records as rows: one INSERT for each combination of columns in use, made once and kept.

Binding a NULL costs as much as binding a value, and most of a call's columns are empty; naming only those in
use halves the cost of a row.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping
from datetime import datetime
from functools import lru_cache
from typing import Any, Final

from tokentrail._records import BOOLEAN, COLUMN_OF, FIELDS, LIST, MAPPING, PAYLOADS, TIME, Record, from_us
from tokentrail.models._columns import TIMES_US

_KINDS: Final = {COLUMN_OF.get(name, name): kind for name, kind in FIELDS.items()}
_KEPT_SHAPES: Final = 2_000

_encode_json = json.JSONEncoder(ensure_ascii=False, separators=(",", ":")).encode

Encoder = Callable[[Any], Any]


@lru_cache(maxsize=4096)
def _texts(values: tuple[str, ...]) -> str:
    return _encode_json(values)


def _encode_list(values: list[str]) -> str:
    """The same few tags and doors come again and again, and encoding them is the dearest part of a row."""
    try:
        return _texts(tuple(values))
    except TypeError:  # something in it that is no text
        return _encode_json(values)


def _moment(value: int) -> int:
    if value not in TIMES_US:
        raise OverflowError(f"no datetime can show {value} microseconds")
    return value


def _timestamp(value: int) -> datetime:
    return from_us(_moment(value))


def _maybe(encode: Encoder) -> Encoder:
    return lambda value: None if value is None else encode(value)


_ENCODERS: Final[Mapping[str, Mapping[int, Encoder]]] = {
    "sqlite": {LIST: _encode_list, MAPPING: _encode_json, BOOLEAN: int, TIME: _moment},
    "postgresql": {LIST: _encode_list, MAPPING: _encode_json, TIME: _timestamp},
}


class Shape:
    """The columns of a record, and how its values become a row's."""

    __slots__ = ("_drop", "_encode", "columns")

    def __init__(self, keys: tuple[str, ...], encoders: Mapping[int, Encoder]) -> None:
        known = [key for key in keys if key in _KINDS]
        self.columns = tuple(known)
        self._drop = [index for index, key in enumerate(keys) if key not in _KINDS][::-1]
        self._encode = [
            (index, _maybe(encoders[_KINDS[key]]))
            for index, key in enumerate(known)
            if _KINDS[key] in encoders
        ]

    def row(self, record: Record) -> tuple[Any, ...]:
        """The values of one record, in the order of `columns`."""
        values = list(record.values())
        for index in self._drop:
            del values[index]
        for index, encode in self._encode:
            values[index] = encode(values[index])
        return tuple(values)

    def insert(self) -> str:
        """The INSERT that names these columns and no others (SQLite)."""
        return (
            f"INSERT INTO llm_call ({', '.join(self.columns)}) "  # noqa: S608  names from our own table
            f"VALUES ({', '.join('?' * len(self.columns))})"
        )

    def copy(self) -> str:
        """The COPY for these columns (PostgreSQL)."""
        return f"COPY llm_call ({', '.join(self.columns)}) FROM STDIN"


class Shapes:
    """Groups records by shape."""

    def __init__(self, dialect: str) -> None:
        self._encoders = _ENCODERS[dialect]
        self._known: dict[tuple[str, ...], Shape] = {}

    def group(self, records: Iterable[Record]) -> list[tuple[Shape, list[Record]]]:
        """Records by shape; the order of shapes is the order of their first record."""
        groups: dict[tuple[str, ...], list[Record]] = {}
        for record in records:
            groups.setdefault(tuple(record), []).append(record)
        return [(self._shape(keys), members) for keys, members in groups.items()]

    def _shape(self, keys: tuple[str, ...]) -> Shape:
        shape = self._known.get(keys)
        if shape is None:
            if len(self._known) >= _KEPT_SHAPES:
                self._known.clear()
            shape = self._known[keys] = Shape(keys, self._encoders)
        return shape


def payload_rows(records: Iterable[Record]) -> list[tuple[str, str | None, str | None]]:
    """Rows of `llm_payload`, of the records that carry one."""
    request, response = PAYLOADS
    return [
        (record["id"], record.get(request), record.get(response))
        for record in records
        if request in record or response in record
    ]


def washed(record: Record) -> Record:
    """A record whose texts every database takes: no lone surrogates, no NUL."""
    return {key: _wash(value) for key, value in record.items()}


def _wash(value: Any) -> Any:
    if isinstance(value, str):
        return value.encode("utf-8", "replace").decode("utf-8").replace("\0", "\N{REPLACEMENT CHARACTER}")
    if isinstance(value, list):
        return [_wash(item) for item in value]
    if isinstance(value, dict):
        return {_wash(key): _wash(item) for key, item in value.items()}
    return value
