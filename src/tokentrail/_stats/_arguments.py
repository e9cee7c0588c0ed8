"""What questions take: the filters, and what their own parameters may be."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated, Final, NamedTuple, TypedDict

from tokentrail._periods import GRANULARITIES
from tokentrail._query import DIMENSIONS, Moment

Text = str | Sequence[str | None] | None
Flag = bool | Sequence[bool | None] | None

MOST_CALLS: Final = 10_000
"""Calls on one page."""
MOST_OFFSET: Final = 1_000_000
"""Calls that can be left out before a page; beyond, a cursor goes on."""
MOST_GROUPS: Final = 1_000
"""Groups of one answer."""


class Within(NamedTuple):
    """Bounds of a number. Below the least one is a mistake; above the most the most is taken."""

    least: int | None = None
    most: int | None = None


class OneOf(NamedTuple):
    """The words that are allowed."""

    choices: Sequence[str]


_FIELDS: Final = OneOf(sorted(DIMENSIONS))

Granularity = Annotated[str, OneOf(GRANULARITIES)]
Field = Annotated[str | None, _FIELDS]
Fields = Annotated[str | Sequence[str], _FIELDS]
Groups = Annotated[int, Within(1, MOST_GROUPS)]
Offset = Annotated[int, Within(0, MOST_OFFSET)]
PageSize = Annotated[int, Within(1, MOST_CALLS)]
Count = Annotated[int, Within(0)]
Minutes = Annotated[int, Within(0)]
LargeOf = Annotated[str, OneOf(("both", "request", "response"))]


class WindowArguments(TypedDict, total=False):
    """The filters without a time zone; see `tokentrail._query.filters`."""

    start: Moment | None
    end: Moment | None
    provider: Text
    model: Text
    requested_model: Text
    call_type: Text
    client_id: Text
    user_id: Text
    session_id: Text
    agent_id: Text
    run_id: Text
    organization_id: Text
    project_id: Text
    tag: Text
    status: Text
    is_streaming: Flag


class FilterArguments(WindowArguments, total=False):
    """The filters, and the time zone that naive times, dates and periods are in."""

    tz: str


FILTER_HELP: Final[Mapping[str, str]] = {
    "start": "First moment that counts: a date or ISO time, in tz if it names no zone.",
    "end": "First moment that no longer counts; a date includes its day.",
    "tz": "IANA time zone of periods, and of dates and times that name none.",
    "tag": "Only calls with this tag; * and ? are allowed.",
    "status": "Only calls that ended like this: success, error, cancelled, timeout, abandoned, interrupted.",
    "is_streaming": "Only streams, or only calls that are none.",
}
"""Filter → what it means; the others ask for a value of their field."""
