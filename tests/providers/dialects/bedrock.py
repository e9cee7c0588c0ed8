"""Bedrock's Converse: JSON when whole, binary frames of AWS when streamed."""

from __future__ import annotations

import binascii
import json
import struct
from collections.abc import Iterator, Mapping
from typing import Any, Final
from urllib.parse import unquote

from tokentrail.demo._wire import Answer, Dialect, Event, chat_usage, parts_of, tool_calls

_REASONS: Final = {"stop": "end_turn", "length": "max_tokens", "tool_calls": "tool_use"}


def _usage(answer: Answer) -> dict[str, Any] | None:
    """Cached input is beside `inputTokens`; the total has all."""
    usage = chat_usage(answer.reply)
    if usage is None or "prompt_tokens" not in usage:
        return usage
    details = parts_of(usage, "prompt_tokens_details")
    read, written = details.get("cached_tokens"), details.get("cache_creation_tokens")
    told = {
        "inputTokens": usage["prompt_tokens"] - sum(part for part in (read, written) if part is not None),
        "outputTokens": usage["completion_tokens"],
        "totalTokens": usage["total_tokens"],
        "cacheReadInputTokens": read,
        "cacheWriteInputTokens": written,
    }
    return {name: count for name, count in told.items() if count is not None}


def _counts(usage: Mapping[str, Any]) -> dict[str, int]:
    names = {
        "inputTokens": "input_tokens",
        "outputTokens": "output_tokens",
        "cacheReadInputTokens": "cache_read_tokens",
        "cacheWriteInputTokens": "cache_creation_tokens",
    }
    counts = {name: usage[key] for key, name in names.items() if isinstance(usage.get(key), int)}
    if "input_tokens" in counts:
        counts["input_tokens"] += counts.get("cache_read_tokens", 0) + counts.get("cache_creation_tokens", 0)
    return counts


def _blocks(answer: Answer) -> list[dict[str, Any]]:
    if not answer.reply.tool_calls:
        return [{"text": answer.reply.text}]
    calls = [(call["id"], call["function"]) for call in tool_calls(answer)]
    return [
        {"toolUse": {"toolUseId": call_id, "name": call["name"], "input": json.loads(call["arguments"])}}
        for call_id, call in calls
    ]


def _whole(answer: Answer) -> dict[str, Any]:
    body = {
        "output": {"message": {"role": "assistant", "content": _blocks(answer)}},
        "stopReason": _REASONS.get(answer.reply.reason, answer.reply.reason),
        "metrics": {"latencyMs": 321},
    }
    usage = _usage(answer)
    return body if usage is None else {**body, "usage": usage}


def _events(answer: Answer) -> Iterator[Event]:
    whole = _whole(answer)
    yield Event({"role": "assistant"}, "messageStart", counts=False)
    for part in answer.reply.parts:
        yield Event({"contentBlockIndex": 0, "delta": {"text": part}}, "contentBlockDelta")
    yield Event({"contentBlockIndex": 0}, "contentBlockStop")
    yield Event({"stopReason": whole["stopReason"]}, "messageStop")
    usage = None if answer.reply.usage_in == "none" else whole.get("usage")
    if usage is not None:
        yield Event({"metrics": whole["metrics"], "usage": usage}, "metadata", usage=usage)


def _error(_: Answer) -> dict[str, Any]:
    return {"message": "Scripted failure."}


def _frame(event: Event) -> bytes:
    """An event as `application/vnd.amazon.eventstream`: lengths, headers, payload, two checksums."""
    told = (
        {":exception-type": "throttlingException", ":message-type": "exception"}
        if event.name == "error"
        else {":event-type": str(event.name), ":message-type": "event"}
    )
    headers = b"".join(
        struct.pack(">B", len(name)) + name.encode() + struct.pack(">BH", 7, len(value)) + value.encode()
        for name, value in {":content-type": "application/json", **told}.items()
    )
    payload = json.dumps(event.data).encode()
    start = struct.pack(">II", len(headers) + len(payload) + 16, len(headers))
    message = start + struct.pack(">I", binascii.crc32(start)) + headers + payload
    return message + struct.pack(">I", binascii.crc32(message))


def _asked(path: str, _: Mapping[str, Any]) -> tuple[str, bool]:
    head, _slash, verb = path.rpartition("/")
    return unquote(head.rpartition("/")[2]), verb == "converse-stream"


CONVERSE: Final = Dialect(
    _whole,
    _events,
    done=False,
    error=_error,
    asked=_asked,
    counts=_counts,
    frame=_frame,
    content_type="application/vnd.amazon.eventstream",
)
