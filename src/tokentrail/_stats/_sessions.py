"""Conversations: what each used, since when, and whether it still goes on."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime
from typing import Any

from tokentrail._measures import AMOUNTS
from tokentrail._query import OWNERS, Exact, Filters, Query
from tokentrail._records import from_us
from tokentrail._stats._amounts import amounts, settled
from tokentrail._stats._answers import Amounts, Found
from tokentrail._stats._ask import Ask
from tokentrail.models import Message
from tokentrail.stores.base import page_of_sessions


class SessionItem(Amounts):
    """What one conversation used, from its first call to its last."""

    session_id: str
    user_id: str | None
    """One of them, if there were several."""
    message_count: int
    """Messages that were recorded as such."""
    start_time: datetime
    last_activity: datetime
    """When its last call began."""
    is_active: bool


class RunUsage(Amounts, Found):
    """What one run used, over all of its steps."""

    run_id: str
    models: int
    """How many different ones."""
    first_started_at: datetime
    last_started_at: datetime


class SessionPage(Found):
    """Some conversations, the last active first."""

    items: list[SessionItem]
    total: int
    limit: int
    """The one in force, which may be lower than the one asked for."""
    next_cursor: str | None
    active_minutes: int
    """A session counts as active so many minutes after its last call."""


def whose(asked: Filters) -> Filters:
    """Of some filters those that say whose calls are meant; they hold for all of a session."""
    return Filters(wanted={name: values for name, values in asked.wanted.items() if name in OWNERS})


def session_groups(
    ask: Ask, asked: Filters, *, active_since: int | None, limit: int, after: tuple[int | None, str] | None
) -> Sequence[dict[str, Any]]:
    """Sessions with a call that passes the filters, the last active first, each with all of its owner's."""
    owned = whose(asked)
    if not owned.wanted:
        return ask.store.sessions(asked, active_since=active_since, limit=limit, after=after)
    meant = {group["session_id"] for group in ask(("calls",), asked, by=("session_id",))}
    groups = ask.store.aggregate(Query(AMOUNTS, by=("session_id",), filters=owned))
    found = [
        group
        for group in groups
        if group["session_id"] is not None
        and group["session_id"] in meant
        and (active_since is None or group["last_started_at"] >= active_since)
    ]
    return page_of_sessions(found, "-last_started_at", limit, after)


def session_items(
    ask: Ask, groups: Sequence[dict[str, Any]], active_since: int, owned: Filters
) -> list[SessionItem]:
    """Groups of a store as items."""
    names = tuple(Exact(group["session_id"]) for group in groups)
    if not names:
        return []
    these = replace(owned, wanted={**owned.wanted, "session_id": names})
    users: dict[str, str] = {}
    for group in ask(("calls",), these, by=("session_id", "user_id"), order="-calls"):
        if group["user_id"] is not None:
            users.setdefault(group["session_id"], group["user_id"])
    messages = {row[0]: row[1] for row in ask.store.tally(Message, these, ("session_id",))}
    return [
        amounts(
            SessionItem,
            settled(group),
            session_id=group["session_id"],
            user_id=users.get(group["session_id"]),
            message_count=messages.get(group["session_id"], 0),
            start_time=from_us(group["first_started_at"]),
            last_activity=from_us(group["last_started_at"]),
            is_active=group["last_started_at"] >= active_since,
        )
        for group in groups
    ]
