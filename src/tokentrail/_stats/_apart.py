"""Calls apart by a field or two: any field, users, tags."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from tokentrail._query import Filters
from tokentrail._stats._amounts import LASTING, NOTHING, added, amounts, last_of, lasting
from tokentrail._stats._answers import Amounts, Breakdown, BreakdownItem, Found
from tokentrail._stats._arguments import MOST_GROUPS
from tokentrail._stats._ask import Ask
from tokentrail.errors import QueryError


def largest(
    ask: Ask, asked: Filters, by: str | None, order: str, limit: int, measures: tuple[str, ...] = LASTING
) -> tuple[list[dict[str, Any]], bool]:
    """The first groups, and whether there are more; none, where nothing is told apart.

    Raises:
        QueryError: the limit is below 1.
    """
    if by is None:
        return [], False
    if limit < 1:
        raise QueryError(f"limit: {limit} is below 1.")
    most = min(limit, MOST_GROUPS)
    groups = ask(measures, asked, by=(by,), order=order, limit=most + 1)
    return groups[:most], len(groups) > most


def breakdown(ask: Ask, asked: Filters, fields: Sequence[str], order: str, limit: int) -> Breakdown:
    """Calls apart by a field, and inside by a second one."""
    groups, truncated = largest(ask, asked, fields[0], order, limit)
    inner: dict[Any, list[BreakdownItem]] = {}
    if len(fields) == 2:
        for group in ask(LASTING, asked, by=tuple(fields), order=order):
            item = _item(group, fields[1])
            inner.setdefault(group[fields[0]], []).append(item)
    return Breakdown(
        by=tuple(fields),
        items=[_item(group, fields[0], items=inner.get(group[fields[0]], [])) for group in groups],
        truncated=truncated,
        method=ask.method,
    )


def _item(group: Mapping[str, Any], by: str, **more: Any) -> BreakdownItem:
    return amounts(BreakdownItem, group, key=group[by], last_started_at=last_of(group), **more)


# --- users ---------------------------------------------------------------------------------------


class User(Amounts):
    """What one user used."""

    user_id: str | None
    """`None` are the calls of which no user is known."""
    first_started_at: datetime | None
    last_started_at: datetime | None


class Users(Found):
    """Users, and what each of them used."""

    items: list[User]
    truncated: bool
    """Whether there are more users than `limit`."""


def users(ask: Ask, asked: Filters, order: str, limit: int) -> Users:
    """Users, first those with most of what they are ordered by."""
    measures = (*LASTING, "first_started_at")
    groups, truncated = largest(ask, asked, "user_id", order, limit, measures)
    return Users(
        items=[amounts(User, group, user_id=group["user_id"], **lasting(group)) for group in groups],
        truncated=truncated,
        method=ask.method,
    )


# --- tags ----------------------------------------------------------------------------------------


class Tags(Found):
    """What calls with each tag used. A call with several tags is in several items."""

    items: list[BreakdownItem]
    """`key` is the tag; `None` are the calls without one."""
    truncated: bool
    """Whether there are more tags than `limit`."""
    sum_over_tags: Amounts
    """All items added up, those left out too: more than there was, where calls have several tags."""
    deduplicated_total: Amounts
    """The same calls, each once."""


def tags(ask: Ask, asked: Filters, order: str, limit: int) -> Tags:
    """Tags, and what is counted more than once."""
    groups, truncated = largest(ask, asked, "tag", order, limit)
    everything = ask(LASTING, asked, by=("tag",)) if truncated else groups
    (once,) = ask(LASTING, asked)
    return Tags(
        items=[_item(group, "tag") for group in groups],
        truncated=truncated,
        sum_over_tags=amounts(Amounts, added(everything) if everything else NOTHING),
        deduplicated_total=amounts(Amounts, once),
        method=ask.method,
    )
