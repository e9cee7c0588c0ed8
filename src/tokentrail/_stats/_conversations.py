"""Questions about what stands beside calls: messages, tool calls, feedback, errors."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Any, Final, TypeVar, Unpack

from tokentrail._query import NEIGHBOUR_FILTERS, Exact, Filters
from tokentrail._records import FAILED, to_us
from tokentrail._stats._amounts import AMOUNTS, amounts
from tokentrail._stats._answers import Amounts
from tokentrail._stats._arguments import FilterArguments, Offset, PageSize, Text
from tokentrail._stats._ask import Ask
from tokentrail._stats._asking import Asking
from tokentrail._stats._conversation_answers import (
    CallStats,
    ErrorItem,
    ErrorPage,
    FeedbackPage,
    FeedbackStats,
    MessageDetails,
    MessagePage,
    Opinions,
    OpinionsItem,
    Reason,
    ToolCallPage,
    ToolStats,
)
from tokentrail._stats._places import cursor_after, page_bounds, place_of
from tokentrail.models import ErrorRecord, Feedback, LLMCall, Message, Neighbour, ToolCall

DETAILS: Final = 2_000
"""Rows in each list of an answer about one message or conversation."""
_RATED: Final = ("like", "dislike")
_Row = TypeVar("_Row")
_Beside = TypeVar("_Beside", bound=Neighbour)
_OpinionsT = TypeVar("_OpinionsT", bound=Opinions)


class Conversations(Asking):
    """`Stats`, the part about what stands beside calls.

    They take the filters that calls take. A field that a message or tool call does not have (`model`, …) is
    unknown there, so a filter on it finds none.
    """

    def messages(
        self,
        limit: PageSize = 100,
        cursor: str | None = None,
        *,
        offset: Offset = 0,
        role: Text = None,
        level: Text = None,
        platform: Text = None,
        **where: Unpack[FilterArguments],
    ) -> MessagePage:
        """Messages, newest first, page by page; `status` is `pending`, `success`, `error` or `discarded`.

        Args:
            limit: how many; at most 10,000.
            cursor: `next_cursor` of the page before.
            offset: how many to leave out first; a cursor is quicker, and its pages never overlap.
            role: `user`, `assistant`, …
            level: `info`, `warning`, `error`, …
            platform: where it was written.
            where: filters.
        """
        asked = self._asked(where, role=role, level=level, platform=platform)
        items, page = self._page(Message, asked, limit, cursor, offset)
        return MessagePage(items=items, **page)

    def tool_calls(
        self,
        limit: PageSize = 100,
        cursor: str | None = None,
        *,
        offset: Offset = 0,
        tool_name: Text = None,
        tool_source: Text = None,
        message_id: Text = None,
        **where: Unpack[FilterArguments],
    ) -> ToolCallPage:
        """Tool calls, newest first, page by page.

        Args:
            limit: how many; at most 10,000.
            cursor: `next_cursor` of the page before.
            offset: how many to leave out first; a cursor is quicker, and its pages never overlap.
            tool_name: only calls of this tool; * and ? are allowed.
            tool_source: `native`, `plugin`, `mcp`, `skill`, …
            message_id: only those made for this message.
            where: filters.
        """
        asked = self._asked(where, tool_name=tool_name, tool_source=tool_source, message_id=message_id)
        items, page = self._page(ToolCall, asked, limit, cursor, offset)
        return ToolCallPage(items=items, **page)

    def feedback(
        self,
        limit: PageSize = 100,
        cursor: str | None = None,
        *,
        offset: Offset = 0,
        feedback_type: Text = None,
        message_id: Text = None,
        **where: Unpack[FilterArguments],
    ) -> FeedbackPage:
        """Feedback, newest first, page by page; what was cancelled is gone.

        Args:
            limit: how many; at most 10,000.
            cursor: `next_cursor` of the page before.
            offset: how many to leave out first; a cursor is quicker, and its pages never overlap.
            feedback_type: `like` or `dislike`.
            message_id: only what is about this message.
            where: filters.
        """
        asked = self._asked(where, feedback_type=feedback_type or _RATED, message_id=message_id)
        items, page = self._page(Feedback, asked, limit, cursor, offset)
        return FeedbackPage(items=items, **page)

    def feedback_stats(
        self, *, feedback_type: Text = None, message_id: Text = None, **where: Unpack[FilterArguments]
    ) -> FeedbackStats:
        """Likes and dislikes, in sum, by client and by agent, and the reasons that were given.

        Args:
            feedback_type: `like` or `dislike`; default both.
            message_id: only what is about this message.
            where: filters.
        """
        asked = self._asked(where, feedback_type=feedback_type or _RATED, message_id=message_id)
        store = self._opened()
        said = store.tally(Feedback, asked, ("feedback_type",))
        reasons: Counter[str] = Counter()
        for given, count, *_ in store.tally(Feedback, asked, ("inaccurate_reasons",)):
            reasons.update(dict.fromkeys(given or (), count))
        return _opinions(
            FeedbackStats,
            ((kind, count) for kind, count, *_ in said),
            by_client=self._opinions_by("client", asked),
            by_agent=self._opinions_by("agent", asked),
            reasons=[
                Reason(reason=reason, count=count)
                for reason, count in sorted(reasons.items(), key=lambda each: (-each[1], each[0]))
            ],
        )

    def _opinions_by(self, what: str, asked: Filters) -> list[OpinionsItem]:
        groups: dict[str | None, list[tuple[str, str, int, int, int]]] = {}
        fields = (f"{what}_id", f"{what}_name", "feedback_type")
        for key, *told in self._opened().tally(Feedback, asked, fields):
            groups.setdefault(key, []).append(tuple(told))
        items = []
        for key, members in groups.items():
            names = [(latest, name) for name, _, _, _, latest in members if name is not None]
            said = ((kind, count) for _, kind, count, _, _ in members)
            items.append(_opinions(OpinionsItem, said, key=key, name=max(names)[1] if names else None))
        return sorted(items, key=lambda item: (-item.total, item.key is None, item.key or ""))

    def errors(
        self,
        limit: PageSize = 100,
        cursor: str | None = None,
        *,
        offset: Offset = 0,
        error_type: Text = None,
        message_id: Text = None,
        **where: Unpack[FilterArguments],
    ) -> ErrorPage:
        """What failed or timed out, newest first: calls, tool calls, and errors that were told by themselves.

        Args:
            limit: how many; at most 10,000.
            cursor: `next_cursor` of the page before.
            offset: how many to leave out first; a cursor is quicker, and its pages never overlap.
            error_type: only this kind of error, such as `RateLimitError`; * and ? are allowed.
            message_id: only those of this message.
            where: filters.
        """
        most, left_out = page_bounds(limit, offset)
        asked = self._asked(where, error_type=error_type, message_id=message_id)
        after = None if cursor is None else place_of(cursor)
        items = self._failures(asked, left_out + most + 1, after)[left_out:]
        page = items[:most]
        return ErrorPage(
            items=page,
            total=self._count_failures(asked),
            limit=most,
            offset=left_out,
            next_cursor=cursor_after(page[-1]) if len(items) > most else None,
        )

    def message_details(self, message_id: str, **where: Unpack[FilterArguments]) -> MessageDetails | None:
        """A message with its answers, calls, tool calls, errors and feedback; `None` if it is not there.

        Args:
            message_id: `id` of the message.
            where: filters that the message must pass.
        """
        asked = self._asked(where, id=Exact(message_id))
        store = self._opened()
        found = store.beside(Message, asked, limit=1)
        if not found:
            return None
        of_it = Filters(wanted={"message_id": (Exact(message_id),)})
        answers = Filters(wanted={"parent_id": (Exact(message_id),)})
        opinions = replace(of_it, wanted={**of_it.wanted, "feedback_type": _RATED})
        calls = store.scan(of_it, limit=DETAILS + 1)
        replies = store.beside(Message, answers, limit=DETAILS + 1)
        tools = store.beside(ToolCall, of_it, limit=DETAILS + 1)
        feedback = store.beside(Feedback, opinions, limit=DETAILS + 1)
        errors = self._failures(of_it, DETAILS + 1)
        (used,) = Ask(store)(AMOUNTS, of_it)
        return MessageDetails(
            message=found[0],
            replies=oldest_first(replies),
            llm_calls=oldest_first(calls),
            llm_stats=call_stats(used),
            tool_calls=oldest_first(tools),
            tool_stats=tool_stats(oldest_first(tools)),
            errors=oldest_first(errors),
            feedback=oldest_first(feedback),
            detail_truncated=max(len(calls), len(replies), len(tools), len(feedback), len(errors)) > DETAILS,
        )

    # --- pieces ----------------------------------------------------------------------------------

    def _asked(self, where: Any, **more: Any) -> Filters:
        return self._begin(known=NEIGHBOUR_FILTERS, **where, **more)

    def _page(
        self, table: type[_Beside], asked: Filters, limit: int, cursor: str | None, offset: int
    ) -> tuple[list[_Beside], dict[str, Any]]:
        most, left_out = page_bounds(limit, offset)
        store = self._opened()
        after = None if cursor is None else place_of(cursor)
        items = store.beside(table, asked, limit=most + 1, after=after, offset=left_out)
        page = items[:most]
        return page, {
            "total": _count(store.tally(table, asked)),
            "limit": most,
            "offset": left_out,
            "next_cursor": cursor_after(page[-1]) if len(items) > most else None,
        }

    def _failures(self, asked: Filters, limit: int, after: tuple[int, str] | None = None) -> list[ErrorItem]:
        store, failed = self._opened(), _failed(asked)
        found: list[Any] = [
            *store.scan(failed, limit=limit, after=after),
            *store.beside(ToolCall, failed, limit=limit, after=after),
            *store.beside(ErrorRecord, asked, limit=limit, after=after),
        ]
        found.sort(key=lambda row: (to_us(row.started_at), row.id), reverse=True)
        return [error_item(row) for row in found[:limit]]

    def _count_failures(self, asked: Filters) -> int:
        store, failed = self._opened(), _failed(asked)
        (calls,) = Ask(store)(("calls",), failed.since(store.kept_since()))
        beside = store.tally(ToolCall, failed), store.tally(ErrorRecord, asked)
        return int(calls["calls"]) + sum(map(_count, beside))


def oldest_first(rows: list[_Row]) -> list[_Row]:
    """The newest of some rows that came newest first, the other way round."""
    return rows[:DETAILS][::-1]


def _count(tally: Sequence[tuple[Any, ...]]) -> int:
    return sum(count for *_, count, _, _ in tally)


def _failed(asked: Filters) -> Filters:
    """Of calls and tool calls those that failed, and of those the ones that were asked for."""
    return replace(asked, wanted={"status": FAILED, **asked.wanted})


def _opinions(answer: type[_OpinionsT], said: Iterable[tuple[str, int]], **more: Any) -> _OpinionsT:
    counts: Counter[str] = Counter()
    for kind, count in said:
        counts[kind] += count
    total = counts.total()
    return answer(
        total=total,
        likes=counts["like"],
        dislikes=counts["dislike"],
        satisfaction_rate=counts["like"] / total if total else None,
        **more,
    )


def call_stats(used: Any) -> CallStats:
    """Amounts of calls, also under the names that the details of a message have."""
    plain = amounts(Amounts, used)
    return CallStats(
        **plain.model_dump(), tokens=plain.total_tokens, average_duration_ms=plain.avg_duration_ms
    )


def tool_stats(tools: Sequence[ToolCall]) -> ToolStats:
    """How some tool calls went."""
    measured = [tool.duration_ms for tool in tools if tool.duration_ms is not None]
    return ToolStats(
        total=len(tools),
        success=sum(tool.status == "success" for tool in tools),
        error=sum(tool.status in FAILED for tool in tools),
        average_duration_ms=sum(measured) / len(measured) if measured else None,
        by_tool=dict(Counter(tool.tool_name or "" for tool in tools).most_common()),
    )


def error_item(row: LLMCall | ToolCall | ErrorRecord) -> ErrorItem:
    """A failure, whatever it is a failure of."""
    told: dict[str, Any] = {"status": "error", "level": None, "call_id": None, "name": None}
    told.update((name, getattr(row, name)) for name in ErrorItem.model_fields if hasattr(row, name))
    if isinstance(row, LLMCall):
        told.update(kind="call", name=row.model or row.requested_model, call_id=row.id)
    elif isinstance(row, ToolCall):
        told.update(kind="tool_call", name=row.tool_name, call_id=row.parent_id)
    else:
        told.update(kind="error")
    return ErrorItem(**told)
