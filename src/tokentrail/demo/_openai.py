"""OpenAI's endpoints as they write answers down: chat, completions, embeddings, responses."""

from __future__ import annotations

import base64
import struct
from collections.abc import Iterator
from typing import Any, Final

from tokentrail.demo._reply import MISSING, Reply
from tokentrail.demo._wire import (
    CREATED,
    Answer,
    Dialect,
    Event,
    chat_usage,
    parts_of,
    responses_usage,
    tool_calls,
    with_usage,
)


def _chat_whole(answer: Answer) -> dict[str, Any]:
    message: dict[str, Any] = {"role": "assistant", "content": answer.reply.text, "refusal": None}
    if answer.reply.tool_calls:
        message |= {"content": None, "tool_calls": tool_calls(answer)}
    choices = [
        {"index": index, "message": message, "logprobs": None, "finish_reason": answer.reply.reason}
        for index in range(answer.choices)
    ]
    return with_usage(
        _head(answer, "chatcmpl-", "chat.completion", choices), answer.reply, chat_usage(answer.reply)
    )


def _head(answer: Answer, prefix: str, kind: str, choices: list[dict[str, Any]]) -> dict[str, Any]:
    return {
        "id": answer.id(prefix),
        "object": kind,
        "created": CREATED,
        "model": answer.model,
        "choices": choices,
    }


def _chat_deltas(answer: Answer) -> Iterator[dict[str, Any]]:
    if answer.reply.tool_calls:
        for index, call in enumerate(tool_calls(answer)):
            yield {"role": "assistant", "content": None, "tool_calls": [{"index": index, **call}]}
        return
    for index, part in enumerate(answer.reply.parts):
        yield {"role": "assistant", "content": part} if index == 0 else {"content": part}


def _chat_events(answer: Answer) -> Iterator[Event]:
    def chunk(delta: dict[str, Any], reason: str | None) -> dict[str, Any]:
        choices = [
            {"index": index, "delta": delta, "logprobs": None, "finish_reason": reason}
            for index in range(answer.choices)
        ]
        return _head(answer, "chatcmpl-", "chat.completion.chunk", choices)

    bodies = [chunk(delta, None) for delta in _chat_deltas(answer)]
    return _openai_events(answer, [*bodies, chunk({}, answer.reply.reason)])


def _text_whole(answer: Answer) -> dict[str, Any]:
    choices = [
        {"index": index, "text": answer.reply.text, "logprobs": None, "finish_reason": answer.reply.reason}
        for index in range(answer.choices)
    ]
    return with_usage(
        _head(answer, "cmpl-", "text_completion", choices), answer.reply, chat_usage(answer.reply)
    )


def _text_events(answer: Answer) -> Iterator[Event]:
    def chunk(text: str, reason: str | None) -> dict[str, Any]:
        choices = [
            {"index": index, "text": text, "logprobs": None, "finish_reason": reason}
            for index in range(answer.choices)
        ]
        return _head(answer, "cmpl-", "text_completion", choices)

    bodies = [chunk(part, None) for part in answer.reply.parts]
    return _openai_events(answer, [*bodies, chunk("", answer.reply.reason)])


def _openai_events(answer: Answer, bodies: list[dict[str, Any]]) -> Iterator[Event]:
    """Chunks with text, then the finish, then a chunk for usage alone; usage where the reply says."""
    reply, usage = answer.reply, chat_usage(answer.reply)
    place = "last" if reply.usage_in == "asked" and answer.asked_for_usage else reply.usage_in
    if reply.usage is MISSING:
        place = "none"
    for index, body in enumerate(bodies):
        carried = _carried(place, usage, index, len(bodies))
        if carried is not None or answer.asked_for_usage:
            body["usage"] = carried
        yield Event(body, usage=carried)
    if place in ("last", "twice", "choice", "bare"):
        after = {**bodies[-1], "choices": _after(place, bodies), "usage": usage}
        if place == "bare":
            del after["choices"]
        yield Event(after, usage=usage)


