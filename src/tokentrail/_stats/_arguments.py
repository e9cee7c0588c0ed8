"""The filters every question takes, for type checkers and editors."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypedDict

from tokentrail._query import Moment

Text = str | Sequence[str | None] | None
Flag = bool | Sequence[bool | None] | None


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
