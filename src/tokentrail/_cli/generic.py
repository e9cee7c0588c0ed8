"""Any answer for people: its figures line by line, its lists as tables."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any, Final
from zoneinfo import ZoneInfo

from pydantic import BaseModel

from tokentrail._cli.show import COUNT, DOLLARS, MILLISECONDS, NUMBER, SHARE, TEXT, TIME, Show, written

_CALL: Final = (
    "started_at", "model", "provider", "call_type", "user_id", "input_tokens", "output_tokens", "cost_usd",
    "duration_ms", "status", "error_type", "request_bytes", "response_bytes", "id",
)  # fmt: skip
"""What of a call is in a table."""
_FEW: Final = 6
"""Fields of an answer inside an answer that are lines among the others; more are a table."""
_NAMES: Final = ("key", "name", "model", "provider", "user", "tag", "session", "request", "bucket")
"""Beginnings of the columns that come first."""


def show_answer(show: Show, answer: BaseModel, tz: str) -> None:
    """Figures first, then each list under its name."""
    zone = ZoneInfo(tz)
    figures = list(_figures(answer))
    width = max((len(name) for name, _ in figures), default=0) + 3
    for name, value in figures:
        show.line(f"{name:<{width}}{_one(name, value, zone)}")
    if not figures and not any(value for _, value in answer):
        show.line("There is nothing of it.")
    for name in type(answer).model_fields:
        value = getattr(answer, name)
        if isinstance(value, Mapping) and value:
            show.heading(_spoken(name))
            _outline(show, value, zone, 0)
        elif items := _items(value):
            show.heading(_spoken(name))
            _table(show, items, zone)


def _items(value: Any) -> Sequence[BaseModel]:
    """What is a table of its own: a list of answers, or one with many fields."""
    if isinstance(value, BaseModel):
        return [value] if len(type(value).model_fields) > _FEW else []
    return value if isinstance(value, list) and value and isinstance(value[0], BaseModel) else []


def _figures(answer: BaseModel, prefix: str = "") -> Iterable[tuple[str, Any]]:
    """Plain values by name, those of a small answer inside with its name before."""
    is_call = "finish_reason" in type(answer).model_fields
    for field in _CALL if is_call else type(answer).model_fields:
        name, value = f"{prefix}{_spoken(field)}", getattr(answer, field)
        if value is None or isinstance(value, Mapping) or _items(value):
            continue
        if isinstance(value, BaseModel):
            yield from _figures(value, f"{name} ")
        elif isinstance(value, (list, tuple)):
            if value:
                yield name, ", ".join(map(str, value))
        else:
            yield name, value


def _table(show: Show, items: Sequence[BaseModel], zone: ZoneInfo) -> None:
    """Columns of nothing but zeros say nothing here, and there may be no room for some: `--json` has all."""
    rows = [dict(_figures(item)) for item in items]
    names = dict.fromkeys(name for row in rows for name in row)
    telling = [name for name in names if any(row.get(name) not in (None, 0) for row in rows)]
    telling.sort(key=lambda name: not name.startswith(_NAMES))
    columns = [(name, _kind(name, [row.get(name) for row in rows])) for name in telling]
    cells = [[_cell(kind, row.get(name), zone) for name, kind in columns] for row in rows]
    shown = show.fitting(columns, cells)
    show.table(shown, [row[: len(shown)] for row in cells])
    if len(shown) < len(columns):
        show.line(f"and {len(columns) - len(shown)} more columns: in a wider terminal, or with --json")


def _outline(show: Show, groups: Mapping[str, Any], zone: ZoneInfo, depth: int) -> None:
    """What lies under names, each level indented."""
    for key, value in groups.items():
        if not isinstance(value, BaseModel):
            show.line(f"{'  ' * depth}{key}  {_one(key, value, zone)}")
            continue
        told = ", ".join(f"{what} {_one(what, one, zone)}" for what, one in _leaves(value) if one)
        show.line(f"{'  ' * depth}{key}  {told}")
        for inner in type(value).model_fields:
            if isinstance(getattr(value, inner), Mapping):
                _outline(show, getattr(value, inner), zone, depth + 1)


def _leaves(answer: BaseModel, prefix: str = "") -> Iterable[tuple[str, Any]]:
    """Every plain value, however deep."""
    for field in type(answer).model_fields:
        value = getattr(answer, field)
        if isinstance(value, BaseModel):
            yield from _leaves(value, f"{prefix}{_spoken(field)} ")
        elif not isinstance(value, (Mapping, list)):
            yield f"{prefix}{_spoken(field)}", value


def _kind(name: str, values: Iterable[Any]) -> str:
    known = [value for value in values if value is not None]
    if all(isinstance(value, datetime) for value in known):
        return TIME
    if not all(isinstance(value, (int, float)) and not isinstance(value, bool) for value in known):
        return TEXT
    if "coverage" in name or name.endswith("share"):
        return SHARE
    if "cost" in name or "usd" in name:
        return DOLLARS
    if name.endswith(" ms"):
        return MILLISECONDS
    return COUNT if all(isinstance(value, int) for value in known) else NUMBER


def _cell(kind: str, value: Any, zone: ZoneInfo) -> Any:
    if isinstance(value, datetime):
        return value.astimezone(zone)
    if isinstance(value, bool):
        return "yes" if value else "no"
    return str(value) if kind == TEXT and value is not None else value


def _one(name: str, value: Any, zone: ZoneInfo) -> str:
    kind = _kind(name, [value])
    return written(kind, _cell(kind, value, zone))


def _spoken(name: str) -> str:
    return name.replace("_", " ")
