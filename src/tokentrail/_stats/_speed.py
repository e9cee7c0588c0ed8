"""How fast answers are written: output tokens of successful calls over the time they took to write.

The wait for the first token is left out where it is known, which is in streams; calls of unknown length,
failures and answers from a response cache are left out altogether.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from tokentrail._measures import public
from tokentrail._query import Filters
from tokentrail._stats._amounts import over, per_second
from tokentrail._stats._answers import Answer, Found
from tokentrail._stats._apart import largest
from tokentrail._stats._ask import Ask

_MEASURES: Final = (
    "paced_calls", "paced_tokens", "paced_ms", "stream_paced_calls", "stream_paced_tokens",
    "stream_paced_ms", "billed_success_calls", "time_to_first_token_ms", "first_token_calls",
)  # fmt: skip


class Speed(Answer):
    """How fast a group of calls was written."""

    calls: int
    """Those that could be measured."""
    output_tokens: int | None
    tokens_per_second: float | None
    """All output tokens over all the time, so that long answers weigh more."""
    stream_calls: int
    stream_output_tokens: int | None
    stream_tokens_per_second: float | None
    """The same of streams only, where the wait for the first token is known and left out."""
    avg_time_to_first_token_ms: float | None
    coverage: float | None
    """Of the successful calls, those that could be measured: a share from 0 to 1."""


class SpeedItem(Speed):
    """How fast one group of calls was written."""

    key: str | bool | None


class Speeds(Speed, Found):
    """How fast calls were written, in all and apart by a field."""

    by: str | None
    items: list[SpeedItem]
    truncated: bool


def speeds(ask: Ask, asked: Filters, by: str | None, limit: int) -> Speeds:
    """Tokens per second, in all and of each group, those with most tokens first."""
    (whole,) = ask(_MEASURES, asked)
    groups, truncated = largest(ask, asked, by, "-paced_tokens", limit, _MEASURES)
    items = [SpeedItem(key=group[by], **_speed(group)) for group in groups if by is not None]
    return Speeds(**_speed(whole), by=by, items=items, truncated=truncated, method=ask.method)


def _speed(group: Mapping[str, Any]) -> dict[str, Any]:
    first = public("time_to_first_token_ms", group["time_to_first_token_ms"])
    return {
        "calls": group["paced_calls"],
        "output_tokens": group["paced_tokens"],
        "tokens_per_second": per_second(group["paced_tokens"], public("paced_ms", group["paced_ms"])),
        "stream_calls": group["stream_paced_calls"],
        "stream_output_tokens": group["stream_paced_tokens"],
        "stream_tokens_per_second": per_second(
            group["stream_paced_tokens"], public("stream_paced_ms", group["stream_paced_ms"])
        ),
        "avg_time_to_first_token_ms": over(first, group["first_token_calls"]),
        "coverage": over(group["paced_calls"], group["billed_success_calls"]),
    }
