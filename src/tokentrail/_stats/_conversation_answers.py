"""The answers about messages, tool calls, feedback and errors."""

from __future__ import annotations

from datetime import datetime

from pydantic import SerializeAsAny

from tokentrail._stats._answers import Amounts, Answer, CallPage, Overview
from tokentrail._stats._sessions import SessionPage
from tokentrail.models import Feedback, LLMCall, Message, ToolCall


class Page(Answer):
    """Some rows, newest first."""

    total: int
    limit: int
    """The one in force, which may be lower than the one asked for."""
    offset: int
    next_cursor: str | None


class MessagePage(Page):
    """Some messages, newest first."""

    items: list[SerializeAsAny[Message]]


class ToolCallPage(Page):
    """Some tool calls, newest first."""

    items: list[SerializeAsAny[ToolCall]]


class FeedbackPage(Page):
    """Some feedback, newest first."""

    items: list[SerializeAsAny[Feedback]]


class ErrorItem(Answer):
    """Something that failed: a call, a tool call, or an error that was told by itself."""

    id: str
    kind: str
    """`call`, `tool_call` or `error`."""
    started_at: datetime
    status: str
    """`error` or `timeout`."""
    level: str | None
    error_type: str | None
    error_message: str | None
    stack_trace: str | None
    name: str | None
    """The model or the tool."""
    call_id: str | None
    """The call that it belongs to, or is."""
    message_id: str | None
    organization_id: str | None
    project_id: str | None
    client_id: str | None
    user_id: str | None
    agent_id: str | None
    session_id: str | None
    run_id: str | None


class ErrorPage(Page):
    """Some errors, newest first."""

    items: list[ErrorItem]


class CallStats(Amounts):
    """What the calls of a message or a conversation used."""

    tokens: int | None
    """The same as `total_tokens`."""
    average_duration_ms: float | None
    """The same as `avg_duration_ms`."""


class ToolStats(Answer):
    """How the tool calls of a message or a conversation went."""

    total: int
    success: int
    error: int
    """Errors and timeouts."""
    average_duration_ms: float | None
    by_tool: dict[str, int]
    """How often each was called."""


class MessageDetails(Answer):
    """A message and all that was done for it."""

    message: SerializeAsAny[Message]
    replies: list[SerializeAsAny[Message]]
    """Messages that answer it, oldest first."""
    llm_calls: list[SerializeAsAny[LLMCall]]
    """Oldest first, as everything here."""
    llm_stats: CallStats
    """Over all of its calls, also those beyond `detail_truncated`."""
    tool_calls: list[SerializeAsAny[ToolCall]]
    tool_stats: ToolStats
    errors: list[ErrorItem]
    feedback: list[SerializeAsAny[Feedback]]
    detail_truncated: bool
    """Whether one of the lists is cut."""


class Reason(Answer):
    """How often feedback named a reason."""

    reason: str
    count: int


class Opinions(Answer):
    """What was thought, in numbers."""

    total: int
    likes: int
    dislikes: int
    satisfaction_rate: float | None
    """From 0 to 1: likes of all; `None` if there is no feedback."""


class OpinionsItem(Opinions):
    """What was thought of one client or agent."""

    key: str | None
    name: str | None
    """The newest name it was given."""


class FeedbackStats(Opinions):
    """What was thought, in sum, and by whom it was about. Cancelled feedback counts nowhere."""

    by_client: list[OpinionsItem]
    by_agent: list[OpinionsItem]
    reasons: list[Reason]
    """Most frequent first."""


class Data(Answer):
    """Everything at a first glance, as it was at one moment."""

    overview: Overview
    messages: MessagePage
    llm_calls: CallPage
    embedding_calls: CallPage
    """Those of embedding models once more by themselves."""
    tool_calls: ToolCallPage
    sessions: SessionPage
    errors: ErrorPage
    feedback: FeedbackPage
    total_count: dict[str, int]
    """How many rows each list has in all."""
