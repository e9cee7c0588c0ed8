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
_OPENAI: Final = (
    {"cached_tokens": CACHE_READ, "cache_write_tokens": CACHE_CREATION, "audio_tokens": INPUT_AUDIO},
    {"reasoning_tokens": REASONING, "audio_tokens": OUTPUT_AUDIO},
)
_LANGCHAIN: Final = (
    {"cache_read": CACHE_READ, "cache_creation": CACHE_CREATION, "audio": INPUT_AUDIO},
    {"reasoning": REASONING, "audio": OUTPUT_AUDIO},
)
"""The columns of the parts of input and output."""


def plain_counts(payload: dict[str, Any], shape: str | None) -> dict[str, int] | None:
    """The columns of a payload that is exact and agrees with itself; `None` sends it the long way."""
    get = payload.get
    if shape == "langchain" or (shape is None and "prompt_tokens" not in payload):
        given, taken = get("input_tokens"), get("output_tokens")
        inputs, outputs = get("input_token_details"), get("output_token_details")
        inside, outside = _LANGCHAIN
    elif shape in (None, "openai", "litellm"):
        given, taken = get("prompt_tokens"), get("completion_tokens")
        inputs, outputs = get("prompt_tokens_details"), get("completion_tokens_details")
        inside, outside = _OPENAI
    else:
        return None
    total = get("total_tokens")
    if not (
        type(given) is type(taken) is type(total) is int
        and given > 0 <= taken
        and given + taken == total <= LARGEST
        and len(payload) == 3 + (inputs is not None) + (outputs is not None)
    ):
        return None
    counts = {INPUT: given, OUTPUT: taken, TOTAL: total}
    if inputs is not None:
        if not _put_parts(inputs, inside, given, counts):
            return None
        if CACHE_CREATION in counts and counts.get(CACHE_READ, 0) + counts[CACHE_CREATION] > given:
            return None
    if outputs is not None and not _put_parts(outputs, outside, taken, counts):
        return None
    return counts


def _put_parts(parts: Any, columns: dict[str, str], whole: int, into: dict[str, int]) -> bool:
    """Take the parts of one side; whether all of them are plain."""
    if type(parts) is not dict:
        return False
    for name, part in parts.items():
        column = columns.get(name)
        if column is None:
            if part or name not in PREDICTIONS:
                return False
        elif type(part) is int and 0 <= part <= whole:
            into[column] = part
        elif part is not None:
            return False
    return True
