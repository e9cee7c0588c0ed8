"""Stats: named questions about the calls in a store."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, Final, Unpack

from tokentrail._query import Exact, matching
from tokentrail._stats._amounts import OVERVIEW, SUMMARY, model_amounts, overview, summary
from tokentrail._stats._analysis import Analysis
from tokentrail._stats._answers import (
    Breakdown,
    ErrorStatistics,
    Latency,
    Overview,
    Series,
    TokenStatistics,
)
from tokentrail._stats._apart import Tags, Users, breakdown, largest, tags, users
from tokentrail._stats._arguments import (
    Field,
    Fields,
    FilterArguments,
    Granularity,
    Groups,
    PageSize,
    WindowArguments,
)
from tokentrail._stats._budgeting import Budgeting
from tokentrail._stats._conversation_answers import Data
from tokentrail._stats._errors import error_statistics
from tokentrail._stats._exports import Exports
from tokentrail._stats._latency import latency
from tokentrail._stats._lists import Lists
from tokentrail._stats._operations import OperationsApart, operations
from tokentrail._stats._price_list import PriceQuestions
from tokentrail._stats._pruning import Pruning
from tokentrail._stats._quality import DataQuality, data_quality
from tokentrail._stats._requests import DetailedStats, UsageStats, detailed_stats, usage_stats
from tokentrail._stats._running import RunningTotals, running_totals
from tokentrail._stats._savings import CacheSavings, savings
from tokentrail._stats._series import points
from tokentrail._stats._sizes import SizesApart, sizes
from tokentrail._stats._speed import Speeds, speeds
from tokentrail._stats._users import UserQuestions
from tokentrail.errors import QueryError
from tokentrail.models import Message

_ACTIVE_US: Final = 30 * 60 * 1_000_000


class Stats(Lists, Analysis, Exports, Budgeting, PriceQuestions, UserQuestions, Pruning):
    """Questions about the calls in a store, with or without a tracker.

    Every question takes the same filters as keywords: `start`, `end` (naive times and dates are in `tz`, a
    date as `end` includes that day), `tz`, `provider`, `model`, `requested_model`, `call_type`, `client_id`,
    `user_id`, `session_id`, `agent_id`, `run_id`, `organization_id`, `project_id`, `tag`, `status`,
    `is_streaming`. Each may be a list; texts may hold `*` and `?`.

    Running calls are in no sum. What other processes have written to their journals and not yet to the
    store is imported first.

    Args:
        store: a database URL, an SQLAlchemy engine or an open store.
        before_question: called before each question instead of the import; a tracker gives its `flush`.
        running: the calls that run, for `overview`; a tracker gives its own.
        now: the clock, in microseconds since the epoch.

    Raises:
        QueryError: by any question: a parameter is wrong, and the sentence names it.
        StoreError: by any question: the store cannot be opened or read.
    """

    # --- totals ----------------------------------------------------------------------------------

    def overview(self, **where: Unpack[FilterArguments]) -> Overview:
        """Calls, tokens, dollars, sessions and users at a glance."""
        ask, asked = self._question(**where)
        (all_calls,) = ask(OVERVIEW, asked)
        since = self._now() - _ACTIVE_US
        recent = replace(asked, start_us=since if asked.start_us is None else max(since, asked.start_us))
        (active,) = ask(("sessions",), recent)
        ((messages, *_),) = ask.store.tally(Message, asked)
        return overview(
            all_calls,
            total_messages=messages,
            active_calls=None if self._running is None else len(matching(self._running(), asked)),
            active_sessions=active["sessions"],
            method=ask.method,
        )

    def data(self, limit: PageSize = 50, **where: Unpack[FilterArguments]) -> Data:
        """The overview and the first page of every list, all as they were at one moment.

        Args:
            limit: rows of each list.
            where: filters.
        """
        self._begin(**where)
        store = self._opened()
        stats = Stats(store, before_question=_nothing, running=self._running, now=self._now)
        embeddings: FilterArguments = {**where, "call_type": Exact("embedding")}
        with store.snapshot():
            found: dict[str, Any] = {
                "messages": stats.messages(limit, **where),
                "llm_calls": stats.calls(limit, **where),
                "embedding_calls": stats.calls(limit, **embeddings),
                "tool_calls": stats.tool_calls(limit, **where),
                "sessions": stats.sessions(limit, **where),
                "errors": stats.errors(limit, **where),
                "feedback": stats.feedback(limit, **where),
            }
            counts = {name: page.total for name, page in found.items()}
            return Data(overview=stats.overview(**where), total_count=counts, **found)

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
        ask, asked = self._question(tz=tz, **where)
        (all_calls,) = ask(SUMMARY, asked)
        models, truncated = largest(ask, asked, "model", "-total_tokens", limit)
        series, _ = points(ask, asked, bucket)
        return TokenStatistics(
            summary=summary(all_calls),
            by_model=[model_amounts(group) for group in models],
            by_model_truncated=truncated,
            timeseries=series,
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
        return breakdown(*self._question(**where), fields, order, limit)

    def timeseries(
        self,
        granularity: Granularity = "day",
        by: Field = None,
        *,
        limit: Groups = 100,
        **where: Unpack[FilterArguments],
    ) -> Series:
        """Calls over time, ascending, with a point for every period.

        Periods without calls are there with zeros: inside `start` and `end` where those are given, else
        between the first call and the last.

        Args:
            granularity: `minute`, `15min`, `hour`, `day`, `week` (from Monday) or `month`, on the clocks of
                `tz`.
            by: a field; then each of its values has a series, told apart by `key`.
            limit: how many values, those with most calls.
            where: filters.
        """
        if limit < 1:
            raise QueryError(f"limit: {limit} is below 1.")
        ask, asked = self._question(**where)
        series, truncated = points(ask, asked, granularity, by, limit)
        return Series(
            granularity=granularity,
            tz=asked.zone.key,
            by=by,
            points=series,
            truncated=truncated,
            method=ask.method,
        )

    def users(
        self, *, order: str = "-total_tokens", limit: Groups = 100, **where: Unpack[FilterArguments]
    ) -> Users:
        """Users: what each used, and from when to when.

        Args:
            order: a measure, largest first with a leading `-`.
            limit: how many users.
            where: filters.
        """
        return users(*self._question(**where), order, limit)

    def tags(
        self, *, order: str = "-total_tokens", limit: Groups = 100, **where: Unpack[FilterArguments]
    ) -> Tags:
        """Calls by tag, each under all of its tags; the sum over tags, and the total with each call once.

        Args:
            order: a measure, largest first with a leading `-`.
            limit: how many tags.
            where: filters.
        """
        return tags(*self._question(**where), order, limit)

    def operations(
        self, by: Field = None, *, limit: Groups = 100, **where: Unpack[FilterArguments]
    ) -> OperationsApart:
        """What users asked for: operations, counted once however many retries and fallbacks they took.

        Args:
            by: a field; then each of its values has figures of its own too.
            limit: how many of those values.
            where: filters.
        """
        return operations(*self._question(**where), by, limit)

    # --- how long, how fast, how large -----------------------------------------------------------

    def latency(self, by: Field = None, **where: Unpack[FilterArguments]) -> Latency:
        """Percentiles of how long successful calls took, in milliseconds; `error` says how exact.

        Other outcomes count if `status` asks for them. Answers from a response cache do not count.

        Args:
            by: a field; then each of its values has percentiles of its own too.
            where: filters.
        """
        where.setdefault("status", "success")
        ask, asked = self._question(**where, cache_hit=[False, None])
        return latency(ask, asked, by)

    def tokens_per_second(
        self, by: Field = None, *, limit: Groups = 100, **where: Unpack[FilterArguments]
    ) -> Speeds:
        """How fast successful answers were written, and how long their first token took.

        Args:
            by: a field; then each of its values has figures of its own too.
            limit: how many of those values.
            where: filters.
        """
        return speeds(*self._question(**where), by, limit)

    def sizes(self, by: Field = None, *, limit: Groups = 100, **where: Unpack[FilterArguments]) -> SizesApart:
        """Bytes of requests and answers: sums, averages and largest; counts of messages and tool uses.

        Args:
            by: a field; then each of its values has figures of its own too.
            limit: how many of those values.
            where: filters.
        """
        return sizes(*self._question(**where), by, limit)

    # --- what went wrong, and what is doubtful ---------------------------------------------------

    def error_statistics(
        self, *, granularity: Granularity = "day", limit: Groups = 100, **where: Unpack[FilterArguments]
    ) -> ErrorStatistics:
        """Errors and timeouts: by type, model and provider (most first), and over time.

        Args:
            granularity: of the time series, see `timeseries`.
            limit: how many types, models and providers.
            where: filters.
        """
        ask, asked = self._question(**where)
        return error_statistics(ask, asked, granularity, limit)

    def data_quality(self, **where: Unpack[FilterArguments]) -> DataQuality:
        """What is doubtful about the records: how often, an example, where, and what to do about it."""
        return data_quality(*self._question(**where), self._now())

    # --- money -----------------------------------------------------------------------------------

    def cache_savings(self, **where: Unpack[FilterArguments]) -> CacheSavings:
        """What the providers' caches and response caches saved, by list and own prices of each day."""
        return savings(*self._question(**where), self._priced())

    # --- in the words of `UsageInfo` and of a tracker --------------------------------------------

    def usage_stats(self, **where: Unpack[FilterArguments]) -> UsageStats:
        """Requests, tokens and dollars, in sum and by model (most requests first)."""
        return usage_stats(*self._question(**where))

    def detailed_stats(self, **where: Unpack[FilterArguments]) -> DetailedStats:
        """How requests went, by model: success rate in percent, average response time in seconds."""
        return detailed_stats(*self._question(**where))

    def running_totals(self, **where: Unpack[FilterArguments]) -> RunningTotals:
        """Totals of a window by provider and model, streams apart, as a tracker has them since its start."""
        return running_totals(*self._question(**where))


def _nothing() -> None:
    """What is asked inside a snapshot brings nothing new."""