def _after(place: str, bodies: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The choices of a chunk that is there for its usage."""
    if place != "choice":
        return []
    return [{**choice, "finish_reason": None} for choice in bodies[-1]["choices"]]


def _carried(place: str, usage: dict[str, Any] | None, index: int, total: int) -> dict[str, Any] | None:
    if usage is None:
        return None
    final = index == total - 1
    if (place == "first" and index == 0) or (final and place in ("finish", "twice", "every")):
        return usage
    if place != "every":
        return None
    done = usage["completion_tokens"] * (index + 1) // total
    running = {**usage, "completion_tokens": done, "total_tokens": usage["prompt_tokens"] + done}
    if "completion_tokens_details" in usage:
        parts = parts_of(usage, "completion_tokens_details")
        running["completion_tokens_details"] = {
            name: count * (index + 1) // total for name, count in parts.items()
        }
    return running


def _openai_error(answer: Answer) -> dict[str, Any]:
    kind = {429: "rate_limit_exceeded", 401: "invalid_api_key"}.get(answer.reply.status, "server_error")
    return {"error": {"message": "Scripted failure.", "type": kind, "param": None, "code": kind}}


# --- OpenAI: embeddings --------------------------------------------------------------------------


def _embeddings_whole(answer: Answer) -> dict[str, Any]:
    asked = answer.body.get("input")
    single = not isinstance(asked, list) or (bool(asked) and isinstance(asked[0], int))
    vector: list[float] | str = [0.25, -0.5, 0.125]
    if answer.body.get("encoding_format") == "base64":
        vector = base64.b64encode(struct.pack("<3f", 0.25, -0.5, 0.125)).decode()
    data = [
        {"object": "embedding", "index": index, "embedding": vector}
        for index in range(1 if single else len(asked or []))
    ]
    body = {"object": "list", "data": data, "model": answer.model}
    return with_usage(body, answer.reply, _embedding_usage(answer.reply))


def _embedding_usage(reply: Reply) -> dict[str, Any] | None:
    usage = chat_usage(reply)
    if usage is None or "prompt_tokens" not in usage:
        return usage
    return {"prompt_tokens": usage["prompt_tokens"], "total_tokens": usage["prompt_tokens"]}


def _no_events(answer: Answer) -> Iterator[Event]:
    raise NotImplementedError(f"embeddings do not stream: {answer.model}")


# --- OpenAI: responses ---------------------------------------------------------------------------


def _output(answer: Answer) -> list[dict[str, Any]]:
    if answer.reply.tool_calls:
        return [
            {
                "type": "function_call",
                "id": f"fc_{answer.number:04d}_{index}",
                "call_id": call["id"],
                "status": "completed",
                **call["function"],
            }
            for index, call in enumerate(tool_calls(answer))
        ]
    content = [{"type": "output_text", "text": answer.reply.text, "annotations": []}]
    item = {"type": "message", "id": f"msg_{answer.number:08d}", "status": "completed"}
    return [{**item, "role": "assistant", "content": content}]


def _responses_whole(answer: Answer) -> dict[str, Any]:
    cut = answer.reply.reason == "length"
    body = {
        "id": answer.id("resp_"),
        "object": "response",
        "created_at": CREATED,
        "status": "incomplete" if cut else "completed",
        "error": None,
        "incomplete_details": {"reason": "max_output_tokens"} if cut else None,
        "instructions": None,
        "metadata": {},
        "model": answer.model,
        "output": _output(answer),
        "parallel_tool_calls": True,
        "temperature": 1.0,
        "tool_choice": "auto",
        "tools": [],
        "top_p": 1.0,
    }
    return with_usage(body, answer.reply, responses_usage(answer.reply))


def _responses_events(answer: Answer) -> Iterator[Event]:
    whole = _responses_whole(answer)
    if answer.reply.usage_in == "none":
        whole["usage"] = None
    running = {**whole, "status": "in_progress", "output": [], "usage": None}
    for number, (kind, data, counts) in enumerate(_responses_steps(answer, whole, running)):
        usage = whole.get("usage") if kind in ("response.completed", "response.incomplete") else None
        yield Event({"type": kind, "sequence_number": number, **data}, kind, counts, usage)


def _responses_steps(
    answer: Answer, whole: dict[str, Any], running: dict[str, Any]
) -> Iterator[tuple[str, dict[str, Any], bool]]:
    yield "response.created", {"response": running}, False
    yield "response.in_progress", {"response": running}, False
    for index, item in enumerate(whole["output"]):
        place = {"output_index": index, "item_id": item["id"]}
        unfilled: dict[str, Any] = {"content": []} if item["type"] == "message" else {"arguments": ""}
        empty = {**item, "status": "in_progress", **unfilled}
        yield "response.output_item.added", {"output_index": index, "item": empty}, False
        yield from _responses_item(answer, item, place)
        yield "response.output_item.done", {"output_index": index, "item": item}, True
    yield f"response.{whole['status']}", {"response": whole}, True


def _responses_item(
    answer: Answer, item: dict[str, Any], place: dict[str, Any]
) -> Iterator[tuple[str, dict[str, Any], bool]]:
    if item["type"] == "function_call":
        arguments = item["arguments"]
        yield "response.function_call_arguments.delta", {**place, "delta": arguments}, True
        yield (
            "response.function_call_arguments.done",
            {**place, "arguments": arguments, "name": item["name"]},
            True,
        )
        return
    place = {**place, "content_index": 0}
    part = item["content"][0]
    yield "response.content_part.added", {**place, "part": {**part, "text": ""}}, False
    for text in answer.reply.parts:
        yield "response.output_text.delta", {**place, "delta": text, "logprobs": []}, True
    yield "response.output_text.done", {**place, "text": answer.reply.text, "logprobs": []}, True
    yield "response.content_part.done", {**place, "part": part}, True


CHAT: Final = Dialect(_chat_whole, _chat_events, True, _openai_error)
COMPLETIONS: Final = Dialect(_text_whole, _text_events, True, _openai_error)
EMBEDDINGS: Final = Dialect(_embeddings_whole, _no_events, False, _openai_error)
RESPONSES: Final = Dialect(_responses_whole, _responses_events, False, _openai_error)
