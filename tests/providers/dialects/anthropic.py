"""Anthropic's Messages with more in their usage: a stream's end repeats the input; cache writes by life."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

from tokentrail.demo._anthropic import MESSAGES
from tokentrail.demo._wire import Answer, Dialect, Event, anthropic_usage


def _with_lives(usage: dict[str, Any] | None) -> dict[str, Any] | None:
    written = usage.get("cache_creation_input_tokens") if usage else None
    if usage is None or written is None:
        return usage
    return {**usage, "cache_creation": {"ephemeral_5m_input_tokens": written, "ephemeral_1h_input_tokens": 0}}


def _whole(answer: Answer) -> dict[str, Any]:
    body = MESSAGES.whole(answer)
    return {**body, "usage": _with_lives(body["usage"])} if "usage" in body else body


def _events(answer: Answer) -> Iterator[Event]:
    usage = _with_lives(anthropic_usage(answer.reply))
    for event in MESSAGES.events(answer):
        if usage is None or event.usage is None or event.name != "message_delta":
            yield event
            continue
        assert isinstance(event.data, dict)
        told = {**usage, **event.usage}
        yield event._replace(data={**event.data, "usage": told}, usage=told)


ANTHROPIC: Final[Dialect] = MESSAGES._replace(whole=_whole, events=_events)
