"""What went wrong: errors and timeouts, by what they were, where, and when."""

from __future__ import annotations

from dataclasses import replace

from tokentrail._query import Filters, matcher
from tokentrail._records import FAILED, from_us
from tokentrail._stats._amounts import NOTHING, rate
from tokentrail._stats._answers import ErrorCount, ErrorPoint, ErrorStatistics
from tokentrail._stats._ask import Ask
from tokentrail._stats._series import window


def error_statistics(ask: Ask, asked: Filters, granularity: str, limit: int) -> ErrorStatistics:
    """Errors by type, model and provider, most first, and over time."""
    (all_calls,) = ask(("calls", "success_calls", "error_calls", "timeout_calls"), asked)
    errors = all_calls["error_calls"]
    failed = _only_failed(asked)
    return ErrorStatistics(
        total_calls=all_calls["calls"],
        error_calls=errors,
        timeout_calls=all_calls["timeout_calls"],
        error_rate=rate(errors, errors + all_calls["success_calls"]),
        by_type=_counts(ask, failed, failed, "error_type", errors, limit),
        by_model=_counts(ask, failed, asked, "model", errors, limit),
        by_provider=_counts(ask, failed, asked, "provider", errors, limit),
        timeseries=_over_time(ask, asked, granularity),
        method=ask.method,
    )


def _only_failed(asked: Filters) -> Filters:
    matches = matcher("status", asked.wanted.get("status", FAILED))
    return replace(asked, wanted={**asked.wanted, "status": tuple(filter(matches, FAILED))})


def _counts(ask: Ask, failed: Filters, asked: Filters, by: str, errors: int, limit: int) -> list[ErrorCount]:
    """Groups of errors, beside all calls of each group that were asked about."""
    measures = ("calls", "last_started_at")
    groups = ask(measures, failed, by=(by,), order="-calls", limit=limit)
    if asked is failed or not groups:
        everything = {group[by]: group["calls"] for group in groups}
    else:
        everything = {group[by]: group["calls"] for group in ask(("calls",), asked, by=(by,))}
    return [
        ErrorCount(
            key=group[by],
            count=group["calls"],
            share=group["calls"] / errors,
            calls=everything[group[by]],
            last_at=from_us(group["last_started_at"]),
        )
        for group in groups
    ]


def _over_time(ask: Ask, asked: Filters, granularity: str) -> list[ErrorPoint]:
    periods = ask(("calls", "error_calls"), asked, granularity=granularity)
    known = {group["period"]: group for group in periods}
    return [
        ErrorPoint(
            bucket=from_us(period).astimezone(asked.zone),
            count=known.get(period, NOTHING)["error_calls"],
            calls=known.get(period, NOTHING)["calls"],
        )
        for period in window(asked, granularity, list(known))
    ]
