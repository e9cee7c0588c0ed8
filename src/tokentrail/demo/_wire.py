"""How each endpoint writes an answer down: whole bodies, events of a stream, and names of counts."""

from __future__ import annotations

import email
import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final, NamedTuple

from tokentrail.demo._reply import MISSING, Reply

CREATED: Final = 1_767_225_600
"""2026-01-01: a fixed `created`, since nobody should read the time of a call from it."""


class Event(NamedTuple):
    """One event of a stream; `counts` from the first one with text on, so that endpoints compare."""

    data: dict[str, Any] | str
    name: str | None = None
    counts: bool = True
    usage: dict[str, Any] | None = None


@dataclass(frozen=True, slots=True)
class Answer:
    """A reply to one request, with the names both sides use for it."""

    reply: Reply
    body: Mapping[str, Any]
    number: int

    @property
    def model(self) -> str:
        return self.reply.model if self.reply.model is not None else str(self.body.get("model", ""))

    @property
    def choices(self) -> int:
        asked = self.body.get("n")
        return self.reply.n if self.reply.n is not None else asked if isinstance(asked, int) else 1

    def id(self, prefix: str) -> str:
        return self.reply.id if self.reply.id is not None else f"{prefix}{self.number:08d}"

    @property
    def asked_for_usage(self) -> bool:
        options = self.body.get("stream_options")
        return isinstance(options, Mapping) and options.get("include_usage") is True


# --- usage ---------------------------------------------------------------------------------------


def chat_usage(reply: Reply) -> dict[str, Any] | None:
    return dict(reply.usage) if isinstance(reply.usage, Mapping) else None


def parts_of(usage: Mapping[str, Any], key: str) -> Mapping[str, Any]:
    parts = usage.get(key)
    return parts if isinstance(parts, Mapping) else {}


def responses_usage(reply: Reply) -> dict[str, Any] | None:
    usage = chat_usage(reply)
    if usage is None or "input_tokens" in usage:
        return usage
    return {
        "input_tokens": usage.get("prompt_tokens"),
        "input_tokens_details": {"cached_tokens": 0, **parts_of(usage, "prompt_tokens_details")},
        "output_tokens": usage.get("completion_tokens"),
        "output_tokens_details": {"reasoning_tokens": 0, **parts_of(usage, "completion_tokens_details")},
        "total_tokens": usage.get("total_tokens"),
    }


def anthropic_usage(reply: Reply) -> dict[str, Any] | None:
    """Anthropic counts cached input beside `input_tokens`, not inside."""
    usage = chat_usage(reply)
    if usage is None or not isinstance(usage.get("prompt_tokens"), int):
        return usage
    details = parts_of(usage, "prompt_tokens_details")
    read, written = details.get("cached_tokens", 0), details.get("cache_creation_tokens", 0)
    return {
        "input_tokens": usage["prompt_tokens"] - read - written,
        "cache_read_input_tokens": read,
        "cache_creation_input_tokens": written,
        "output_tokens": usage.get("completion_tokens"),
    }


def counts_of(usage: Mapping[str, Any]) -> dict[str, int]:
    """The counts of a usage as sent, in the ledger's names; only what is a count."""
    anthropic = "input_tokens" in usage and "total_tokens" not in usage
    read, written = usage.get("cache_read_input_tokens"), usage.get("cache_creation_input_tokens")
    inputs = parts_of(usage, "prompt_tokens_details") or parts_of(usage, "input_tokens_details")
    outputs = parts_of(usage, "completion_tokens_details") or parts_of(usage, "output_tokens_details")
    whole = usage.get("prompt_tokens", usage.get("input_tokens"))
    if anthropic and isinstance(whole, int):
        whole += sum(part for part in (read, written) if isinstance(part, int))
    found = {
        "input_tokens": whole,
        "output_tokens": usage.get("completion_tokens", usage.get("output_tokens")),
        "cache_read_tokens": inputs.get("cached_tokens", read),
        "cache_creation_tokens": inputs.get("cache_creation_tokens", written),
        "reasoning_tokens": outputs.get("reasoning_tokens"),
    }
    counts = {name: as_count(count) for name, count in found.items()}
    return {name: count for name, count in counts.items() if count is not None}


def as_count(value: object) -> int | None:
    """A count, however a provider has written it (fractions are cut); nothing if it is none."""
    if isinstance(value, str) and value.isdecimal():
        return int(value)
    if isinstance(value, bool) or not isinstance(value, (int, float)) or value < 0:
        return None
    return int(value)


# --- endpoints -----------------------------------------------------------------------------------


def asked_in_body(_: str, body: Mapping[str, Any]) -> tuple[str, bool]:
    """The model that a request asks, and whether for a stream, where its body says both."""
    return str(body.get("model", "")), body.get("stream") is True


def told_in_body(whole: Mapping[str, Any]) -> Any:
    """The usage in a whole answer, where it is called so."""
    return whole.get("usage")


def fields_of(raw: bytes, content_type: str) -> dict[str, Any]:
    """The fields of a request: JSON, or those of a form that are no files."""
    if not content_type.startswith("multipart/form-data"):
        body: dict[str, Any] = json.loads(raw) if raw else {}
        return body
    form = email.message_from_bytes(b"content-type: %b\r\n\r\n%b" % (content_type.encode(), raw))
    parts = [part for part in form.walk() if not part.is_multipart() and part.get_filename() is None]
    return {
        str(part.get_param("name", header="content-disposition")): str(part.get_payload()) for part in parts
    }


def sse(event: Event) -> bytes:
    """An event as server-sent events are written."""
    data = event.data if isinstance(event.data, str) else json.dumps(event.data)
    return ((f"event: {event.name}\n" if event.name else "") + f"data: {data}\n\n").encode()


class Dialect(NamedTuple):
    """One endpoint: its whole answer, its stream, its names for usage, its errors."""

    whole: Callable[[Answer], dict[str, Any]]
    events: Callable[[Answer], Iterator[Event]]
    done: bool
    """Whether a stream ends with `[DONE]`."""
    error: Callable[[Answer], dict[str, Any]]
    asked: Callable[[str, Mapping[str, Any]], tuple[str, bool]] = asked_in_body
    """Path and body of a request → its model, and whether it wants a stream."""
    told: Callable[[Mapping[str, Any]], Any] = told_in_body
    """The usage in a whole answer."""
    counts: Callable[[Mapping[str, Any]], dict[str, int]] = counts_of
    """A usage in the ledger's names."""
    frame: Callable[[Event], bytes] = sse
    """How an event of a stream is written, and its `content_type`."""
    content_type: str = "text/event-stream"


# --- pieces that dialects share ------------------------------------------------------------------


def tool_calls(answer: Answer) -> list[dict[str, Any]]:
    return [
        {
            "id": call.get("id", f"call_{answer.number:04d}_{index}"),
            "type": "function",
            "function": {"name": call["name"], "arguments": _arguments(call)},
        }
        for index, call in enumerate(answer.reply.tool_calls)
    ]


def _arguments(call: Mapping[str, Any]) -> str:
    arguments = call.get("arguments", {})
    return arguments if isinstance(arguments, str) else json.dumps(arguments)


def with_usage(body: dict[str, Any], reply: Reply, usage: dict[str, Any] | None) -> dict[str, Any]:
    return body if reply.usage is MISSING else {**body, "usage": usage}
