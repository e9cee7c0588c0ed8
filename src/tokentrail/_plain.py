"""The short way from a payload to its counts: nearly every one is one of two plain dicts.

These lines know nothing that the tables do not. Whatever is not exact, or contradicts itself, goes the long
way (a property test holds both to the same answers).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from operator import itemgetter
from typing import Any, Final, TypeAlias

from tokentrail._shapes import (
    CACHE_CREATION,
    CACHE_READ,
    INPUT,
    INPUT_AUDIO,
    LARGEST,
    OUTPUT,
    OUTPUT_AUDIO,
    REASONING,
    TOTAL,
)

PREDICTIONS: Final = ("accepted_prediction_tokens", "rejected_prediction_tokens")
"""OpenAI's counts of predicted output: always sent, nearly always 0, and no columns."""
_KEPT: Final = 256
_INTEGERS: Final = {int}
_ABSENT: Final[dict[str, Any]] = {}

_Keys: TypeAlias = tuple[str, ...]


class _Speaker:
    """The words of one speaker, and the sets of keys that were met in its payloads."""

    def __init__(
        self, wholes: tuple[str, str, str], details: tuple[str, str], parts: tuple[Mapping[str, str], ...]
    ) -> None:
        self.wholes: Callable[[dict[str, Any]], tuple[Any, Any, Any]] = itemgetter(*wholes)
        self.inputs, self.outputs = details
        self._needed = frozenset(wholes)
        self._allowed = self._needed | {*details}
        self._parts = parts
        self.met: dict[tuple[_Keys, _Keys, _Keys], tuple[_Keys, _Keys]] = {}
        """Keys of a payload and of its two details → the columns they are, and those that must be 0."""

    def learn(self, keys: tuple[_Keys, _Keys, _Keys]) -> tuple[_Keys, _Keys] | None:
        """What these keys mean; `None` if not all of them are known here."""
        if not self._needed <= {*keys[0]} <= self._allowed:
            return None
        named = [words.get(key) for words, inner in zip(self._parts, keys[1:], strict=True) for key in inner]
        if None in named or len(self.met) >= _KEPT:
            return None
        columns = (INPUT, OUTPUT, TOTAL, *map(str, named))
        self.met[keys] = columns, tuple(name for name in columns if name in PREDICTIONS)
        return self.met[keys]


_OPENAI: Final = _Speaker(
    ("prompt_tokens", "completion_tokens", "total_tokens"),
    ("prompt_tokens_details", "completion_tokens_details"),
    (
        {"cached_tokens": CACHE_READ, "cache_write_tokens": CACHE_CREATION, "audio_tokens": INPUT_AUDIO},
        {"reasoning_tokens": REASONING, "audio_tokens": OUTPUT_AUDIO} | {name: name for name in PREDICTIONS},
    ),
)
_LANGCHAIN: Final = _Speaker(
    ("input_tokens", "output_tokens", "total_tokens"),
    ("input_token_details", "output_token_details"),
    (
        {"cache_read": CACHE_READ, "cache_creation": CACHE_CREATION, "audio": INPUT_AUDIO},
        {"reasoning": REASONING, "audio": OUTPUT_AUDIO},
    ),
)
_SPEAKERS: Final[Mapping[str | None, _Speaker]] = {
    "openai": _OPENAI, "litellm": _OPENAI, "langchain": _LANGCHAIN,
}  # fmt: skip


def plain_counts(payload: dict[str, Any], shape: str | None) -> dict[str, int] | None:
    """The columns of a payload that is exact and agrees with itself; `None` sends it the long way."""
    if shape is None:
        speaker = _OPENAI if "prompt_tokens" in payload else _LANGCHAIN
    elif shape in _SPEAKERS:
        speaker = _SPEAKERS[shape]
    else:
        return None
    try:
        get = payload.get
        inputs, outputs = get(speaker.inputs, _ABSENT), get(speaker.outputs, _ABSENT)
        keys = tuple(payload), tuple(inputs), tuple(outputs)
        known = speaker.met.get(keys) or speaker.learn(keys)
        if known is None:
            return None
        given, taken, total = speaker.wholes(payload)
        counts = (given, taken, total, *inputs.values(), *outputs.values())
        if (
            {*map(type, counts)} != _INTEGERS
            or given + taken != total
            or not given
            or min(counts) < 0
            or sum(inputs.values()) > given
            or sum(outputs.values()) > taken
            or total > LARGEST
        ):
            return None
    except (AttributeError, TypeError):  # details that are no dicts, keys that have no hash
        return None
    columns, zeros = known
    answer = dict(zip(columns, counts, strict=True))
    for name in zeros:
        if answer.pop(name):
            return None
    return answer
