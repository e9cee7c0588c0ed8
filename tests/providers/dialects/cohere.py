"""Cohere's `/v2/chat`: what was billed, and what was read and written."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Final

from tokentrail.demo._wire import Answer, Dialect, Event, chat_usage, parts_of, tool_calls

_REASONS: Final = {"stop": "COMPLETE", "length": "MAX_TOKENS", "tool_calls": "TOOL_CALL"}


def _usage(answer: Answer) -> dict[str, Any] | None:
    usage = chat_usage(answer.reply)
    if usage is None or "prompt_tokens" not in usage:
        return usage
    counts = {"input_tokens": usage["prompt_tokens"], "output_tokens": usage["completion_tokens"]}
    told: dict[str, Any] = {"billed_units": dict(counts), "tokens": counts}
    cached = parts_of(usage, "prompt_tokens_details").get("cached_tokens")
    return told if cached is None else {**told, "cached_tokens": cached}


def _message(answer: Answer) -> dict[str, Any]:
    if answer.reply.tool_calls:
        return {"role": "assistant", "tool_plan": "", "tool_calls": tool_calls(answer)}
    return {"role": "assistant", "content": [{"type": "text", "text": answer.reply.text}]}


def _whole(answer: Answer) -> dict[str, Any]:
    body = {
        "id": answer.id("cohere-"),
        "finish_reason": _REASONS.get(answer.reply.reason, answer.reply.reason),
        "message": _message(answer),
    }
    usage = _usage(answer)
    return body if usage is None else {**body, "usage": usage}


def _events(answer: Answer) -> Iterator[Event]:
    whole = _whole(answer)
    yield _named("message-start", False, id=whole["id"], delta={"message": {"role": "assistant"}})
    start = {"type": "text", "text": ""}
    yield _named("content-start", False, index=0, delta={"message": {"content": start}})
    for part in answer.reply.parts:
        yield _named("content-delta", True, index=0, delta={"message": {"content": {"text": part}}})
    yield _named("content-end", True, index=0)
    usage = None if answer.reply.usage_in == "none" else whole.get("usage")
    told = {} if usage is None else {"usage": usage}
    ending = {"finish_reason": whole["finish_reason"], **told}
    yield _named("message-end", True, usage, id=whole["id"], delta=ending)


def _named(kind: str, counts: bool, usage: dict[str, Any] | None = None, **data: Any) -> Event:
    return Event({"type": kind, **data}, kind, counts, usage)


def _counts(usage: Mapping[str, Any]) -> dict[str, int]:
    counts = dict(parts_of(usage, "tokens") or parts_of(usage, "billed_units"))
    if isinstance(usage.get("cached_tokens"), int):
        counts["cache_read_tokens"] = usage["cached_tokens"]
    return {name: int(count) for name, count in counts.items()}


def _error(_: Answer) -> dict[str, Any]:
    return {"id": "error", "message": "Scripted failure."}


COHERE: Final = Dialect(_whole, _events, done=False, error=_error, counts=_counts)
