"""The short way from a payload to its counts: nearly every one is one of two plain dicts.

These lines know nothing that the tables do not. Whatever is not exact, or contradicts itself, goes the long
way (a property test holds both to the same answers).
"""

from __future__ import annotations

from typing import Any, Final

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
_OPENAI_INPUT: Final = frozenset({"cached_tokens", "audio_tokens", "cache_write_tokens"})
_OPENAI_OUTPUT: Final = frozenset({"reasoning_tokens", "audio_tokens", *PREDICTIONS})
_LANGCHAIN_INPUT: Final = frozenset({"cache_read", "cache_creation", "audio"})
_LANGCHAIN_OUTPUT: Final = frozenset({"reasoning", "audio"})
_ABSENT: Final[dict[str, Any]] = {}


def plain_counts(payload: dict[str, Any], shape: str | None) -> dict[str, int] | None:
    """The columns of a payload that is exact and agrees with itself; `None` sends it the long way."""
    if shape == "langchain" or (shape is None and "prompt_tokens" not in payload):
        return _of_langchain(payload)
    return _of_openai(payload) if shape in (None, "openai", "litellm") else None


def _of_openai(payload: dict[str, Any]) -> dict[str, int] | None:
    get = payload.get
    given, taken, total = get("prompt_tokens"), get("completion_tokens"), get("total_tokens")
    if not (
        type(given) is type(taken) is type(total) is int and given > 0 <= taken and given + taken == total
    ):
        return None
    inputs, outputs = get("prompt_tokens_details", _ABSENT), get("completion_tokens_details", _ABSENT)
    if (
        len(payload) != 3 + (inputs is not _ABSENT) + (outputs is not _ABSENT)
        or not (type(inputs) is type(outputs) is dict)
        or not (inputs.keys() <= _OPENAI_INPUT and outputs.keys() <= _OPENAI_OUTPUT)
        or outputs.get(PREDICTIONS[0])
        or outputs.get(PREDICTIONS[1])
    ):
        return None
    get = inputs.get
    cached, written, heard = get("cached_tokens"), get("cache_write_tokens"), get("audio_tokens")
    thought, spoken = outputs.get("reasoning_tokens"), outputs.get("audio_tokens")
    return _with_parts(given, taken, total, cached, written, thought, heard, spoken)


def _of_langchain(payload: dict[str, Any]) -> dict[str, int] | None:
    get = payload.get
    given, taken, total = get("input_tokens"), get("output_tokens"), get("total_tokens")
    if not (
        type(given) is type(taken) is type(total) is int and given > 0 <= taken and given + taken == total
    ):
        return None
    inputs, outputs = get("input_token_details", _ABSENT), get("output_token_details", _ABSENT)
    if (
        len(payload) != 3 + (inputs is not _ABSENT) + (outputs is not _ABSENT)
        or not (type(inputs) is type(outputs) is dict)
        or not (inputs.keys() <= _LANGCHAIN_INPUT and outputs.keys() <= _LANGCHAIN_OUTPUT)
    ):
        return None
    get = inputs.get
    cached, written, heard = get("cache_read"), get("cache_creation"), get("audio")
    return _with_parts(
        given, taken, total, cached, written, outputs.get("reasoning"), heard, outputs.get("audio")
    )


def _with_parts(
    given: int, taken: int, total: int, cached: Any, written: Any, thought: Any, heard: Any, spoken: Any
) -> dict[str, int] | None:
    counts = {INPUT: given, OUTPUT: taken, TOTAL: total}
    room = given
    if cached is not None:
        if type(cached) is not int or not 0 <= cached <= given:
            return None
        counts[CACHE_READ] = cached
        room -= cached
    if written is not None:
        if type(written) is not int or not 0 <= written <= room:
            return None
        counts[CACHE_CREATION] = written
    for name, part, whole in (
        (REASONING, thought, taken),
        (INPUT_AUDIO, heard, given),
        (OUTPUT_AUDIO, spoken, taken),
    ):
        if part is not None:
            if type(part) is not int or not 0 <= part <= whole:
                return None
            counts[name] = part
    return counts if total <= LARGEST else None
