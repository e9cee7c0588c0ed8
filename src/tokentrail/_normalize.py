"""A payload and the name of its shape become a `Usage`; so do the chunks of a stream."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from tokentrail._counts import Counts, read
from tokentrail._payloads import Found, find
from tokentrail._plain import plain_counts
from tokentrail._records import Record
from tokentrail._shapes import CACHE_CREATION, CACHE_READ, INPUT, INPUT_AUDIO, OUTPUT, TOTAL
from tokentrail._usage import COUNTS, MISSING, Usage
from tokentrail._wholes import settle

UNREADABLE: Final = Usage(flags=("usage_not_mapping",))
"""Something was there, but nothing with fields."""


def normalize_usage(payload: object, *, shape: str | None = None) -> Usage:
    """What a payload says was consumed.

    Args:
        payload: a usage or anything that holds one: mapping, object, pydantic model, a whole response or
            message, LangChain's `LLMResult`, `None`, rubbish.
        shape: who wrote it (`openai`, `anthropic`, `langchain`, …: the names in `_shapes.SHAPES`) where that
            is known; else the keys tell.

    Returns:
        Counts in tokens; `None` where nothing was reported. Never raises: what is wrong is in `flags`.

    Example:
        >>> usage = normalize_usage({"input_tokens": 40, "output_tokens": 37, "cache_read_input_tokens": 64})
        >>> usage.input_tokens
        104
    """
    try:
        if type(payload) is dict:
            counts = plain_counts(payload, shape)
            if counts is not None:
                return _usage_of(counts)
        elif payload is None:
            return MISSING
        elif type(payload) is Usage:
            return payload
        found = find(payload, shape)
        return _normalized(found) if found.readable else UNREADABLE
    except Exception:  # noqa: BLE001  a stranger's object may do anything when read; the host must not see it
        return UNREADABLE


def put_usage(record: Record, payload: object, *, shape: str | None = None) -> None:
    """Write what a payload says was consumed (or a `Usage`) into the columns that hold it."""
    counts = plain_counts(payload, shape) if type(payload) is dict else None
    if counts is not None:
        record.update(counts)
        record["usage_source"] = "provider"
        return
    usage = normalize_usage(payload, shape=shape)
    record.update((name, count) for name, count in zip(COUNTS, usage, strict=False) if count is not None)
    if usage.details:
        record["usage_details"] = dict(usage.details)
    if usage.flags:
        record["usage_flags"] = list(usage.flags)
    record["usage_source"] = "provider" if usage.reported else "missing"


def _usage_of(counts: dict[str, Any]) -> Usage:
    return Usage(**counts)


def _normalized(found: Found) -> Usage:
    if found.witness is not None:
        return _with_parts_of(settle(read(found)), settle(read(found.witness)))
    counts = plain_counts(found.fields, found.shape) if type(found.fields) is dict else None
    return settle(read(found)) if counts is None else _usage_of(counts)


def _with_parts_of(usage: Usage, witness: Usage) -> Usage:
    """Fill parts that a library dropped from the raw usage beside it, if both tell the same wholes."""
    if usage[:2] != witness[:2]:
        return usage
    blanks = {name: getattr(witness, name) for name in COUNTS[3:] if getattr(usage, name) is None}
    return usage._replace(**blanks)


# --- streams -------------------------------------------------------------------------------------


class StreamUsage:
    """The usage of one stream: feed it every chunk (or bare usages) and read `usage` at any time.

    The last reported count wins; absence, null and zero never overwrite; nothing is summed, except where
    LangChain's chunks carry differences (see `_Reconciled`). Not for use by two threads at once.

    Args:
        shape: as for `normalize_usage`.
    """

    __slots__ = ("_merged", "_reconciled", "_shape", "_usage")

    def __init__(self, *, shape: str | None = None) -> None:
        self._shape = shape
        self._merged: Counts | None = None
        self._reconciled: _Reconciled | None = None
        self._usage: Usage | None = MISSING

    def feed(self, chunk: object) -> bool:
        """Take a chunk; whether it carried usage. Never raises."""
        try:
            return _may_carry(chunk) and self._take(chunk)
        except Exception:  # noqa: BLE001  as in normalize_usage
            return False

    @property
    def usage(self) -> Usage:
        """What the chunks so far say was consumed."""
        if self._usage is None:
            counts = self._reconciled.counts() if self._reconciled is not None else self._merged
            self._usage = MISSING if counts is None else settle(counts)
        return self._usage

    def _take(self, chunk: object) -> bool:
        found = find(chunk, self._shape)
        if not found.readable:
            return False
        counts = read(found)
        if _is_of_langchain(found, counts):
            if not any(counts.known.get(field) for field in (INPUT, OUTPUT, TOTAL)):
                return False
            if self._reconciled is None:
                self._reconciled = _Reconciled()
            self._reconciled.add(counts)
        elif counts.known or counts.details:
            if self._merged is None:
                self._merged = counts
            else:
                _overwrite(self._merged, counts)
                self._merged.tell_shape(self._shape)
        self._usage = None
        return counts.any_whole


def _is_of_langchain(found: Found, counts: Counts) -> bool:
    """Whether a chunk's usage went through LangChain, bare or in its message: a wire's own says `usage`."""
    return counts.shape.name == "langchain" and (found.shape == "langchain" or not found.wrapped)


def _overwrite(merged: Counts, counts: Counts) -> None:
    """Let a later usage of a stream overwrite what it reports."""
    known = counts.known
    for field, number in known.items():
        if number < 0 and field not in merged.known:
            merged.bad.setdefault(field, "negative")
        if number > 0 or (number == 0 and not merged.known.get(field)):
            merged.known[field] = number
            merged.bad.pop(field, None)
    if not known.get(TOTAL) and (known.get(INPUT) or known.get(OUTPUT)):
        wholes = [merged.known[field] for field in (INPUT, OUTPUT) if field in merged.known]
        if merged.known.get(TOTAL) != sum(wholes):  # a total of earlier parts says nothing about these
            merged.known.pop(TOTAL, None)
    for field, kind in counts.bad.items():
        if field not in merged.known:
            merged.bad.setdefault(field, kind)
    merged.details.update(counts.details)
    merged.keys |= counts.keys
    merged.inner |= counts.inner
    merged.camel = merged.camel or counts.camel


class _Reconciled:
    """LangChain's chunks: differences with some providers, running totals with others.

    One usage stands as it is. Outputs without any input that rise or repeat are running totals (Anthropic's
    `message_delta`). Several with at most one input, or with a negative one, are differences. With the same
    input each time, outputs that rise or repeat are running totals, and outputs that are always 1 or go up
    and down are differences beside a repeated prompt. Else inputs and outputs that both rise are running
    totals. Kept as sums, so that a stream of any length costs the same.
    """

    __slots__ = (
        "_all_one",
        "_count",
        "_inputs",
        "_last",
        "_negative",
        "_previous",
        "_rising",
        "_same",
        "_sums",
    )

    def __init__(self) -> None:
        self._count = 0
        self._inputs = 0
        self._same = self._rising = self._all_one = True
        self._negative = False
        self._previous: dict[str, int] = {}
        self._sums: dict[str, int] = {}
        self._last = Counts()

    def add(self, counts: Counts) -> None:
        """Take the usage of one more chunk."""
        known = counts.known
        given, taken = known.get(INPUT, 0), known.get(OUTPUT, 0)
        self._count += 1
        self._negative = self._negative or given < 0 or taken < 0
        self._all_one = self._all_one and taken == 1
        self._rising = self._rising and taken >= self._previous.get(OUTPUT, 0)
        if given:
            self._same = self._same and given == self._previous.get(INPUT, given)
            self._rising = self._rising and given >= self._previous.get(INPUT, 0)
            self._inputs += 1
            self._previous[INPUT] = given
        self._previous[OUTPUT] = taken
        for sums in (known, counts.details):
            for field, number in sums.items():
                self._sums[field] = self._sums.get(field, 0) + number
        if self._count == 1:
            self._last = counts
        else:
            _overwrite(self._last, counts)

    def counts(self) -> Counts:
        """What the chunks together say."""
        if self._count == 1 or self._only_outputs_rise():
            return self._last
        if self._inputs <= 1 or self._negative:
            return self._summed(self._sums)
        if self._rising and not (self._same and self._all_one):
            return self._last
        if self._same:
            return self._summed({**self._sums, **self._of_prompt()})
        return self._summed(self._sums)

    def _only_outputs_rise(self) -> bool:
        return not self._inputs and self._rising and not (self._all_one or self._negative)

    def _of_prompt(self) -> Mapping[str, int]:
        known = self._last.known
        return {
            field: known[field]
            for field in (INPUT, CACHE_READ, CACHE_CREATION, INPUT_AUDIO)
            if field in known
        }

    def _summed(self, sums: Mapping[str, int]) -> Counts:
        counts = Counts()
        counts.shape, counts.bad = self._last.shape, self._last.bad
        counts.details = {name: sums[name] for name in self._last.details}
        counts.known = {field: number for field, number in sums.items() if field not in counts.details}
        if counts.known.get(TOTAL) != counts.known.get(INPUT, 0) + counts.known.get(OUTPUT, 0):
            counts.known.pop(TOTAL, None)
        return counts


# --- chunks without usage ------------------------------------------------------------------------

_SILENT: Final = frozenset(
    {"content_block_start", "content_block_delta", "content_block_stop", "message_stop", "ping"}
)
"""Types of Anthropic's events that never hold usage."""
_COUNTED_WHILE_RUNNING: Final = ("usage", "eval_count", "prompt_eval_count")


