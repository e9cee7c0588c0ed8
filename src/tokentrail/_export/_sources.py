"""Rows out of a store, newest first, some thousand at a time; none twice, whatever comes meanwhile."""

from __future__ import annotations

import heapq
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import islice
from typing import TYPE_CHECKING, Any, Final, NamedTuple, TypeAlias, TypeVar

from tokentrail._query import OWNERS, Exact, Filters, Query
from tokentrail._records import FAILED, from_us, now_us, to_us

if TYPE_CHECKING:
    from datetime import datetime

    from tokentrail.models import LLMCall
    from tokentrail.stores.base import Store

PAGE: Final = 2_000
"""Rows in memory at a time."""
_SESSIONS: Final = 500
_ACTIVE_US: Final = 30 * 60 * 1_000_000
"""A session goes on until so long after its last call began, as in `Stats.sessions`."""

Source: TypeAlias = Callable[["Store", Filters], Iterator[Sequence[Any]]]
Count: TypeAlias = Callable[["Store", Filters], int]
"""How many rows a source has."""
Narrow: TypeAlias = Mapping[str, tuple[str, ...]]
"""Filters of a kind of row; they give way to the asker's own."""

Test: TypeAlias = Callable[[Any], bool]

_Row = TypeVar("_Row")


# --- calls and their neighbours ------------------------------------------------------------------


def call_pages(store: Store, asked: Filters) -> Iterator[list[LLMCall]]:
    """All calls."""
    return _walk(lambda after: store.scan(asked, limit=PAGE, after=after), _place)


def calls(narrow: Narrow | None = None, holds: Test | None = None) -> Source:
    """Calls of one kind.

    Args:
        narrow: filters, which a store answers quicker than `holds`.
        holds: whether a row is of the kind, whatever the asker's own filters let pass.
    """

    def pages(store: Store, asked: Filters) -> Iterator[Sequence[Any]]:
        return _held(call_pages(store, _narrowed(asked, narrow)), holds)

    return pages


def neighbours(name: str, narrow: Narrow | None = None, holds: Test | None = None) -> Source:
    """Rows of a table beside calls, by the name of its model."""

    def pages(store: Store, asked: Filters) -> Iterator[Sequence[Any]]:
        from tokentrail import models

        table, meant = getattr(models, name), _narrowed(asked, narrow)
        return _held(_walk(lambda after: store.beside(table, meant, limit=PAGE, after=after), _place), holds)

    return pages


def errors(store: Store, asked: Filters) -> Iterator[Sequence[Any]]:
    """What failed or timed out: calls, tool calls, and errors that were told by themselves."""
    failed = {"status": FAILED}
    sources = (
        calls(failed, has_failed),
        neighbours("ToolCall", failed, has_failed),
        neighbours("ErrorRecord"),
    )
    rows = [(row for page in source(store, asked) for row in page) for source in sources]
    return _paged(heapq.merge(*rows, key=_place, reverse=True))


def has_failed(row: Any) -> bool:
    """Whether a call or tool call failed or timed out."""
    return row.status in FAILED


def _held(pages: Iterable[Sequence[Any]], holds: Test | None) -> Iterator[Sequence[Any]]:
    for page in pages:
        yield page if holds is None else [row for row in page if holds(row)]


def _narrowed(asked: Filters, narrow: Narrow | None) -> Filters:
    return asked if narrow is None else replace(asked, wanted={**narrow, **asked.wanted})


def _place(row: Any) -> tuple[int, str]:
    return to_us(row.started_at), row.id


# --- sessions ------------------------------------------------------------------------------------


class Session(NamedTuple):
    """A conversation as a row."""

    session_id: str
    user_id: str | None
    agent_id: str | None
    agent_name: str | None
    platform: str | None
    message_count: int
    start_time: datetime
    last_activity: datetime
    is_active: bool
    attributes: Mapping[str, Any]


