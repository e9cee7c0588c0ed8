"""Questions whose answers are rows: calls, page by page."""

from __future__ import annotations

from typing import Any, Unpack

from tokentrail._stats._answers import CallPage
from tokentrail._stats._arguments import MOST_CALLS, MOST_OFFSET, FilterArguments, Offset, PageSize
from tokentrail._stats._asking import Asking
from tokentrail._stats._places import cursor_after, place_of
from tokentrail.errors import QueryError
from tokentrail.models import LLMCall


class Lists(Asking):
    """`Stats`, the part that lists."""

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
        if limit < 1:
            raise QueryError(f"limit: {limit} is below 1.")
        if offset < 0:
            raise QueryError(f"offset: {offset} is below 0.")
        asked, ask = self._begin(**where), self._ask()
        most, left_out = min(limit, MOST_CALLS), min(offset, MOST_OFFSET)
        after = None if cursor is None else place_of(cursor)
        (all_calls,) = ask(("calls",), asked)
        items = self._opened().scan(asked, limit=most + 1, after=after, offset=left_out)
        page = items[:most]
        return CallPage(
            items=page,
            total=all_calls["calls"],
            limit=most,
            offset=left_out,
            next_cursor=cursor_after(page[-1]) if len(items) > most else None,
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