def _may_carry(chunk: object) -> bool:
    """A short look: whether a chunk may hold usage. Most chunks of a stream do not, and must cost nothing."""
    if type(chunk) is dict:
        return _fields_may_carry(chunk)
    fields = getattr(chunk, "__dict__", None)
    if type(fields) is not dict:
        return chunk is not None
    extra = getattr(chunk, "__pydantic_extra__", None)
    if type(extra) is dict and "usage" in extra:
        return True
    message = fields.get("message")
    inner = getattr(message, "__dict__", None)
    return _fields_may_carry(inner if type(inner) is dict and "usage_metadata" in inner else fields)


def _fields_may_carry(fields: dict[str, Any]) -> bool:
    if "choices" in fields:
        if fields.get("usage") is not None or fields.get("x_groq") is not None:
            return True
        choices = fields["choices"]
        return type(choices) is list and bool(choices) and _has_usage(choices[0])
    if "usage_metadata" in fields:
        return fields["usage_metadata"] is not None or bool(fields.get("response_metadata"))
    kind = fields.get("type")
    if type(kind) is str and (kind in _SILENT or kind.endswith(".delta")):
        return fields.get("usage") is not None or "amazon-bedrock-invocationMetrics" in fields
    return fields.get("done") is not False or not fields.keys().isdisjoint(_COUNTED_WHILE_RUNNING)


def _has_usage(choice: Any) -> bool:
    if type(choice) is dict:
        return choice.get("usage") is not None
    own, extra = getattr(choice, "__dict__", None), getattr(choice, "__pydantic_extra__", None)
    return (type(own) is dict and own.get("usage") is not None) or (type(extra) is dict and "usage" in extra)
