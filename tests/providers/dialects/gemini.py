"""Gemini's `generateContent` and `streamGenerateContent`."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Final

from tokentrail.demo._reply import Reply
from tokentrail.demo._wire import Answer, Dialect, Event, chat_usage, parts_of, tool_calls

_REASONS: Final = {"stop": "STOP", "length": "MAX_TOKENS", "tool_calls": "STOP"}


def _usage(reply: Reply) -> dict[str, Any] | None:
    """Thoughts are beside candidates; the total has both."""
    usage = chat_usage(reply)
    if usage is None or "prompt_tokens" not in usage:
        return usage
    told = {
        "promptTokenCount": usage["prompt_tokens"],
        "candidatesTokenCount": usage["completion_tokens"],
        "totalTokenCount": usage["total_tokens"],
        "promptTokensDetails": [{"modality": "TEXT", "tokenCount": usage["prompt_tokens"]}],
    }
    cached = parts_of(usage, "prompt_tokens_details").get("cached_tokens")
    thoughts = parts_of(usage, "completion_tokens_details").get("reasoning_tokens")
    if cached:
        told["cachedContentTokenCount"] = cached
        told["cacheTokensDetails"] = [{"modality": "TEXT", "tokenCount": cached}]
    if thoughts:
        told["candidatesTokenCount"] -= thoughts
        told["thoughtsTokenCount"] = thoughts
    return told


def _counts(usage: Mapping[str, Any]) -> dict[str, int]:
    def count(*names: str) -> int | None:
        known = [usage[name] for name in names if isinstance(usage.get(name), int)]
        return sum(known) if known else None

    found = {
        "input_tokens": count("promptTokenCount", "toolUsePromptTokenCount"),
        "output_tokens": count("candidatesTokenCount", "thoughtsTokenCount"),
        "cache_read_tokens": count("cachedContentTokenCount"),
        "reasoning_tokens": count("thoughtsTokenCount"),
    }
    return {name: value for name, value in found.items() if value is not None}


def _body(answer: Answer, parts: list[dict[str, Any]], reason: str | None) -> dict[str, Any]:
    candidate: dict[str, Any] = {"content": {"parts": parts, "role": "model"}, "index": 0}
    if reason:
        candidate["finishReason"] = _REASONS.get(reason, reason)
    return {"candidates": [candidate], "modelVersion": answer.model, "responseId": answer.id("gem-")}


def _parts(answer: Answer) -> list[dict[str, Any]]:
    if not answer.reply.tool_calls:
        return [{"text": part} for part in answer.reply.parts]
    return [
        {"functionCall": {"name": call["name"], "args": call.get("arguments", {})}}
        for call in answer.reply.tool_calls
        if tool_calls(answer)
    ]


def _whole(answer: Answer) -> dict[str, Any]:
    parts = _parts(answer)
    if not answer.reply.tool_calls:
        parts = [{"text": answer.reply.text}]
    usage = _usage(answer.reply)
    told = {} if usage is None else {"usageMetadata": usage}
    return {**_body(answer, parts, answer.reply.reason), **told}


def _events(answer: Answer) -> Iterator[Event]:
    """Gemini counts anew in each chunk: what it has read and written so far."""
    parts, usage = _parts(answer), _usage(answer.reply)
    for index, part in enumerate(parts):
        final = index == len(parts) - 1
        body = _body(answer, [part], answer.reply.reason if final else None)
        told = _so_far(answer.reply, usage, index + 1, len(parts))
        yield Event(body if told is None else {**body, "usageMetadata": told}, usage=told)


def _so_far(reply: Reply, usage: dict[str, Any] | None, done: int, of: int) -> dict[str, Any] | None:
    if usage is None or reply.usage_in == "none" or (done < of and reply.usage_in != "every"):
        return None
    if done == of or "candidatesTokenCount" not in usage:
        return usage
    written = usage["candidatesTokenCount"] * done // of
    missing = usage["candidatesTokenCount"] - written
    return {**usage, "candidatesTokenCount": written, "totalTokenCount": usage["totalTokenCount"] - missing}


def _error(answer: Answer) -> dict[str, Any]:
    return {
        "error": {"code": answer.reply.status, "message": "Scripted failure.", "status": "RESOURCE_EXHAUSTED"}
    }


def _asked(path: str, _: Mapping[str, Any]) -> tuple[str, bool]:
    model, _colon, verb = path.rpartition("/")[2].partition(":")
    return model, verb == "streamGenerateContent"


GEMINI: Final = Dialect(
    _whole,
    _events,
    done=False,
    error=_error,
    asked=_asked,
    told=lambda whole: whole.get("usageMetadata"),
    counts=_counts,
)
