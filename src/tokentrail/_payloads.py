"""Strangers' objects: their fields, and the usage inside whatever a library hands over."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import islice
from typing import Any, Final

from tokentrail._shapes import (
    COUNTERS,
    DETAILS,
    LISTS,
    PART_KEYS,
    UNITS,
    USAGE_WRAPPERS,
    WHOLE_KEYS,
    WRAPPERS,
    snake,
)
from tokentrail._usage import COUNTS, Usage

WIDTH: Final = 256
"""How many fields of an object, or entries of a list, are looked at."""
_DEPTH: Final = 8
_LEAVES: Final = (str, bytes, bytearray, memoryview, int, float, complex, list, tuple, set, frozenset, type)
_PLAIN_TYPES: Final = (*_LEAVES, dict, Usage)
_KNOWN: Final = frozenset({*WHOLE_KEYS, *PART_KEYS, *DETAILS, *COUNTERS, *UNITS, *WRAPPERS, "generations"})


# --- the fields of an object ---------------------------------------------------------------------


def means_nothing(value: object) -> bool:
    """Whether an object has every attribute one asks for, as a mock has: what it answers means nothing."""
    return not isinstance(value, _PLAIN_TYPES) and hasattr(value, "a_name_that_nobody_has_but_a_mock")


def fields_of(payload: object) -> Mapping[Any, Any] | None:
    """A mapping's or an object's fields; `None` for what has none (text, numbers, lists)."""
    if isinstance(payload, dict):
        return payload
    if isinstance(payload, Usage):
        return _fields_of_usage(payload)
    if isinstance(payload, Mapping):
        return dict(islice(payload.items(), WIDTH))
    named = getattr(payload, "_asdict", None) if isinstance(payload, tuple) else None
    if payload is None or (isinstance(payload, _LEAVES) and named is None):
        return None
    fields = _own_fields(payload)
    if fields is not None and _is_telling(payload, fields):
        return fields
    if means_nothing(payload):
        return _constants(payload)
    return _dumped(payload) or _probed(payload) or fields


def _fields_of_usage(usage: Usage) -> dict[str, Any]:
    """Our own answer as a payload, in words that mean the same: every part inside its whole."""
    counts = {field: getattr(usage, field) for field in COUNTS}
    names = {"input_tokens": "prompt_tokens", "output_tokens": "completion_tokens"}
    return {**usage.details, **{names.get(field, field): number for field, number in counts.items()}}


def _is_telling(payload: object, fields: Mapping[Any, Any]) -> bool:
    """Whether an object's own fields are what it has to say (a pydantic model's always are)."""
    return hasattr(type(payload), "__pydantic_fields__") or any(
        isinstance(key, str) and snake(key) in _KNOWN for key in fields
    )


def _own_fields(payload: object) -> Mapping[Any, Any] | None:
    own = getattr(payload, "__dict__", None)
    if not isinstance(own, dict):
        return None
    extra = getattr(payload, "__pydantic_extra__", None)  # what a provider sent beyond the model's fields
    return {**own, **extra} if isinstance(extra, dict) and extra else own


def _dumped(payload: object) -> Mapping[Any, Any] | None:
    for name in ("model_dump", "to_dict", "_asdict", "dict"):
        dump = getattr(payload, name, None)
        if callable(dump):
            try:
                fields = dump()
            except Exception:  # noqa: BLE001, S112  a stranger's method; there are other ways to its fields
                continue
            if isinstance(fields, Mapping):
                return fields
    return None


def _probed(payload: object) -> dict[str, Any] | None:
    """The fields of an object that only answers to names: slots, properties, protocol buffers."""
    found = {}
    for name in _KNOWN:
        try:
            value = getattr(payload, name, None)
        except Exception:  # noqa: BLE001, S112  a stranger's property; it costs only itself
            continue
        if value is not None and not callable(value):
            found[name] = value
    return found or None


def _constants(payload: object) -> dict[str, Any]:
    """What was really set on a mock: plain values, and children that were configured."""
    own = {key: value for key, value in vars(payload).items() if not key.startswith("_")}
    children = vars(payload).get("_mock_children")
    return {**own, **children} if isinstance(children, dict) else own


# --- the usage inside a payload ------------------------------------------------------------------


class Found:
    """Where the usage is: its fields, and the shape that its place tells (or the caller)."""

    __slots__ = ("fields", "readable", "shape", "witness", "wrapped")

    def __init__(
        self, fields: Mapping[Any, Any], shape: str | None, *, readable: bool = True, wrapped: bool = False
    ) -> None:
        self.fields = fields
        self.shape = shape
        self.readable = readable
        self.wrapped = wrapped
        self.witness: Found | None = None


_UNREADABLE: Final = Found({}, None, readable=False)


def find(payload: object, shape: str | None = None, depth: int = _DEPTH) -> Found:
    """The usage inside a payload, which may be the usage itself or hold it at any known place.

    What holds counts itself is the usage. A wrapper whose usage cannot be read is passed over while any
    other place has one.
    """
    fields = fields_of(payload)
    if fields is None or depth <= 0:
        return _UNREADABLE
    if _holds_counts(fields):
        return Found(fields, shape)
    found = _find_in_generations(fields.get("generations"), shape, depth)
    if found.readable:
        return found
    unreadable = False
    for name in WRAPPERS:
        inner = fields.get(name)
        if inner is None:
            continue
        found = _find_in(name, inner, shape, depth)
        if found.readable and found.wrapped:
            if name == "usage_metadata" and "input_token_details" not in found.fields:
                found.witness = _raw_beside(fields, shape, depth)
            return found
        unreadable = unreadable or (name in USAGE_WRAPPERS and not found.readable)
    return _UNREADABLE if unreadable else Found(fields, shape)


def _find_in(name: str, inner: object, shape: str | None, depth: int) -> Found:
    if name in LISTS and isinstance(inner, (list, tuple)) and inner:
        inner = inner[0]
    hint = "langchain" if name == "usage_metadata" else "cohere" if name == "token_count" else shape
    found = find(inner, hint, depth - 1)
    if found.readable and _holds_counts(found.fields):
        found.wrapped = True
    return found


def _raw_beside(fields: Mapping[Any, Any], shape: str | None, depth: int) -> Found | None:
    """The raw usage beside a `usage_metadata` without details: some of LangChain's integrations drop them."""
    found = _find_in("response_metadata", fields.get("response_metadata"), shape, depth)
    return found if found.wrapped else None


def _find_in_generations(generations: object, shape: str | None, depth: int) -> Found:
    """The first usage among an LLMResult's generations: with n > 1 each of them carries the whole."""
    if not isinstance(generations, (list, tuple)):
        return _UNREADABLE
    for prompt in islice(generations, WIDTH):
        for generation in islice(prompt, WIDTH) if isinstance(prompt, (list, tuple)) else (prompt,):
            found = find(generation, shape, depth - 1)
            if found.readable and _holds_counts(found.fields):
                return found
    return _UNREADABLE


def _holds_counts(fields: Mapping[Any, Any]) -> bool:
    for key in islice(fields, WIDTH):
        if isinstance(key, str):
            name = snake(key)
            if name in WHOLE_KEYS and fields[key] is not None:
                return True
            if name in UNITS and fields_of(fields[key]) is not None:
                return True
    return False
