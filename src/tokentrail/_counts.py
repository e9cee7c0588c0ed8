"""The counts of a usage, read field by field, before its wholes and parts are settled."""

from __future__ import annotations

import math
import operator
from collections.abc import Iterator, Mapping
from itertools import islice
from typing import Any

from tokentrail._payloads import WIDTH, Found, fields_of, means_nothing
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
    LARGEST,
    OUTPUT,
    PART_KEYS,
    SHAPES,
    TOTAL,
    UNITS,
    WHOLE_KEYS,
    WRITES_BY_LIFE,
    detail_name,
    detect,
    snake,
)

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
    if len(text) > 64 or "_" in text:  # digits with underscores are Python's own spelling
        raise ValueError(text[:64])
    text = text.strip()
    return int(text) if text.isdecimal() else _count_of_float(float(text))


def _count_of_float(number: float) -> int:
    if not math.isfinite(number):
        raise ValueError(number)
    # -0.5 is cut to 0 but is no reported zero.
    return math.trunc(number) if number >= 0 or number <= -1 else -1


def _counts_in(values: list[Any] | tuple[Any, ...]) -> Iterator[int]:
    for value in islice(values, WIDTH):
        if isinstance(value, (list, tuple)):
            continue
        try:
            yield count_of(value)
        except (ValueError, TypeError, OverflowError):
            continue


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
        if (current is not None and current > 0) or means_nothing(value):
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
    items = fields.items() if len(fields) <= WIDTH else islice(fields.items(), WIDTH)
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
        for result in islice(value, WIDTH):
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
        elif bare == WRITES_BY_LIFE or bare in DETAILS:
            _read_details(counts, DETAILS.get(bare, side), item)
        elif bare in DETAIL_KEYS:
            counts.put(DETAIL_KEYS[bare], item)
        else:
            counts.detail(detail_name(bare, side), item)


def _read_modalities(counts: Counts, side: str, entries: list[Any] | tuple[Any, ...]) -> None:
    """Gemini's lists: `[{"modality": "AUDIO", "tokenCount": 5}, …]`."""
    for entry in islice(entries, WIDTH):
        fields = dict(_items_of(fields_of(entry)))
        modality = fields.get("modality")
        name = snake(str(getattr(modality, "value", modality)))
        if "token_count" not in fields or modality is None:
            continue
        if name == "audio" and side in AUDIO:
            counts.put(AUDIO[side], fields["token_count"])
        else:
            counts.detail(f"{side}_{name}_tokens", fields["token_count"])