def sessions(store: Store, asked: Filters) -> Iterator[Sequence[Session]]:
    """Conversations with a call that passes the filters, the last active first."""
    active_since = now_us() - _ACTIVE_US
    groups = _walk(
        lambda after: store.sessions(asked, limit=_SESSIONS, after=after),
        lambda group: (group["last_started_at"], group["session_id"]),
        _SESSIONS,
    )
    for page in groups:
        names = tuple(Exact(group["session_id"]) for group in page)
        # Another owner's session may have the same name: nothing of it is in this one.
        owned = {name: wanted for name, wanted in asked.wanted.items() if name in OWNERS}
        these = Filters(wanted={**owned, "session_id": names})
        spans = {group["session_id"]: group for group in page}
        if owned and names:
            times = Query(("first_started_at", "last_started_at"), by=("session_id",), filters=these)
            spans |= {group["session_id"]: group for group in store.aggregate(times)}
        yield _session_rows(store, spans, these, active_since)


def _session_rows(
    store: Store, spans: Mapping[str, Mapping[str, Any]], these: Filters, active_since: int
) -> list[Session]:
    from tokentrail.models import Message, SessionActivity

    if not spans:
        return []
    users, agents = (_most_frequent(store, these, field) for field in ("user_id", "agent_id"))
    messages = {row[0]: row[1] for row in store.tally(Message, these, ("session_id",))}
    told = {row.session_id: row for row in store.beside(SessionActivity, these, limit=PAGE)}
    rows = []
    for name, span in spans.items():
        about = told.get(name)
        rows.append(
            Session(
                session_id=name,
                user_id=users.get(name, getattr(about, "user_id", None)),
                agent_id=agents.get(name, getattr(about, "agent_id", None)),
                agent_name=getattr(about, "agent_name", None),
                platform=getattr(about, "platform", None),
                message_count=messages.get(name, 0),
                start_time=from_us(span["first_started_at"]),
                last_activity=from_us(span["last_started_at"]),
                is_active=span["last_started_at"] >= active_since,
                attributes=about.attributes if about else {},
            )
        )
    return rows


def _most_frequent(store: Store, these: Filters, field: str) -> dict[str, str]:
    """Of each session the value that most of its calls have."""
    found: dict[str, str] = {}
    for group in store.aggregate(Query(("calls",), by=("session_id", field), filters=these, order="-calls")):
        if group[field] is not None:
            found.setdefault(group["session_id"], group[field])
    return found


# --- how many ------------------------------------------------------------------------------------


def measured(measure: str, less: str | None = None) -> Count:
    """A measure of calls, without those of another."""

    def count(store: Store, asked: Filters) -> int:
        names = (measure,) if less is None else (measure, less)
        (sums,) = store.aggregate(Query(names, filters=asked.since(store.kept_since())))
        return int(sums[measure] - (0 if less is None else sums[less]))

    return count


def tallied(name: str, narrow: Narrow | None = None) -> Count:
    """Rows of a table beside calls."""

    def count(store: Store, asked: Filters) -> int:
        from tokentrail import models

        ((count, _, _),) = store.tally(getattr(models, name), _narrowed(asked, narrow))
        return int(count)

    return count


def count_errors(store: Store, asked: Filters) -> int:
    """How many rows `errors` has."""
    from tokentrail.models import ToolCall

    tools = store.tally(ToolCall, asked, ("status",))
    failed_tools = sum(int(count) for status, count, _, _ in tools if status in FAILED)
    return measured("error_calls")(store, asked) + failed_tools + tallied("ErrorRecord")(store, asked)


# --- pages ---------------------------------------------------------------------------------------


def _walk(
    fetch: Callable[[Any], Sequence[_Row]], place: Callable[[_Row], object], size: int = PAGE
) -> Iterator[list[_Row]]:
    after = None
    while True:
        page = list(fetch(after))
        yield page
        if len(page) < size:
            return
        after = place(page[-1])


def _paged(rows: Iterable[_Row]) -> Iterator[list[_Row]]:
    walk = iter(rows)
    while page := list(islice(walk, PAGE)):
        yield page
