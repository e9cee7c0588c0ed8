"""A payload and the name of its shape become a `Usage`; so do the chunks of a stream."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from tokentrail._payloads import LARGEST, Counts, Found, find, read
from tokentrail._shapes import CACHE_CREATION, CACHE_READ, INPUT, INPUT_AUDIO, OUTPUT, TOTAL
from tokentrail._usage import COUNTS, MISSING, NO_DETAILS, Usage
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
    if payload is None:
        return MISSING
    if type(payload) is Usage:
        return payload
    try:
        if type(payload) is dict:
            usage = _plain(payload, shape)
            if usage is not None:
                return usage
        found = find(payload, shape)
        return settle(read(found)) if found.readable else UNREADABLE
    except Exception:  # noqa: BLE001  a stranger's object may do anything when read; the host must not see it
        return UNREADABLE


# --- the short way -------------------------------------------------------------------------------
# Nearly every payload is one of two plain dicts without a contradiction. These lines know nothing that the
# tables do not: whatever is not exact goes the long way (a property test holds them to the same answer).

_PLAIN_INPUT: Final = {
    "cached_tokens": 3,
    "audio_tokens": 6,
    "cache_write_tokens": 4,
    "cache_read": 3,
    "cache_creation": 4,
    "audio": 6,
}
_PLAIN_OUTPUT: Final = {"reasoning_tokens": 5, "audio_tokens": 7, "reasoning": 5, "audio": 7}
_PLAIN_DETAILS: Final = frozenset({"accepted_prediction_tokens", "rejected_prediction_tokens"})


def _plain(payload: dict[str, Any], shape: str | None) -> Usage | None:
    if "prompt_tokens" in payload:
        if shape is not None and shape not in _LIKE_OPENAI:
            return None
        given, taken = payload["prompt_tokens"], payload.get("completion_tokens")
        inputs, outputs = payload.get("prompt_tokens_details"), payload.get("completion_tokens_details")
        keys = 3 + ("prompt_tokens_details" in payload) + ("completion_tokens_details" in payload)
    elif shape is None or shape == "langchain":
        given, taken = payload.get("input_tokens"), payload.get("output_tokens")
        inputs, outputs = payload.get("input_token_details"), payload.get("output_token_details")
        keys = 3 + ("input_token_details" in payload) + ("output_token_details" in payload)
    else:
        return None
    total = payload.get("total_tokens")
    if (
        len(payload) != keys
        or type(given) is not int
        or type(taken) is not int
        or type(total) is not int
        or given <= 0
        or taken < 0
        or given + taken != total
        or total > LARGEST
    ):
        return None
    if inputs is None and outputs is None:
        return Usage(given, taken, total)
    return _plain_parts(given, taken, total, inputs, outputs)


_LIKE_OPENAI: Final = frozenset({"openai", "litellm", "hunyuan", "oci"})


def _plain_parts(given: int, taken: int, total: int, inputs: Any, outputs: Any) -> Usage | None:
    row: list[Any] = [given, taken, total, None, None, None, None, None]
    details: dict[str, int] = {}
    for part, places in ((inputs, _PLAIN_INPUT), (outputs, _PLAIN_OUTPUT)):
        if part is None:
            continue
        if type(part) is not dict:
            return None
        for key, number in part.items():
            if number is None:
                continue
            if type(number) is not int or number < 0:
                return None
            place = places.get(key)
            if place is not None:
                if row[place] is not None:
                    return None
                row[place] = number
            elif key not in _PLAIN_DETAILS:
                return None
            elif number:
                details[key] = number
    _, _, _, cached, written, reasoning, heard, spoken = row
    if (cached or written) and (cached or 0) + (written or 0) > given:
        return None
    if (
        (reasoning is not None and reasoning > taken)
        or (heard is not None and heard > given)
        or (spoken is not None and spoken > taken)
    ):
        return None
    return Usage(given, taken, total, cached, written, reasoning, heard, spoken, details or NO_DETAILS)


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
        if type(chunk) is Usage:
            counts, of_langchain = _counts_of(chunk), False
        else:
            found = find(chunk, self._shape)
            if not found.readable:
                return False
            counts = read(found)
            of_langchain = _is_of_langchain(found, counts)
        if of_langchain:
            if not any(counts.known.get(field) for field in (INPUT, OUTPUT, TOTAL)):
                return False
            self._reconciled = self._reconciled or _Reconciled()
            self._reconciled.add(counts)
        elif counts.known or counts.details:
            self._merged = self._merged or Counts(self._shape)
            _overwrite(self._merged, counts)
        self._usage = None
        return counts.any_whole


def _is_of_langchain(found: Found, counts: Counts) -> bool:
    """Whether a chunk's usage went through LangChain, bare or in its message: a wire's own says `usage`."""
    return counts.shape.name == "langchain" and (found.shape == "langchain" or not found.wrapped)


def _counts_of(usage: Usage) -> Counts:
    counts = Counts("openai")
    counts.keys = {"prompt_tokens"}
    counts.known = {field: number for field in COUNTS if (number := getattr(usage, field)) is not None}
    counts.details = dict(usage.details)
    return counts


def _overwrite(merged: Counts, counts: Counts) -> None:
    """Let a later usage of a stream overwrite what it reports."""
    known = counts.known
    for field, number in known.items():
        if number < 0 and field not in merged.known:
            merged.bad.setdefault(field, "negative")
        if number > 0 or (number == 0 and not merged.known.get(field)):
            merged.known[field] = number
            merged.bad.pop(field, None)
    if TOTAL not in known and (known.get(INPUT) or known.get(OUTPUT)):
        # A total of earlier parts says nothing about these.
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

    One usage stands as it is. Several with at most one input, or with a negative one, are differences. With
    the same input each time, outputs that rise or repeat are running totals, and outputs that are always 1 or
    go up and down are differences beside a repeated prompt. Else inputs and outputs that both rise are
    running totals. Kept as sums, so that a stream of any length costs the same.
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
        self._last = Counts("langchain")

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
            self._last.known = dict(known)
        _overwrite(self._last, counts)

    def counts(self) -> Counts:
        """What the chunks together say."""
        if self._count == 1:
            return self._last
        if self._inputs <= 1 or self._negative:
            return self._summed(self._sums)
        if self._rising and not (self._same and self._all_one):
            return self._last
        if self._same:
            return self._summed({**self._sums, **self._of_prompt()})
        return self._summed(self._sums)

    def _of_prompt(self) -> Mapping[str, int]:
        known = self._last.known
        return {
            field: known[field]
            for field in (INPUT, CACHE_READ, CACHE_CREATION, INPUT_AUDIO)
            if field in known
        }

    def _summed(self, sums: Mapping[str, int]) -> Counts:
        counts = Counts("langchain")
        counts.keys, counts.inner, counts.bad = self._last.keys, self._last.inner, self._last.bad
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


def _may_carry(chunk: object) -> bool:
    """A short look: whether a chunk may hold usage. Most chunks of a stream do not, and must cost nothing."""
    if type(chunk) is dict:
        return _fields_may_carry(chunk)
    fields = getattr(chunk, "__dict__", None)
    if type(fields) is not dict:
        return chunk is not None
    extra = getattr(chunk, "__pydantic_extra__", None)
    return (type(extra) is dict and "usage" in extra) or _fields_may_carry(fields)


def _fields_may_carry(fields: dict[str, Any]) -> bool:
    if "choices" in fields:
        return fields.get("usage") is not None or fields.get("x_groq") is not None
    if "usage_metadata" in fields:
        return fields["usage_metadata"] is not None or bool(fields.get("response_metadata"))
    kind = fields.get("type")
    if type(kind) is str and (kind in _SILENT or kind.endswith(".delta")):
        return fields.get("usage") is not None or "amazon-bedrock-invocationMetrics" in fields
    return fields.get("done") is not False
