"""Estimates: LiteLLM's tokenizer counts what was asked and said, where nobody reported a usage.

Only where a tracker has `estimate_missing`, and only of an answer that came, or began to: whether a refused
request was billed nobody knows. Texts are counted in the caller's thread and forgotten.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any, Final

from tokentrail._guard import guarded
from tokentrail._usage import MISSING, Usage
from tokentrail.integrations._litellm_calls import Attempt
from tokentrail.integrations._litellm_usage import field, read_usage

_KINDS: Final = frozenset({"chat", "completion", "responses", "embedding"})
"""What is billed by tokens of text."""


def estimate(attempt: Attempt, told: Usage, details: object, answers: Iterable[object]) -> Usage:
    """A guess at a usage that was not told; `MISSING` if it was, or nobody wants guesses.

    Args:
        attempt: the call.
        told: its usage as reported.
        details: LiteLLM's `model_call_details`, which have the request.
        answers: the answer, or the chunks that came of it.
    """
    if told.reported or attempt.kind not in _KINDS or not attempt.wants_estimate:
        return MISSING
    with guarded(attempt.health, "litellm.estimate"):
        return _count(attempt.kind, details, "".join(_texts(answers)))
    return MISSING


def of_stream(attempt: Attempt, told: Usage, stream: Any, chunks: list[Any]) -> Usage:
    """The same for a stream that was read, at least in part."""
    if not chunks:
        return MISSING
    return estimate(
        attempt, told, getattr(getattr(stream, "logging_obj", None), "model_call_details", None), chunks
    )


def _count(kind: str, details: object, said: str) -> Usage:
    import litellm

    if litellm.disable_token_counter or not isinstance(details, dict):
        return MISSING
    model = str(details.get("model") or "")
    asked = details.get("input" if kind == "embedding" else "messages")
    count: dict[str, int] = {}
    if isinstance(asked, list) and asked and isinstance(asked[0], dict):
        count["prompt_tokens"] = litellm.token_counter(model=model, messages=asked)
    elif asked and isinstance(asked, (str, list)):
        count["prompt_tokens"] = litellm.token_counter(model=model, text=asked)
    if said:
        count["completion_tokens"] = litellm.token_counter(model=model, text=said, count_response_tokens=True)
    return read_usage(count) if count else MISSING


def _texts(answers: Iterable[object]) -> Iterator[str]:
    """Everything a model has written: texts, thoughts, the arguments of tools."""
    for answer in answers:
        parts = [
            field(answer, "choices"),
            field(answer, "output"),
            field(field(answer, "response"), "output"),
        ]
        found = [part for part in parts if isinstance(part, list)]
        yield from _written(found or [answer])


_TEXTS: Final = ("text", "content", "reasoning_content", "arguments", "delta")
_INSIDE: Final = ("message", "delta", "content", "tool_calls", "function")


def _written(things: Iterable[object]) -> Iterator[str]:
    for thing in things:
        if isinstance(thing, (list, tuple)):
            yield from _written(thing)
            continue
        for name in _TEXTS:
            text = field(thing, name)
            if isinstance(text, str):
                yield text
        inside = [field(thing, name) for name in _INSIDE]
        yield from _written([one for one in inside if one is not None and not isinstance(one, str)])
