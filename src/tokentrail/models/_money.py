"""The tables of the user's own prices and budgets, and of the warnings that were given."""

from __future__ import annotations

from datetime import datetime
from typing import Any, ClassVar

from tokentrail._records import MONEY
from tokentrail.models._columns import (
    Table,
    count_column,
    json_column,
    scaled_column,
    text_column,
    time_column,
)


class ModelPrice(Table, table=True):
    """A price of the user's own, in US dollars, for calls that started in its time.

    In the database money is integer nano-dollars. A rate that is `None` is charged as its whole: what is read
    from a cache as input, reasoning as output; audio without a rate has no price.
    """

    __tablename__: ClassVar[Any] = "model_price"

    id: str = text_column(primary_key=True)
    """Provider, model and beginning: a price that is set again replaces itself."""
    provider: str | None = text_column()
    model: str = text_column(nullable=False)
    """The name of a model; `*` and `?` allowed."""
    valid_from: datetime | None = time_column()
    """The first moment at which it holds; `None`: always did."""
    valid_to: datetime | None = time_column()
    """The first moment at which it no longer holds."""
    input_per_million: float | None = scaled_column("input_nanos_per_million", MONEY)
    output_per_million: float | None = scaled_column("output_nanos_per_million", MONEY)
    cache_read_per_million: float | None = scaled_column("cache_read_nanos_per_million", MONEY)
    cache_creation_per_million: float | None = scaled_column("cache_creation_nanos_per_million", MONEY)
    cache_creation_1h_per_million: float | None = scaled_column("cache_creation_1h_nanos_per_million", MONEY)
    reasoning_per_million: float | None = scaled_column("reasoning_nanos_per_million", MONEY)
    input_audio_per_million: float | None = scaled_column("input_audio_nanos_per_million", MONEY)
    output_audio_per_million: float | None = scaled_column("output_audio_nanos_per_million", MONEY)
    per_request: float | None = scaled_column("nanos_per_request", MONEY)
    created_at: datetime | None = time_column()


class Budget(Table, table=True):
    """What some calls may use in a window of time: dollars, or tokens. It warns, and stops nothing itself."""

    __tablename__: ClassVar[Any] = "budget"

    name: str = text_column(primary_key=True)
    scope: dict[str, Any] = json_column(dict)
    """Filters: which calls count, e.g. `{"user_id": ["alice"]}`; none: all."""
    per: str | None = text_column()
    """A field each of whose values has the budget for itself, e.g. `user_id`."""
    period: str = text_column(nullable=False)
    """`day`, `week` (from Monday), `month` or `total`; or a rolling span such as `24h`, `30d`."""
    tz: str = text_column(nullable=False)
    """Whose days, weeks and months."""
    limit_usd: float | None = scaled_column("limit_nanos", MONEY)
    limit_tokens: int | None = count_column()
    thresholds: list[Any] = json_column(list)
    """Shares of the limit at which a warning is due, e.g. 0.8 and 1."""
    created_at: datetime | None = time_column()


class BudgetAlert(Table, table=True):
    """A warning that was given: once for each budget, window and threshold, whoever saw it first."""

    __tablename__: ClassVar[Any] = "budget_alert"

    id: str = text_column(primary_key=True)
    budget: str = text_column(nullable=False)
    key: str | None = text_column()
    """Whose budget it is, where each value has its own."""
    threshold: float = scaled_column("threshold_nanos", MONEY)
    window_start: datetime | None = time_column()
    fired_at: datetime | None = time_column(nullable=False)
