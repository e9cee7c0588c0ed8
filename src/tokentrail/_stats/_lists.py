"""Questions whose answers are rows: calls and sessions, page by page."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, Final, Unpack

from pydantic import SerializeAsAny

from tokentrail._measures import SIZE
from tokentrail._query import Exact, Filters
from tokentrail._stats._amounts import OVERVIEW, amounts, lasting
from tokentrail._stats._answers import CallPage, Found
from tokentrail._stats._arguments import (
    Count,
    FilterArguments,
    LargeOf,
    Minutes,
    Offset,
    PageSize,
)
from tokentrail._stats._ask import Ask
from tokentrail._stats._asking import Asking
from tokentrail._stats._places import cursor_after, cursor_at, page_bounds, place_of
from tokentrail._stats._requests import ClientUsageData, client_usage
from tokentrail._stats._sessions import RunUsage, SessionPage, session_groups, session_items, whose
from tokentrail.errors import QueryError
from tokentrail.models import LLMCall

_MINUTE_US: Final = 60_000_000
_SIZES: Final = {"both": SIZE, "request": "request_bytes", "response": "response_bytes"}


class LargeCalls(Found):
    """Calls of many bytes, the largest first."""

    items: list[SerializeAsAny[LLMCall]]
    min_bytes: int
    of: str
    limit: int
    """The one in force, which may be lower than the one asked for."""
    offset: int
    truncated: bool
    """Whether there are more."""


class Lists(Asking):
    """`Stats`, the part that lists."""

    # --- calls -----------------------------------------------------------------------------------

    def calls(
        self,
        limit: PageSize = 100,
        cursor: str | None = None,
        *,
        offset: Offset = 0,
        **where: Unpack[FilterArguments],
    ) -> CallPage:
        """Calls, newest first, page by page.

        Args:
            limit: how many; at most 10,000.
            cursor: `next_cursor` of the page before. Pages never overlap, whatever is written meanwhile.
            offset: how many to leave out first; a cursor is quicker, and its pages never overlap.
            where: filters.
        """
        most, left_out = page_bounds(limit, offset)
        after = None if cursor is None else place_of(cursor)
        ask, asked = self._question(**where)
        (all_calls,) = ask(("calls",), asked.since(ask.store.kept_since()))
        items = ask.store.scan(asked, limit=most + 1, after=after, offset=left_out)
        page = items[:most]
        return CallPage(
            items=page,
            total=all_calls["calls"],
            limit=most,
            offset=left_out,
            next_cursor=cursor_after(page[-1]) if len(items) > most else None,
            method=ask.method,
        )

    def find_large(
        self,
        min_bytes: Count = 1_000_000,
        *,
        of: LargeOf = "both",
        limit: PageSize = 100,
        offset: Offset = 0,
        **where: Unpack[FilterArguments],
    ) -> LargeCalls:
        """Calls of at least so many bytes, the largest first.

        Args:
            min_bytes: how large at least.
            of: the `request`, the `response`, or `both` together.
            limit: how many; at most 10,000.
            offset: how many to leave out.
            where: filters.
        """
        if of not in _SIZES:
            raise QueryError(f"of: {of!r} is unknown. There are: {', '.join(_SIZES)}.")
        (most, left_out), size = page_bounds(limit, offset), _SIZES[of]
        ask, asked = self._question(**where)
        large = (size, "at_least", min_bytes)
        items = ask.store.scan(asked, limit=most + 1, offset=left_out, when=(large,), largest=size)
        return LargeCalls(
            items=items[:most],
            min_bytes=min_bytes,
            of=of,
            limit=most,
            offset=left_out,
            truncated=len(items) > most,
            method=ask.method,
        )

    def find(self, *, limit: int = 100, **where: Any) -> list[LLMCall]:
        """Calls, newest first, by any field of theirs that is a text or true or false."""
        return self._opened().scan(self._begin(**where), limit=limit)

    def call(self, call_id: str) -> LLMCall | None:
        """One ended call by its id, or `None`.

        Args:
            call_id: `id` of the call.
        """
        self._before()
        return self._opened().get(call_id)

    def payload(self, call_id: str) -> dict[str, str | None]:
        """`request` and `response` of a call as JSON text; `None` where nothing was captured."""
        self._before()
        return self._opened().payload(call_id)

    # --- sessions and runs -----------------------------------------------------------------------

    def sessions(
        self,
        limit: PageSize = 100,
        cursor: str | None = None,
        *,
        is_active: bool | None = None,
        active_minutes: Minutes = 30,
        **where: Unpack[FilterArguments],
    ) -> SessionPage:
        """Conversations, the last active first, page by page: those with a call that passes the filters.

        What a session used is all of it, from its first call to its last.

        Args:
            limit: how many; at most 10,000.
            cursor: `next_cursor` of the page before.
            is_active: only those that still go on, or only those that do not.
            active_minutes: a session goes on until so many minutes after its last call began.
            where: filters.
        """
        most, _ = page_bounds(limit)
        after = None if cursor is None else place_of(cursor)
        if active_minutes < 0:
            raise QueryError(f"active_minutes: {active_minutes} is below 0.")
        since = self._now() - active_minutes * _MINUTE_US
        ask, asked = self._question(**where)
        if is_active is False and after is None:
            after = (since - 1, "")  # where those that go on end
        recent = since if is_active else None
        groups = session_groups(ask, asked, active_since=recent, limit=most + 1, after=after)
        page = groups[:most]
        total = _count(ask, asked, since, is_active)
        return SessionPage(
            items=session_items(ask, page, since, whose(asked)),
            total=total,
            limit=most,
            next_cursor=_after_session(page[-1]) if len(groups) > most else None,
            active_minutes=active_minutes,
            method=ask.method,
        )

    def run_usage(  # type: ignore[misc]  # its own `run_id` stands before the filter of that name
        self, run_id: str, **where: Unpack[FilterArguments]
    ) -> RunUsage | None:
        """What one run (of an agent, a chain, a job) used, over all of its steps; `None` if it has no call.

        Args:
            run_id: `run_id` of its calls.
            where: filters.
        """
        ask, asked = self._question(**where)
        asked = replace(asked, wanted={**asked.wanted, "run_id": (Exact(run_id),)})
        (group,) = ask(OVERVIEW, asked)
        if not group["calls"]:
            return None
        return amounts(
            RunUsage, group, run_id=run_id, models=group["models"], **lasting(group), method=ask.method
        )

    # --- in the words of `UsageInfo` -------------------------------------------------------------

    def client_usage(self, recent: PageSize = 10, **where: Unpack[FilterArguments]) -> ClientUsageData:
        """What a client used: by model, and its newest requests. Totals are over all of them.

        Args:
            recent: how many of the newest requests.
            where: filters; `client_id` says which client.
        """
        most, _ = page_bounds(recent)
        ask, asked = self._question(**where)
        client_id = where.get("client_id")
        newest = ask.store.scan(asked, limit=most)
        return client_usage(ask, asked, client_id if isinstance(client_id, str) else None, newest)


def _count(ask: Ask, asked: Filters, since: int, is_active: bool | None) -> int:
    (every,) = ask(("sessions",), asked)
    if is_active is None:
        return int(every["sessions"])
    going_on = replace(asked, start_us=since if asked.start_us is None else max(since, asked.start_us))
    active = 0
    if going_on.end_us is None or going_on.end_us > since:
        (recent,) = ask(("sessions",), going_on)
        active = recent["sessions"]
    return int(active if is_active else every["sessions"] - active)


def _after_session(group: dict[str, Any]) -> str:
    return cursor_at(group["last_started_at"], group["session_id"])
