"""How many bytes went out and came back."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from tokentrail._query import Filters
from tokentrail._stats._amounts import over
from tokentrail._stats._answers import Answer, Found
from tokentrail._stats._apart import largest
from tokentrail._stats._ask import Ask

_MEASURES: Final = (
    "calls", "request_bytes", "response_bytes", "request_sized_calls", "response_sized_calls",
    "max_request_bytes", "max_response_bytes", "message_count", "input_count", "tool_use_count",
    "tool_result_count", "tool_call_count",
)  # fmt: skip
_COUNTS: Final = (
    "message_count", "input_count", "tool_use_count", "tool_result_count", "tool_call_count",
)  # fmt: skip


class SizeCoverage(Answer):
    """Of how many calls the size is known: shares from 0 to 1."""

    request: float | None
    response: float | None


class Sizes(Answer):
    """Bytes of UTF-8 text, and what was in it."""

    calls: int
    request_bytes: int | None
    response_bytes: int | None
    avg_request_bytes: float | None
    avg_response_bytes: float | None
    max_request_bytes: int | None
    max_response_bytes: int | None
    message_count: int | None
    input_count: int | None
    tool_use_count: int | None
    tool_result_count: int | None
    tool_call_count: int | None
    coverage: SizeCoverage


class SizesItem(Sizes):
    """Bytes of one group of calls."""

    key: str | bool | None


class SizesApart(Sizes, Found):
    """Bytes of all calls, and apart by a field."""

    by: str | None
    items: list[SizesItem]
    truncated: bool


def sizes(ask: Ask, asked: Filters, by: str | None, limit: int) -> SizesApart:
    """Sums of bytes and counts, in all and of each group, those with the largest requests first."""
    (whole,) = ask(_MEASURES, asked)
    groups, truncated = largest(ask, asked, by, "-request_bytes", limit, _MEASURES)
    items = [SizesItem(key=group[by], **_sizes(group)) for group in groups if by is not None]
    return SizesApart(**_sizes(whole), by=by, items=items, truncated=truncated, method=ask.method)


def _sizes(group: Mapping[str, Any]) -> dict[str, Any]:
    request, response = group["request_sized_calls"], group["response_sized_calls"]
    names = ("calls", "request_bytes", "response_bytes", "max_request_bytes", "max_response_bytes", *_COUNTS)
    return {
        **{name: group[name] for name in names},
        "avg_request_bytes": over(group["request_bytes"], request),
        "avg_response_bytes": over(group["response_bytes"], response),
        "coverage": SizeCoverage(
            request=over(request, group["calls"]), response=over(response, group["calls"])
        ),
    }
