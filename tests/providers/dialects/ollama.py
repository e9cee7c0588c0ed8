"""Ollama's `/api/chat`: a stream of JSON lines unless told otherwise, with its counts among other figures."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any, Final

from tokentrail.demo._wire import Answer, Dialect, Event, chat_usage, tool_calls

_CREATED: Final = "2026-01-01T00:00:00Z"


def _usage(answer: Answer) -> dict[str, Any] | None:
    usage = chat_usage(answer.reply)
    if usage is None or "prompt_tokens" not in usage:
        return usage
    return {"prompt_eval_count": usage["prompt_tokens"], "eval_count": usage["completion_tokens"]}


def _message(answer: Answer, text: str, *, tools: bool) -> dict[str, Any]:
    message: dict[str, Any] = {"role": "assistant", "content": text}
    if tools:
        calls = [call["function"] for call in tool_calls(answer)]
        message["tool_calls"] = [
            {"function": {"name": call["name"], "arguments": json.loads(call["arguments"])}} for call in calls
        ]
    return message


def _line(answer: Answer, message: dict[str, Any], *, done: bool) -> dict[str, Any]:
    line = {"model": answer.model, "created_at": _CREATED, "message": message, "done": done}
    if not done:
        return line
    times = {"total_duration": 5_000_000, "load_duration": 1_000_000, "eval_duration": 3_000_000}
    reason = answer.reply.reason if answer.reply.reason == "length" else "stop"
    return {**line, "done_reason": reason, **times, **(_usage(answer) or {})}


def _whole(answer: Answer) -> dict[str, Any]:
    tools = bool(answer.reply.tool_calls)
    return _line(answer, _message(answer, "" if tools else answer.reply.text, tools=tools), done=True)


def _events(answer: Answer) -> Iterator[Event]:
    tools = bool(answer.reply.tool_calls)
    for part in [""] if tools else answer.reply.parts:
        yield Event(_line(answer, _message(answer, part, tools=tools), done=False))
    closing = _line(answer, _message(answer, "", tools=False), done=True)
    yield Event(closing, usage=_told(closing))


def _told(line: Mapping[str, Any]) -> dict[str, Any] | None:
    return {key: line[key] for key in _NAMES if key in line} or None


_NAMES: Final = {"prompt_eval_count": "input_tokens", "eval_count": "output_tokens"}


def _counts(usage: Mapping[str, Any]) -> dict[str, int]:
    return {name: usage[key] for key, name in _NAMES.items() if isinstance(usage.get(key), int)}


def _error(_: Answer) -> dict[str, Any]:
    return {"error": "Scripted failure."}


OLLAMA: Final = Dialect(
    _whole,
    _events,
    done=False,
    error=_error,
    asked=lambda _, body: (str(body.get("model", "")), body.get("stream") is not False),
    told=_told,
    counts=_counts,
    frame=lambda event: json.dumps(event.data).encode() + b"\n",
    content_type="application/x-ndjson",
)
