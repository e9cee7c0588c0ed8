"""Fields as callers write them → columns as they are stored: checked, cleaned, in exact units."""

from __future__ import annotations

import math
import traceback
from collections import deque
from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any, Final, TypeAlias

from tokentrail._health import Health
from tokentrail._neighbours import FIELDS_OF
from tokentrail._records import (
    BOOLEAN,
    COLUMN_OF,
    DURATION,
    FIELDS,
    INTEGER,
    LIST,
    LONG_TEXT,
    MAPPING,
    MONEY,
    SCALES,
    TEXT,
    TIME,
    Record,
    to_us,
)
from tokentrail._redact import Clean, clean_json, clean_name, clean_text, safe_str

_LARGEST: Final = 2**63 - 1
_FRAMES: Final = 20


def _text(value: Any) -> str:
    return clean_name(value if isinstance(value, str) else safe_str(value))


def _integer(value: Any) -> int:
    if isinstance(value, bool) or not -_LARGEST <= int(value) <= _LARGEST:
        raise ValueError(value)
    return int(value)


def _boolean(value: Any) -> bool:
    if not isinstance(value, (bool, int)):
        raise TypeError(value)
    return bool(value)


def _time(value: Any) -> int:
    if isinstance(value, datetime):
        return to_us(value)
    if isinstance(value, str):
        return to_us(datetime.fromisoformat(value))
    return _scaled(TIME)(value)


def _scaled(kind: int) -> Callable[[Any], int]:
    scale = SCALES[kind]

    def convert(value: Any) -> int:
        number = float(value)
        if isinstance(value, bool) or not math.isfinite(number):
            raise ValueError(value)
        return round(number * scale)

    return convert


def _list(value: Any) -> list[str]:
    items = [value] if isinstance(value, str) else list(value)
    return list(dict.fromkeys(_text(item) for item in items[:256]))


def _mapping(value: Any) -> dict[str, Any]:
    if type(value) is Clean:
        return value
    if not isinstance(value, Mapping):
        raise TypeError(value)
    cleaned: dict[str, Any] = clean_json(value)
    return cleaned


_CONVERTERS: Final[Mapping[int, Callable[[Any], Any]]] = {
    TEXT: _text, LONG_TEXT: clean_text, INTEGER: _integer, BOOLEAN: _boolean, TIME: _time,
    DURATION: _scaled(DURATION), MONEY: _scaled(MONEY), LIST: _list, MAPPING: _mapping,
}  # fmt: skip

_NOT_GIVEN: Final = frozenset(("finality", "stamps"))
_PLAIN: Final[Mapping[int, type]] = {TEXT: str, BOOLEAN: bool}
"""Kinds whose values are mostly stored as they come, and as what."""
Columns: TypeAlias = Mapping[str, tuple[str, type | None, Callable[[Any], Any]]]
"""Field → its column, the type of a value that needs no conversion, and the conversion of all others."""


def _columns(fields: Mapping[str, int]) -> Columns:
    return {
        name: (COLUMN_OF.get(name, name), _PLAIN.get(kind), _CONVERTERS[kind])
        for name, kind in fields.items()
        if name not in _NOT_GIVEN
    }


_COLUMNS: Final = _columns(FIELDS)
NEIGHBOURS: Final[Mapping[str, Columns]] = {kind: _columns(fields) for kind, fields in FIELDS_OF.items()}
"""How the fields of each kind of neighbour become columns."""


def to_columns(fields: Mapping[str, Any], into: Record, health: Health, columns: Columns = _COLUMNS) -> None:
    """Write the fields that have a value into a record, of a call or by the columns that are given.

    A value of the wrong kind costs only itself and is counted; a field that no column has is kept under
    `attributes`, so that nothing a caller says is dropped.
    """
    strangers: dict[str, Any] | None = None
    for name, value in fields.items():
        if value is None:
            continue
        known = columns.get(name)
        if known is None:
            strangers = strangers or {}
            strangers[name] = value
            continue
        column, plain, convert = known
        # The common cases in one look; "printable" leaves out NUL and lone surrogates.
        given = type(value)
        if given is plain and (given is bool or (len(value) < 256 and value.isprintable())):
            into[column] = value
            continue
        try:
            into[column] = convert(value)
        except (TypeError, ValueError, OverflowError):
            health.note(f"invalid_field:{name}")
    if strangers is not None:
        health.note("unknown_fields", len(strangers))
        into["attributes"] = {**into.get("attributes", {}), **clean_json(strangers)}


# --- errors ---

_TIMEOUT_NAMES: Final = ("Timeout", "TimeoutError", "TimeoutException", "DeadlineExceeded")


def is_timeout(error: BaseException | str) -> bool:
    """Whether an exception says that time ran out, in whichever library's words."""
    if isinstance(error, str):
        return False
    return isinstance(error, TimeoutError) or any(
        kind.__name__.endswith(_TIMEOUT_NAMES) for kind in type(error).__mro__
    )


def describe_error(error: object) -> dict[str, Any]:
    """Type, message and stack of an error, cut and cleaned of secrets.

    A mapping is the error object of a provider's answer: `{"type": …, "message": …}`.
    """
    if isinstance(error, str):
        return {"error_type": "Error", "error_message": clean_text(error)}
    if isinstance(error, Mapping):
        kind = error.get("type") or error.get("code") or "Error"
        return {"error_type": clean_text(kind), "error_message": clean_text(error.get("message") or error)}
    described = {"error_type": type(error).__name__, "error_message": clean_text(error)}
    stack = stack_of(error)
    if stack:
        described["stack_trace"] = stack
    return described


def stack_of(error: object) -> str:
    """Where an error came from: its innermost frames, one a line, the last one last.

    Neither source lines, which would be read from disk in the caller's thread, nor messages of the errors
    behind it, which may quote a prompt.
    """
    frames = deque(traceback.walk_tb(getattr(error, "__traceback__", None)), maxlen=_FRAMES)
    return "\n".join(
        f'File "{frame.f_code.co_filename}", line {line}, in {frame.f_code.co_qualname}'
        for frame, line in frames
    )
