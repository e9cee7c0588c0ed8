"""Builds what libraries really hand over from the plain data of `cases/`."""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pydantic

CASES = Path(__file__).parent / "cases"


def cases(name: str) -> list[dict[str, Any]]:
    """The entries of one file of cases."""
    entries: list[dict[str, Any]] = json.loads((CASES / f"{name}.json").read_text(encoding="utf-8"))
    return entries


class Dumped:
    """An object whose fields can only be had by dumping it."""

    def __init__(self, fields: dict[str, Any]) -> None:
        self._fields = fields

    def model_dump(self) -> dict[str, Any]:
        return self._fields


class IntLike:
    """What numpy's integers are: no `int`, but an index."""

    def __init__(self, number: int) -> None:
        self._number = number

    def __index__(self) -> int:
        return self._number


def as_object(value: Any) -> Any:
    """Mappings as objects with attributes, all the way down."""
    if isinstance(value, dict):
        return SimpleNamespace(**{key: as_object(item) for key, item in value.items()})
    return [as_object(item) for item in value] if isinstance(value, list) else value


def as_pydantic(value: Any, name: str = "Usage") -> Any:
    """Mappings as pydantic models, all the way down."""
    if not isinstance(value, dict):
        return value
    fields = {key: as_pydantic(item, key) for key, item in value.items()}
    return _model(name, tuple(fields)).model_construct(**fields)


@cache
def _model(name: str, keys: tuple[str, ...]) -> Any:
    return pydantic.create_model(name, **dict.fromkeys(keys, (Any, None)))


def build(value: Any) -> Any:
    """The payload that a case writes with the marks `$pydantic`, `$object` and `$int_like`."""
    if isinstance(value, list):
        return [build(item) for item in value]
    if not isinstance(value, dict):
        return value
    if "$pydantic" in value:
        return as_pydantic(build(value["fields"]), value["$pydantic"])
    if "$object" in value:
        return as_object(build(value["fields"]))
    if "$int_like" in value:
        return IntLike(value["$int_like"])
    return {key: build(item) for key, item in value.items()}
