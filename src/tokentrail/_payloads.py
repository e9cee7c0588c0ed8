"""Strangers' objects: finds the usage inside whatever a library hands over and reads its counts."""

from __future__ import annotations

import math
import operator
from collections.abc import Iterator, Mapping
from itertools import islice
from typing import Any, Final

from tokentrail._shapes import (
    ANTHROPIC_SIGNS,
    AUDIO,
    CACHE,
    COUNTERS,
    DETAIL_KEYS,
    DETAILS,
    INPUT,
    INPUT_DETAILS,
    LANGCHAIN_DETAILS,
    LISTS,
    OUTPUT,
    PART_KEYS,
    SHAPES,
    TOTAL,
    UNITS,
    USAGE_WRAPPERS,
    WHOLE_KEYS,
    WRAPPERS,
    WRITES_BY_LIFE,
    detail_name,
    detect,
    snake,
)
from tokentrail._usage import COUNTS, Usage

LARGEST: Final = 2**63 - 1
"""The largest count a database column holds; more is no count."""
_DEPTH: Final = 8
_WIDTH: Final = 256
_LEAVES: Final = (str, bytes, bytearray, memoryview, int, float, complex, list, tuple, set, frozenset, type)
_PLAIN_TYPES: Final = (*_LEAVES, dict, Usage)
_KNOWN: Final = frozenset({*WHOLE_KEYS, *PART_KEYS, *DETAILS, *COUNTERS, *UNITS, *WRAPPERS, "generations"})


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
    if "_" in text:  # Python's own spelling of digits, nobody else's
        raise ValueError(text)
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
    return not isinstance(value, _PLAIN_TYPES) and hasattr(value, "a_name_that_nobody_has_but_a_mock")


# --- the fields of an object ---------------------------------------------------------------------


def fields_of(payload: object) -> Mapping[Any, Any] | None:
    """A mapping's or an object's fields; `None` for what has none (text, numbers, lists)."""
    if isinstance(payload, dict):
        return payload
    if isinstance(payload, Usage):
        return _fields_of_usage(payload)
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
            if name in UNITS and fields_of(fields[key]) is not None:
                return True
    return False


# --- the counts of a usage -----------------------------------------------------------------------


class Counts:
    """What a usage payload says, field by field, before wholes and parts are settled."""

    __slots__ = ("bad", "camel", "details", "inner", "keys", "known", "shape")

    def __init__(self) -> None:
        self.shape = SHAPES["openai"]
        self.known: dict[str, int] = {}
        self.details: dict[str, int] = {}
        self.bad: dict[str, str] = {}
        self.keys: set[str] = set()
        self.inner: set[str] = set()
        self.camel = False

    def tell_shape(self, named: str | None) -> None:
        """Take the named shape if one of its words for input or output is there, else what the keys tell.

        Two names give way to stronger signs: Anthropic's raw usage lies beside LangChain's form in the same
        message and shares its words, and a speaker who details its input has its cache inside.
        """
        shape = SHAPES.get(named) if named else None
        if shape is not None and shape.outside >= CACHE and not self.keys.isdisjoint(INPUT_DETAILS):
            shape = None
        words = shape.keys.items() if shape is not None else ()
        if shape is not None and any(key in self.keys for key, field in words if field != TOTAL):
            raw = shape.zero_unknown and not ANTHROPIC_SIGNS.isdisjoint(self.keys)
            self.shape = SHAPES["anthropic"] if raw else shape
        else:
            self.shape = detect(self.keys, self.inner, camel=self.camel)

    @property
    def any_whole(self) -> bool:
        return INPUT in self.known or OUTPUT in self.known or TOTAL in self.known

    def put(self, field: str, value: object) -> None:
        """Note a field's value. The first that is not zero stands; a bad one costs only itself."""
        current = self.known.get(field)
        if (current is not None and current > 0) or _means_nothing(value):
            return
        try:
            number = count_of(value)
        except (ValueError, TypeError, OverflowError):
            if current is None:
                self.bad.setdefault(field, "invalid")
            return
        if current is None or number > 0:
            self.known[field] = number
            self.bad.pop(field, None)

    def detail(self, name: str | None, value: object) -> None:
        """Note a further count. Zeros are left out: they say nothing and would be stored for every call."""
        if name is not None and (type(value) is int or isinstance(value, (str, float))):
            try:
                number = count_of(value)
            except (ValueError, OverflowError):
                return
            if number > 0:
                self.details[name] = number


def read(found: Found) -> Counts:
    """Read the counts of a usage that was found, by the tables of `_shapes`."""
    counts = Counts()
    items = _items_of(found.fields)
    counts.keys = {key for key, value in items if key not in DETAILS or fields_of(value) is not None}
    counts.camel = "inputTokens" in found.fields
    counts.inner = {
        name for key, value in items if key in LANGCHAIN_DETAILS for name, _ in _items_of(fields_of(value))
    }
    counts.tell_shape(found.shape)
    own = counts.shape.keys
    for key, value in items:
        if key in own:
            counts.put(own[key], value)
    for key, value in items:
        if key in WHOLE_KEYS:
            if key not in own:
                counts.put(WHOLE_KEYS[key], value)
        else:
            _read_part(counts, key, value)
    return counts


def _items_of(fields: Mapping[Any, Any] | None) -> list[tuple[str, Any]]:
    """The fields that have a value, by their keys in snake case."""
    if fields is None:
        return []
    items = fields.items() if len(fields) <= _WIDTH else islice(fields.items(), _WIDTH)
    return [(snake(key), value) for key, value in items if value is not None and isinstance(key, str)]


def _read_part(counts: Counts, key: str, value: object) -> None:
    side = DETAILS.get(key)
    if side is not None:
        _read_details(counts, side, value)
    elif key in PART_KEYS:
        counts.put(PART_KEYS[key], value)
    elif key in UNITS:
        for name, item in _items_of(fields_of(value)):
            if name in UNITS[key]:
                counts.put(UNITS[key][name], item)
            else:
                _read_part(counts, name, item)
    elif key in COUNTERS:
        _read_details(counts, "input", value)
    elif key == "results" and isinstance(value, (list, tuple)):
        for result in islice(value, _WIDTH):
            for name, item in _items_of(fields_of(result)):
                if name == "token_count":
                    counts.put(OUTPUT, item)
    else:
        counts.detail(detail_name(key, None), value)


def _read_details(counts: Counts, side: str, value: object) -> None:
    if isinstance(value, (list, tuple)):
        _read_modalities(counts, side, value)
        return
    for key, item in _items_of(fields_of(value)):
        bare = key.removeprefix("flex_").removeprefix("priority_")
        if bare in ("audio", "audio_tokens") and side in AUDIO:
            counts.put(AUDIO[side], item)
        elif bare == WRITES_BY_LIFE:
            _read_details(counts, side, item)
        elif bare in DETAIL_KEYS:
            counts.put(DETAIL_KEYS[bare], item)
        else:
            counts.detail(detail_name(bare, side), item)


def _read_modalities(counts: Counts, side: str, entries: list[Any] | tuple[Any, ...]) -> None:
    """Gemini's lists: `[{"modality": "AUDIO", "tokenCount": 5}, …]`."""
    for entry in islice(entries, _WIDTH):
        fields = dict(_items_of(fields_of(entry)))
        modality = fields.get("modality")
        name = snake(str(getattr(modality, "value", modality)))
        if "token_count" not in fields or modality is None:
            continue
        if name == "audio" and side in AUDIO:
            counts.put(AUDIO[side], fields["token_count"])
        else:
            counts.detail(f"{side}_{name}_tokens", fields["token_count"])
