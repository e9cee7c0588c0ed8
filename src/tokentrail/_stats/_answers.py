"""The answers of `Stats`, as pydantic models: Python, HTTP and the command line show the same ones.

In every answer `None` is "not known" (or "there is nothing to say it about"), and zero is zero.
"""

from __future__ import annotations

from datetime import datetime
from functools import cache
from typing import Any, Self

from pydantic import BaseModel, ConfigDict, SerializeAsAny

from tokentrail.models import LLMCall


class Answer(BaseModel):
    """Base of all answers."""

    model_config = ConfigDict(frozen=True, protected_namespaces=())

    @classmethod
    def of_checked(cls, values: dict[str, Any]) -> Self:
        """An answer of values that are all there and of the right type: thousands of points are sums of
        ours, and checking them would cost more than reading them.
        """
        answer = cls.__new__(cls)
        object.__setattr__(answer, "__dict__", values)
        object.__setattr__(answer, "__pydantic_fields_set__", _names_of(cls))
        object.__setattr__(answer, "__pydantic_extra__", None)
        object.__setattr__(answer, "__pydantic_private__", None)
        return answer


@cache
def _names_of(answer: type[Answer]) -> set[str]:
    return set(answer.model_fields)


class Found(Answer):
    """An answer that says how it was found."""

    method: str
    """`rollup`: from the sums kept beside the rows; `rows`: by reading them."""


class Coverage(Answer):
    """How much of a total is known: shares between 0 and 1; `None` where there are no calls."""

    tokens: float | None
    """Of the billed calls, those whose tokens were reported."""
    cost: float | None
    """Of all calls, those whose cost is known."""


class Amounts(Answer):
    """What a group of calls used. Tokens are those that were billed: answers from a response cache
    (`cache_hit`) are counted in `cache_hit_*`, and cost nothing. Failed calls are in, for they are billed."""

    calls: int
    success_calls: int
    error_calls: int
    """Errors and timeouts."""
    timeout_calls: int
    cancelled_calls: int
    abandoned_calls: int
    interrupted_calls: int
    cache_hit_calls: int
    success_rate: float | None
    """From 0 to 1: success of success, error and timeout; `None` if none of those ended."""

    input_tokens: int | None
    output_tokens: int | None
    total_tokens: int | None
    cache_read_tokens: int | None
    cache_creation_tokens: int | None
    reasoning_tokens: int | None
    input_audio_tokens: int | None
    output_audio_tokens: int | None
    cache_hit_input_tokens: int | None
    cache_hit_output_tokens: int | None
    cache_hit_total_tokens: int | None
    missing_usage_calls: int
    """Billed calls whose tokens are not known."""

    cost_usd: float | None
    input_cost_usd: float | None
    output_cost_usd: float | None
    unpriced_calls: int
    """Calls whose cost is not known."""

    avg_tokens_per_call: float | None
    avg_cost_usd: float | None
    avg_duration_ms: float | None
    avg_time_to_first_token_ms: float | None
    avg_tokens_per_second: float | None
    """Output tokens of successful calls over their duration, without the wait for the first token where it
    is known."""
    coverage: Coverage


class Overview(Amounts, Found):
    """Everything at a glance."""

    total_messages: int
    """Messages that were recorded as such, see `Tracker.record_message`."""
    total_calls: int
    llm_calls: int
    """Calls that are no embeddings."""
    embedding_calls: int
    model_calls: int
    """The same as `total_calls`."""
    active_calls: int | None
    """Calls of the window that run now, and are in no sum; `None` where no tracker is asked."""
    error_rate: float | None
    """From 0 to 1, of success, error and timeout."""
    sessions: int
    """Conversations with a call in the window."""
    active_sessions: int
    """Conversations with a call in the last half hour."""
    users: int
    models: int
    first_started_at: datetime | None
    last_started_at: datetime | None


