"""Strangers' objects: finds the usage inside whatever a library hands over and reads its counts."""

from __future__ import annotations

import math
import operator
from collections.abc import Iterator, Mapping
from itertools import islice
from typing import Any, Final

from tokentrail._shapes import (
    AUDIO,
    BILLED_INPUT,
    BILLED_OUTPUT,
    DETAILS,
    INPUT,
    OUTPUT,
    PART_KEYS,
    SHAPES,
    TIERS,
    TOTAL,
    USAGE_WRAPPERS,
    WHOLE_KEYS,
    WRAPPERS,
    Shape,
    detail_name,
    detect,
    snake,
)

LARGEST: Final = 2**63 - 1
"""The largest count a database column holds; more is no count."""
_DEPTH: Final = 8
_WIDTH: Final = 256
_LEAVES: Final = (str, bytes, bytearray, memoryview, int, float, complex, list, tuple, set, frozenset, type)
_CONTAINERS: Final = frozenset({*DETAILS, "cache_creation", "server_tool_use", "tokens", "billed_units"})
_KNOWN: Final = frozenset({*WHOLE_KEYS, *PART_KEYS, *_CONTAINERS, *WRAPPERS, "generations"})


# --- one count -----------------------------------------------------------------------------------


def count_of(value: object) -> int:
    """The count that a stranger's value means: an integer, perhaps negative.

    Digits in strings, floats (cut), anything with `__index__` or `__float__` (numpy, Decimal) are counts, and
    a list is a running counter collected over chunks: its largest entry.

    Raises:
        ValueError: it is no count: a boolean, NaN, infinity, a mapping, more than `LARGEST` …
    """
    if isinstance(value, bool) or value is None:
        raise ValueError(value)
    if isinstance(value, int):
        number = int.__index__(value)
    elif isinstance(value, str):
        number = _count_of_text(value)
    elif isinstance(value, (list, tuple)):
        number = max(_counts_in(value))
    elif hasattr(value, "__index__"):
        number = operator.index(value)
    elif hasattr(value, "__float__"):
        number = _count_of_float(float(value))
    else:
        raise ValueError(type(value))
    if not -LARGEST <= number <= LARGEST:
        raise ValueError("more than a column holds")
    return number


def _count_of_text(text: str) -> int:
    text = text[:64].strip()
    return int(text) if text.isdecimal() else _count_of_float(float(text))


def _count_of_float(number: float) -> int:
    if not math.isfinite(number):
        raise ValueError(number)
    # -0.5 is cut to 0 but is no reported zero.
    return math.trunc(number) if number >= 0 or number <= -1 else -1


def _counts_in(values: list[Any] | tuple[Any, ...]) -> Iterator[int]:
    for value in islice(values, _WIDTH):
        if isinstance(value, (list, tuple)):
            continue
        try:
            yield count_of(value)
        except (ValueError, TypeError, OverflowError):
            continue


def _means_nothing(value: object) -> bool:
    """Whether an object has every attribute one asks for, as a mock has: what it answers means nothing."""
    return not isinstance(value, _LEAVES) and hasattr(value, "a_name_that_nobody_has_but_a_mock")


# --- the fields of an object ---------------------------------------------------------------------


def fields_of(payload: object) -> Mapping[Any, Any] | None:
    """A mapping's or an object's fields; `None` for what has none (text, numbers, lists)."""
    if isinstance(payload, dict):
        return payload
    if isinstance(payload, Mapping):
        return dict(payload)
    named = getattr(payload, "_asdict", None) if isinstance(payload, tuple) else None
    if payload is None or (isinstance(payload, _LEAVES) and named is None):
        return None
    fields = _own_fields(payload)
    if fields is not None and _is_telling(payload, fields):
        return fields
    if _means_nothing(payload):
        return _constants(payload)
    return _dumped(payload) or _probed(payload) or fields


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

    __slots__ = ("fields", "readable", "shape", "wrapped")

    def __init__(
        self, fields: Mapping[Any, Any], shape: str | None, *, readable: bool = True, wrapped: bool = False
    ) -> None:
        self.fields = fields
        self.shape = shape
        self.readable = readable
        self.wrapped = wrapped


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
    unreadable = False
    for name in WRAPPERS:
        inner = fields.get(name)
        if inner is None:
            continue
        found = _find_in(name, inner, shape, depth)
        if found.readable and found.wrapped:
            return found
        unreadable = unreadable or (name in USAGE_WRAPPERS and not found.readable)
    found = _find_in_generations(fields.get("generations"), shape, depth)
    if found.readable:
        return found
    return _UNREADABLE if unreadable else Found(fields, shape)


def _find_in(name: str, inner: object, shape: str | None, depth: int) -> Found:
    if name == "results" and isinstance(inner, (list, tuple)) and inner:
        inner = inner[0]
    hint = "langchain" if name == "usage_metadata" else "cohere" if name == "token_count" else shape
    found = find(inner, hint, depth - 1)
    if found.readable and _holds_counts(found.fields):
        return Found(found.fields, found.shape, wrapped=True)
    return found


def _find_in_generations(generations: object, shape: str | None, depth: int) -> Found:
    """The first usage among an LLMResult's generations: with n > 1 each of them carries the whole."""
    if not isinstance(generations, (list, tuple)):
        return _UNREADABLE
    for prompt in islice(generations, _WIDTH):
        for generation in islice(prompt, _WIDTH) if isinstance(prompt, (list, tuple)) else (prompt,):
            found = find(generation, shape, depth - 1)
            if found.readable and _holds_counts(found.fields):
                return found
    return _UNREADABLE


