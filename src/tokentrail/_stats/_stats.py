"""Stats: named questions about the calls in a store."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from datetime import datetime
from typing import Any, Final, Unpack

from tokentrail._measures import public
from tokentrail._query import Filters
from tokentrail._records import from_us
from tokentrail._stats._amounts import (
    AMOUNTS,
    LASTING,
    NOTHING,
    OVERVIEW,
    SUMMARY,
    amounts,
    last_of,
    model_amounts,
    model_details,
    model_usage,
    overview,
    summary,
)
from tokentrail._stats._answers import (
    Breakdown,
    BreakdownItem,
    DetailedStats,
    ErrorStatistics,
    Latency,
    Overview,
    Point,
    Series,
    TokenStatistics,
    UsageStats,
)
from tokentrail._stats._arguments import (
    MOST_GROUPS,
    Field,
    Fields,
    FilterArguments,
    Granularity,
    Groups,
    WindowArguments,
)
from tokentrail._stats._ask import Ask
from tokentrail._stats._errors import error_statistics
from tokentrail._stats._exports import Exports
from tokentrail._stats._latency import latency
from tokentrail._stats._lists import Lists
from tokentrail._stats._places import window
from tokentrail.errors import QueryError

_ACTIVE_US: Final = 30 * 60 * 1_000_000


class Stats(Lists, Exports):
    """Questions about the calls in a store, with or without a tracker.

    Every question takes the same filters as keywords: `start`, `end` (naive times and dates are in `tz`, a
    date as `end` includes that day), `tz`, `provider`, `model`, `requested_model`, `call_type`, `client_id`,
    `user_id`, `session_id`, `agent_id`, `run_id`, `organization_id`, `project_id`, `tag`, `status`,
    `is_streaming`. Each may be a list; texts may hold `*` and `?`.

    Running calls are in no answer. What other processes have written to their journals and not yet to the
    store is imported first.

    Args:
        store: a database URL, an SQLAlchemy engine or an open store.
        before_question: called before each question instead of the import; a tracker gives its `flush`.
        now: the clock, in microseconds since the epoch.

    Raises:
        QueryError: by any question: a parameter is wrong, and the sentence names it.
        StoreError: by any question: the store cannot be opened or read.
    """

    # --- totals ----------------------------------------------------------------------------------

    def overview(self, **where: Unpack[FilterArguments]) -> Overview:
        """Calls, tokens, dollars, sessions and users at a glance."""
        asked, ask = self._begin(**where), self._ask()
        (all_calls,) = ask(OVERVIEW, asked)
        since = self._now() - _ACTIVE_US
        recent = replace(asked, start_us=since if asked.start_us is None else max(since, asked.start_us))
        (active,) = ask(("sessions",), recent)
        return overview(all_calls, active_sessions=active["sessions"], method=ask.method)

    def token_statistics(
        self,
        bucket: Granularity = "hour",
        tz: str = "UTC",
        *,
        limit: Groups = 100,
        **where: Unpack[WindowArguments],
    ) -> TokenStatistics:
        """Tokens in sum, by model (largest first) and over time.

        Args:
            bucket: granularity of the time series, see `timeseries`.
            tz: whose hours and days.
            limit: how many models.
            where: filters.
        """
        asked, ask = self._begin(tz=tz, **where), self._ask()
        (all_calls,) = ask(SUMMARY, asked)
        models, truncated = self._apart(ask, asked, ("model",), "-total_tokens", limit)
        return TokenStatistics(
            summary=summary(all_calls),
            by_model=[model_amounts(group) for group in models],
            by_model_truncated=truncated,
            timeseries=self._points(ask, asked, bucket, None),
            bucket=bucket,
            tz=tz,
            method=ask.method,
        )

    # --- apart -----------------------------------------------------------------------------------

    def breakdown(
        self,
        by: Fields = "model",
        *,
        order: str = "-total_tokens",
        limit: Groups = 100,
        **where: Unpack[FilterArguments],
    ) -> Breakdown:
        """Calls apart by a field, or by two: `by=("provider", "model")` has the second inside the first.

        Args:
            by: `model`, `provider`, `user_id`, `session_id`, `tag`, `status`, … A call counts under each of
                its tags.
            order: a measure, largest first with a leading `-`.
            limit: how many groups, on the first level.
            where: filters.
        """
        fields = (by,) if isinstance(by, str) else tuple(by)
        if not 1 <= len(fields) <= 2:
            raise QueryError("by: one field or two.")
        asked, ask = self._begin(**where), self._ask()
        groups, truncated = self._apart(ask, asked, fields[:1], order, limit)
        inner: dict[Any, list[BreakdownItem]] = {}
        if len(fields) == 2:
            for group in ask(LASTING, asked, by=fields, order=order):
                item = _item(group, fields[1])
                inner.setdefault(group[fields[0]], []).append(item)
        return Breakdown(
            by=fields,
            items=[_item(group, fields[0], items=inner.get(group[fields[0]], [])) for group in groups],
            truncated=truncated,
            method=ask.method,
        )

    def _apart(
        self, ask: Ask, asked: Filters, by: tuple[str, ...], order: str, limit: int
    ) -> tuple[list[dict[str, Any]], bool]:
        if limit < 1:
            raise QueryError(f"limit: {limit} is below 1.")
        most = min(limit, MOST_GROUPS)
        groups = ask(LASTING, asked, by=by, order=order, limit=most + 1)
        return groups[:most], len(groups) > most

    def timeseries(
        self, granularity: Granularity = "day", by: Field = None, **where: Unpack[FilterArguments]
    ) -> Series:
        """Calls over time, ascending, with a point for every period.

        Periods without calls are there with zeros: inside `start` and `end` where those are given, else
        between the first call and the last.

        Args:
            granularity: `minute`, `15min`, `hour`, `day`, `week` (from Monday) or `month`, on the clocks of
                `tz`.
            by: a field; then each of its values has a series, told apart by `key`.
            where: filters.
        """
        asked, ask = self._begin(**where), self._ask()
        return Series(
            granularity=granularity,
            tz=asked.zone.key,
            by=by,
            points=self._points(ask, asked, granularity, by),
            method=ask.method,
        )

    def _points(self, ask: Ask, asked: Filters, granularity: str, by: str | None) -> list[Point]:
        fields = () if by is None else (by,)
        groups = ask(AMOUNTS, asked, by=fields, granularity=granularity)
        known = {(group["period"], *(group[name] for name in fields)): group for group in groups}
        keys = list(dict.fromkeys(tuple(group[name] for name in fields) for group in groups))
        if by is None:
            keys = [()]
        return [
            amounts(
                Point,
                known.get((period, *key), NOTHING),
                bucket=from_us(period).astimezone(asked.zone),
                key=key[0] if key else None,
            )
            for period in window(asked, granularity, [group["period"] for group in groups])
            for key in keys
        ]

    # --- how long --------------------------------------------------------------------------------

    def latency(self, by: Field = None, **where: Unpack[FilterArguments]) -> Latency:
        """Percentiles of how long successful calls took, in milliseconds; `error` says how exact.

        Other outcomes count if `status` asks for them. Answers from a response cache do not count.

        Args:
            by: a field; then each of its values has percentiles of its own too.
            where: filters.
        """
        where.setdefault("status", "success")
        asked, ask = self._begin(**where, cache_hit=[False, None]), self._ask()
        return latency(ask, asked, by)

    # --- what went wrong -------------------------------------------------------------------------

    def error_statistics(self, *, limit: Groups = 100, **where: Unpack[FilterArguments]) -> ErrorStatistics:
        """Errors and timeouts: by type, model and provider (most first), and by day.

        Args:
            limit: how many types, models and providers.
            where: filters.
        """
        asked, ask = self._begin(**where), self._ask()
        return error_statistics(ask, asked, limit)

    # --- in the words of `UsageInfo` -------------------------------------------------------------

    def usage_stats(self, **where: Unpack[FilterArguments]) -> UsageStats:
        """Requests, tokens and dollars, in sum and by model (most requests first)."""
        asked, ask = self._begin(**where), self._ask()
        (group,) = ask(AMOUNTS, asked)
        models = ask(LASTING, asked, by=("model",), order="-calls")
        return UsageStats(
            total_requests=group["calls"],
            successful_requests=group["success_calls"],
            failed_requests=group["error_calls"],
            total_input_tokens=group["input_tokens"],
            total_output_tokens=group["output_tokens"],
            total_tokens=group["total_tokens"],
            total_cost=public("cost_usd", group["cost_usd"]),
            missing_usage_requests=group["billed_calls"] - group["counted_calls"],
            unpriced_requests=group["calls"] - group["priced_calls"],
            models=[model_usage(each) for each in models],
            method=ask.method,
        )

    def detailed_stats(self, **where: Unpack[FilterArguments]) -> DetailedStats:
        """How requests went, by model: success rate in percent, average response time in seconds."""
        asked, ask = self._begin(**where), self._ask()
        models = ask(AMOUNTS, asked, by=("model",), order="-calls")
        return DetailedStats(
            start_date=_shown(asked, asked.start_us),
            end_date=_shown(asked, asked.end_us),
            total_requests=sum(group["calls"] for group in models),
            models=[model_details(group) for group in models],
            method=ask.method,
        )


def _item(group: Mapping[str, Any], by: str, **more: Any) -> BreakdownItem:
    return amounts(BreakdownItem, group, key=group[by], last_started_at=last_of(group), **more)


def _shown(asked: Filters, moment: int | None) -> datetime | None:
    return None if moment is None else from_us(moment).astimezone(asked.zone)
