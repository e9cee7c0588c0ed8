"""Turns of a conversation: what the user said, and everything that was done about it."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Any

from pydantic import SerializeAsAny

from tokentrail._stats._answers import Answer
from tokentrail.models import LLMCall, Message, ToolCall


class Turn(Answer):
    """One message of the user, with its answers, calls and tool calls, each oldest first."""

    message: SerializeAsAny[Message] | None
    """`None` for what happened before the user said anything."""
    replies: list[SerializeAsAny[Message]]
    llm_calls: list[SerializeAsAny[LLMCall]]
    tool_calls: list[SerializeAsAny[ToolCall]]
    status: str | None
    """That of its message."""
    started_at: datetime
    ended_at: datetime
    duration_ms: float
    total_tokens: int | None
    """Of its calls; `None` if none of them is known."""
    cost_usd: float | None


class _Making:
    """A turn in the making."""

    def __init__(self, message: Message | None) -> None:
        self.message = message
        self.replies: list[Message] = []
        self.calls: list[LLMCall] = []
        self.tools: list[ToolCall] = []

    def is_empty(self) -> bool:
        return self.message is None and not (self.replies or self.calls or self.tools)

    def turn(self) -> Turn:
        rows: list[Any] = [*filter(None, [self.message]), *self.replies, *self.calls, *self.tools]
        started = min(row.started_at for row in rows)
        ended = max(getattr(row, "ended_at", None) or row.started_at for row in rows)
        return Turn(
            message=self.message,
            replies=self.replies,
            llm_calls=self.calls,
            tool_calls=self.tools,
            status=None if self.message is None else self.message.status,
            started_at=started,
            ended_at=ended,
            duration_ms=(ended - started).total_seconds() * 1000,
            total_tokens=_sum(call.total_tokens for call in self.calls),
            cost_usd=_sum(call.cost_usd for call in self.calls),
        )


def turns(
    messages: Sequence[Message], calls: Sequence[LLMCall], tool_calls: Sequence[ToolCall]
) -> list[Turn]:
    """Everything of one conversation, turn by turn, oldest first.

    A message of the user begins a turn. What names a message belongs to that message's turn; what names none
    belongs to the turn that had begun when it started. (The seed's rule, `SEEDS` D, LangBot 10.)

    Args:
        messages: oldest first, as the others.
        calls: to models.
        tool_calls: made for them.
    """
    made = [_Making(None), *(_Making(message) for message in messages if message.role == "user")]
    begun = [turn.message.started_at for turn in made[1:] if turn.message is not None]
    of_message = {turn.message.id: turn for turn in made[1:] if turn.message is not None}

    def turn_of(named: str | None, moment: datetime) -> _Making:
        known = None if named is None else of_message.get(named)
        return made[bisect_right(begun, moment)] if known is None else known

    for message in messages:
        if message.role != "user":
            turn = of_message[message.id] = turn_of(message.parent_id, message.started_at)
            turn.replies.append(message)
    for call in calls:
        turn_of(call.message_id, call.started_at).calls.append(call)
    for tool in tool_calls:
        turn_of(tool.message_id, tool.started_at).tools.append(tool)
    return [turn.turn() for turn in made if not turn.is_empty()]


def _sum(values: Iterable[Any]) -> Any:
    known = [value for value in values if value is not None]
    return sum(known) if known else None
