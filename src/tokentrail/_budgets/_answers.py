"""What is said about budgets, as pydantic models."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from typing import TypeAlias

from pydantic import BaseModel, ConfigDict


class _Answer(BaseModel):
    model_config = ConfigDict(frozen=True)


class BudgetInfo(_Answer):
    """How far a budget is used."""

    name: str
    scope: dict[str, list[str | bool | None]]
    """Which calls count; empty: all."""
    per: str | None
    """The field each of whose values has the budget for itself."""
    key: str | None
    """Which value this is about."""
    period: str
    tz: str
    window_start: datetime | None
    window_end: datetime | None
    """Where the next window begins; a rolling one has no end."""
    unit: str
    """`usd` or `tokens`: of the limit, and of what is used and left of it."""
    total_budget: float
    used: float
    """What is known to have been used."""
    remaining_budget: float
    """Below zero where more was used."""
    budget_used_percent: float
    is_over: bool
    """Whether nothing is left."""
    thresholds: list[float]
    reached: list[float]
    """Thresholds that are reached."""
    current_cost: float
    """Dollars that are known to have been spent, whatever the unit."""
    current_tokens: int
    """Billed tokens that are known."""
    total_requests: int
    unpriced_requests: int
    """Calls of unknown cost, which `current_cost` lacks."""
    missing_usage_requests: int
    """Calls whose tokens nobody reported, which `current_tokens` lacks."""


class Budgets(_Answer):
    """All budgets."""

    items: list[BudgetInfo]


class BudgetCheck(_Answer):
    """Whether a call still fits into every budget that is meant for it; is itself true or false."""

    ok: bool
    reason: str | None
    """A sentence, where it does not fit."""
    budget: str | None
    """The first budget it does not fit into."""
    projected_cost: float | None
    """Dollars the call would cost; `None` if nothing is known of it."""
    projected_tokens: int | None
    budgets: list[BudgetInfo]
    """All that are meant, before the call."""

    def __bool__(self) -> bool:
        return self.ok


class BudgetNotice(_Answer):
    """A threshold was reached."""

    name: str
    key: str | None
    threshold: float
    at: datetime
    budget: BudgetInfo


Callback: TypeAlias = Callable[[BudgetNotice], object]