def _holds_counts(fields: Mapping[Any, Any]) -> bool:
    for key in islice(fields, _WIDTH):
        if isinstance(key, str):
            name = snake(key)
            if name in WHOLE_KEYS and fields[key] is not None:
                return True
            if name in ("tokens", "billed_units") and isinstance(fields[key], Mapping):
                return True
    return False


# --- the counts of a usage -----------------------------------------------------------------------


class Counts:
    """What a usage payload says, field by field, before wholes and parts are settled."""

    __slots__ = ("bad", "camel", "details", "inner", "keys", "known", "named")

    def __init__(self, named: str | None = None) -> None:
        self.named = named
        self.known: dict[str, int] = {}
        self.details: dict[str, int] = {}
        self.bad: dict[str, str] = {}
        self.keys: set[str] = set()
        self.inner: set[str] = set()
        self.camel = False

    @property
    def shape(self) -> Shape:
        """The named shape, where one of its words for input or output is there; else what the keys tell."""
        shape = SHAPES.get(self.named) if self.named else None
        if shape is not None and any(key in self.keys for key, field in shape.keys.items() if field != TOTAL):
            return shape
        return detect(self.keys, self.inner, camel=self.camel)

    @property
    def any_whole(self) -> bool:
        return INPUT in self.known or OUTPUT in self.known or TOTAL in self.known

    def put(self, field: str, value: object) -> None:
        """Note a field's value. The first that is not zero stands; a bad one costs only itself."""
        current = self.known.get(field)
        if value is None or (current is not None and current > 0) or _means_nothing(value):
            return
        try:
            number = count_of(value)
        except (ValueError, TypeError, OverflowError):
            if current is None:
                self.bad.setdefault(field, "invalid")
            return
        if current is not None and number <= 0:
            return
        self.known[field] = number
        self.bad.pop(field, None)

    def detail(self, name: str, value: object) -> None:
        """Note a further count. Zeros are left out: they say nothing and would be stored for every call."""
        if type(value) is int or isinstance(value, (str, float)):
            try:
                number = count_of(value)
            except (ValueError, OverflowError):
                return
            if number > 0:
                self.details[name] = number


def read(found: Found) -> Counts:
    """Read the counts of a usage that was found, by the tables of `_shapes`."""
    items = [
        (snake(key), value) for key, value in islice(found.fields.items(), _WIDTH) if isinstance(key, str)
    ]
    counts = Counts(found.shape)
    counts.keys = {key for key, value in items if _is_there(key, value)}
    counts.camel = "inputTokens" in found.fields
    counts.inner = {name for key, value in items if key in DETAILS for name, _ in _items(value)}
    shape = counts.shape
    for own in (True, False):
        for key, value in items:
            if (key in shape.keys) is own and key in WHOLE_KEYS:
                counts.put(shape.keys.get(key) or WHOLE_KEYS[key], value)
    for key, value in items:
        if key not in WHOLE_KEYS and value is not None:
            _read_part(counts, key, value)
    return counts


def _is_there(key: str, value: object) -> bool:
    return value is not None and (key not in DETAILS or fields_of(value) is not None)


def _read_part(counts: Counts, key: str, value: object) -> None:
    side = DETAILS.get(key)
    if side is not None:
        _read_details(counts, side, value)
    elif key == "tokens":
        _read_units(counts, value, {"input_tokens": INPUT, "output_tokens": OUTPUT})
    elif key == "billed_units":
        _read_units(counts, value, {"input_tokens": BILLED_INPUT, "output_tokens": BILLED_OUTPUT})
    elif key == "server_tool_use" or (key == "cache_creation" and fields_of(value) is not None):
        _read_details(counts, "input", value)
    elif key in PART_KEYS:
        counts.put(PART_KEYS[key], value)
    else:
        name = detail_name(key, None)
        if name is not None:
            counts.detail(name, value)


def _read_units(counts: Counts, value: object, wholes: Mapping[str, str]) -> None:
    for key, item in _items(value):
        if key in wholes:
            counts.put(wholes[key], item)
        else:
            _read_part(counts, key, item)


def _read_details(counts: Counts, side: str, value: object) -> None:
    if isinstance(value, (list, tuple)):
        _read_modalities(counts, side, value)
        return
    for key, item in _items(value):
        bare = key
        for tier in TIERS:
            bare = bare.removeprefix(tier)
        if bare in ("audio", "audio_tokens") and side in AUDIO:
            counts.put(AUDIO[side], item)
        elif bare in PART_KEYS:
            counts.put(PART_KEYS[bare], item)
        else:
            name = detail_name(bare, side)
            if name is not None:
                counts.detail(name, item)


def _read_modalities(counts: Counts, side: str, entries: list[Any] | tuple[Any, ...]) -> None:
    """Gemini's lists: `[{"modality": "AUDIO", "tokenCount": 5}, …]`."""
    for entry in islice(entries, _WIDTH):
        fields = dict(_items(entry))
        modality = fields.get("modality")
        name = snake(str(getattr(modality, "value", modality))).lower()
        if name == "audio" and side in AUDIO:
            counts.put(AUDIO[side], fields.get("token_count"))
        elif name:
            counts.detail(f"{side}_{name}_tokens", fields.get("token_count"))


def _items(value: object) -> Iterator[tuple[str, Any]]:
    fields = fields_of(value)
    if fields is not None:
        for key, item in islice(fields.items(), _WIDTH):
            if isinstance(key, str):
                yield snake(key), item
