"""Anthropic's Messages endpoint as it writes answers down."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any, Final

from tokentrail.demo._reply import Reply
from tokentrail.demo._wire import Answer, Dialect, Event, anthropic_usage, tool_calls, with_usage

_STOPS: Final[Mapping[str, str]] = {"stop": "end_turn", "length": "max_tokens", "tool_calls": "tool_use"}


def _blocks(answer: Answer) -> list[dict[str, Any]]:
    if not answer.reply.tool_calls:
        return [{"type": "text", "text": answer.reply.text}]
    return [
        {
            "type": "tool_use",
            "id": call["id"],
            "name": call["function"]["name"],
            "input": json.loads(call["function"]["arguments"]),
        }
        for call in tool_calls(answer)
    ]


def _messages_whole(answer: Answer) -> dict[str, Any]:
    body = {
        "id": answer.id("msg_"),
        "type": "message",
        "role": "assistant",
        "model": answer.model,
        "content": _blocks(answer),
        "stop_reason": _STOPS.get(answer.reply.reason, answer.reply.reason),
        "stop_sequence": None,
    }
    return with_usage(body, answer.reply, anthropic_usage(answer.reply))


def _messages_events(answer: Answer) -> Iterator[Event]:
    reply, whole = answer.reply, _messages_whole(answer)
    usage = anthropic_usage(reply) if reply.usage_in != "none" else None
    opening = {**whole, "content": [], "stop_reason": None}
    opening.pop("usage", None)
    first = None
    if usage is not None:
        first = usage if reply.usage_in == "first" else {**usage, "output_tokens": 1}
        opening["usage"] = first
    yield _named("message_start", False, first, message=opening)
    yield _named("ping", False)
    for index, block in enumerate(whole["content"]):
        yield from _block_events(reply, index, block)
    delta = {"stop_reason": whole["stop_reason"], "stop_sequence": None}
    if usage is None or reply.usage_in == "first":
        yield _named("message_delta", True, delta=delta)
    else:
        for output in _cumulative(usage["output_tokens"], reply):
            told = {"output_tokens": output}
            yield _named("message_delta", True, told, delta=delta, usage=told)
    yield _named("message_stop", True)


def _cumulative(output: int, reply: Reply) -> list[int]:
    return [output // 2, output] if reply.usage_in == "twice" else [output]


def _named(kind: str, counts: bool, told: dict[str, Any] | None = None, **data: Any) -> Event:
    return Event({"type": kind, **data}, kind, counts, told)


def _block_events(reply: Reply, index: int, block: dict[str, Any]) -> Iterator[Event]:
    tool = block["type"] == "tool_use"
    empty = {**block, "input": {}} if tool else {**block, "text": ""}
    yield _named("content_block_start", False, index=index, content_block=empty)
    pieces = [json.dumps(block["input"])] if tool else reply.parts
    for piece in pieces:
        kind = (
            {"type": "input_json_delta", "partial_json": piece}
            if tool
            else {"type": "text_delta", "text": piece}
        )
        yield _named("content_block_delta", True, index=index, delta=kind)
    yield _named("content_block_stop", True, index=index)


def _anthropic_error(answer: Answer) -> dict[str, Any]:
    kind = {429: "rate_limit_error", 401: "authentication_error", 529: "overloaded_error"}
    name = kind.get(answer.reply.status, "api_error")
    return {"type": "error", "error": {"type": name, "message": "Scripted failure."}}


MESSAGES: Final = Dialect(_messages_whole, _messages_events, False, _anthropic_error)
