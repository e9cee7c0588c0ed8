"""One conversation from its first message to its last, turn by turn."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any, Final, Unpack

from pydantic import SerializeAsAny

from tokentrail._query import Exact
from tokentrail._records import from_us
from tokentrail._stats._amounts import OVERVIEW
from tokentrail._stats._answers import Answer
from tokentrail._stats._arguments import FilterArguments, Minutes
from tokentrail._stats._ask import Ask
from tokentrail._stats._conversation_answers import CallStats, ErrorItem, ToolStats
from tokentrail._stats._conversations import DETAILS, Conversations, call_stats, oldest_first, tool_stats
from tokentrail._stats._turns import Turn, turns
from tokentrail.models import Message, SessionActivity, ToolCall

_NAMES: Final = ("user_id", "client_id", "agent_id", "agent_name", "user_name", "platform")


class MessageStats(Answer):
    """How messages ended."""

    total: int
    success: int
    error: int
    pending: int
    discarded: int


class SessionSummary(Answer):
    """A conversation in short."""

    session_id: str
    user_id: str | None
    user_name: str | None
    client_id: str | None
    agent_id: str | None
    agent_name: str | None
    platform: str | None
    message_count: int
    call_count: int
    start_time: datetime
    last_activity: datetime
    """When its last message, call or tool call began, or `Tracker.session` was last told."""
    is_active: bool


class SessionAnalysis(Answer):
    """A conversation with all that was done in it."""

    found: bool
    """Whether anything is known of it."""
    session: SessionSummary | None
    message_stats: MessageStats
    llm_stats: CallStats
    tool_calls: list[SerializeAsAny[ToolCall]]
    """Oldest first, as everything here."""
    tool_stats: ToolStats
    errors: list[ErrorItem]
    turns: list[Turn]
    session_duration_seconds: float | None
    detail_truncated: bool
    """Whether there is more than turns and lists show: they hold the newest 2,000 of each. Sums are whole."""


class Analysis(Conversations):
    """`Stats`, the part that looks at one conversation."""

    def session_analysis(  # type: ignore[misc]  # its own `session_id` stands before the filter of that name
        self, session_id: str, *, active_minutes: Minutes = 30, **where: Unpack[FilterArguments]
    ) -> SessionAnalysis:
        """A conversation turn by turn, with its calls, tool calls, errors and sums; `found` if it is known.

        Args:
            session_id: `session_id` of its messages and calls.
            active_minutes: it goes on until so many minutes after its last activity.
            where: filters.
        """
        asked = self._asked(where, session_id=Exact(session_id))
        store = self._opened()
        (used,) = Ask(store)(OVERVIEW, asked)
        calls = store.scan(asked, limit=DETAILS + 1)
        messages = store.beside(Message, asked, limit=DETAILS + 1)
        tools = store.beside(ToolCall, asked, limit=DETAILS + 1)
        errors = self._failures(asked, DETAILS + 1)
        ended = store.tally(Message, asked, ("status",))
        told = [*store.beside(SessionActivity, asked, limit=100), *messages, *calls, *tools]
        spans = _spans(used, [*ended, *store.tally(ToolCall, asked)], told)
        counts = {status: count for status, count, *_ in ended}
        summary = None
        if spans:
            summary = SessionSummary(
                session_id=session_id,
                message_count=sum(counts.values()),
                call_count=used["calls"],
                start_time=min(spans),
                last_activity=max(spans),
                is_active=max(spans) >= from_us(self._now()) - timedelta(minutes=active_minutes),
                **{name: _first(told, name) for name in _NAMES},
            )
        lists: Sequence[Sequence[Any]] = (calls, messages, tools, errors)
        return SessionAnalysis(
            found=bool(spans),
            session=summary,
            message_stats=_message_stats(counts),
            llm_stats=call_stats(used),
            tool_calls=oldest_first(tools),
            tool_stats=tool_stats(oldest_first(tools)),
            errors=oldest_first(errors),
            turns=turns(oldest_first(messages), oldest_first(calls), oldest_first(tools)),
            session_duration_seconds=(max(spans) - min(spans)).total_seconds() if spans else None,
            detail_truncated=any(len(rows) > DETAILS for rows in lists),
        )


def _spans(used: dict[str, Any], tallies: Sequence[tuple[Any, ...]], told: Sequence[Any]) -> list[datetime]:
    """The moments that a conversation lies between."""
    known = [used["first_started_at"], used["last_started_at"]]
    known += [moment for *_, first, last in tallies for moment in (first, last)]
    activity = [row for row in told if isinstance(row, SessionActivity)]
    return [
        *(from_us(moment) for moment in known if moment is not None),
        *(moment for row in activity for moment in (row.started_at, row.last_activity)),
    ]


def _first(rows: Sequence[Any], name: str) -> Any:
    """What the first of them says that says it: sessions, then the newest messages, calls and tool calls."""
    values = (getattr(row, name, None) for row in rows)
    return next((value for value in values if value is not None), None)


def _message_stats(counts: dict[str, int]) -> MessageStats:
    names = ("success", "error", "pending", "discarded")
    return MessageStats(total=sum(counts.values()), **{name: counts.get(name, 0) for name in names})