class Summary(Answer):
    """All calls together."""

    total_calls: int
    success_calls: int
    error_calls: int
    cancelled_calls: int
    abandoned_calls: int
    interrupted_calls: int
    cache_hit_calls: int
    success_rate: float | None
    total_input_tokens: int | None
    total_output_tokens: int | None
    total_tokens: int | None
    total_cost: float | None
    avg_tokens_per_call: float | None
    avg_duration_ms: float | None
    avg_tokens_per_second: float | None
    stream_tokens_per_second: float | None
    """The same as `avg_tokens_per_second`, of streams only."""
    zero_token_success_calls: int
    """Successes that reported zero tokens; those that reported nothing are in `missing_usage_calls`."""
    missing_usage_calls: int
    missing_usage_success_calls: int
    estimated_calls: int
    """Calls whose tokens a library has estimated; the totals hold them, the next three say how much."""
    estimated_input_tokens: int | None
    estimated_output_tokens: int | None
    estimated_total_tokens: int | None
    unpriced_calls: int
    successful_input_tokens: int | None
    successful_output_tokens: int | None
    successful_total_tokens: int | None
    failed_input_tokens: int | None
    failed_output_tokens: int | None
    failed_total_tokens: int | None
    stopped_input_tokens: int | None
    """Of calls that were cancelled, abandoned or interrupted."""
    stopped_output_tokens: int | None
    stopped_total_tokens: int | None
    cache_read_tokens: int | None
    cache_creation_tokens: int | None
    reasoning_tokens: int | None
    input_audio_tokens: int | None
    output_audio_tokens: int | None
    cache_hit_input_tokens: int | None
    cache_hit_output_tokens: int | None
    cache_hit_total_tokens: int | None
    failed_cost: float | None
    coverage: Coverage


class ModelAmounts(Amounts):
    """What calls of one model used."""

    model_name: str | None
    cost: float | None
    """The same as `cost_usd`."""
    last_started_at: datetime | None


class Point(Amounts):
    """What calls of one period used."""

    bucket: datetime
    """When the period begins, in the time zone that was asked for."""
    key: str | bool | None = None
    """Which group, in a series apart by something."""


class TokenStatistics(Found):
    """Tokens in sum, by model and over time."""

    summary: Summary
    by_model: list[ModelAmounts]
    by_model_truncated: bool
    timeseries: list[Point]
    bucket: str
    tz: str


class Series(Found):
    """A time series without gaps."""

    granularity: str
    tz: str
    by: str | None
    points: list[Point]
    truncated: bool
    """Whether there are more values of `by` than `limit`."""


class BreakdownItem(Amounts):
    """What one group of calls used."""

    key: str | bool | None
    """The group; `None` are the calls of which it is not known."""
    last_started_at: datetime | None
    items: list[BreakdownItem] = []
    """The same calls once more apart, by the second level."""


class Breakdown(Found):
    """Calls apart by one field, or by two."""

    by: tuple[str, ...]
    items: list[BreakdownItem]
    truncated: bool
    """Whether there are more groups than `limit`."""


class Percentiles(Answer):
    """Of measured calls, in milliseconds."""

    calls: int
    avg: float | None = None
    min: float | None = None
    p50: float | None = None
    p90: float | None = None
    p95: float | None = None
    p99: float | None = None
    max: float | None = None


class LatencyItem(Percentiles):
    """How long calls of one group took."""

    key: str | bool | None
    time_to_first_token: Percentiles


class Latency(Percentiles, Found):
    """How long calls took."""

    time_to_first_token: Percentiles
    by: str | None
    items: list[LatencyItem]
    error: float
    """Largest relative error of a percentile; 0 is exact."""


class ErrorCount(Answer):
    """How often something failed."""

    key: str | None
    count: int
    share: float
    """Of all errors, between 0 and 1."""
    calls: int
    """All calls of this model or provider; for a type of error the same as `count`."""
    last_at: datetime | None


class ErrorPoint(Answer):
    """Errors of one period."""

    bucket: datetime
    count: int
    calls: int


class ErrorStatistics(Found):
    """Errors and timeouts, by type, model and provider, and over time."""

    total_calls: int
    error_calls: int
    timeout_calls: int
    error_rate: float | None
    """From 0 to 1, of success, error and timeout."""
    by_type: list[ErrorCount]
    by_model: list[ErrorCount]
    by_provider: list[ErrorCount]
    timeseries: list[ErrorPoint]


class CallPage(Found):
    """Some calls, newest first."""

    items: list[SerializeAsAny[LLMCall]]
    total: int
    """All that pass the filters; `method` says how they were counted."""
    limit: int
    """The one in force, which may be lower than the one asked for."""
    offset: int
    next_cursor: str | None


class BudgetCheck(Answer):
    """Whether a request still fits into a budget; is itself true or false."""

    ok: bool
    current_cost: float
    """What is known to have been spent."""
    projected_cost: float | None
    """What the request would cost; `None` if its model has no price, and then it does not fit."""
    budget_limit: float
    remaining: float
    """Before the request."""
    used_percent: float | None
    unpriced_requests: int
    """Requests of unknown cost, which `current_cost` lacks."""

    def __bool__(self) -> bool:
        return self.ok
