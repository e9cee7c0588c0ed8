"""Small translations between a tracker's words and the facade's."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any


def provider_of(model_name: object) -> str | None:
    """What stands before the first `/` of a model's name."""
    provider, slash, _ = str(model_name).partition("/")
    return provider if slash else None


def duration(response_time: object) -> dict[str, Any]:
    """`duration_ms` from seconds, if they are any."""
    seconds = _amount(response_time)
    return {} if seconds is None else {"duration_ms": seconds * 1000}


def cost(usage_info: object) -> dict[str, Any]:
    """The cost that a usage states, as the provider's."""
    if isinstance(usage_info, Mapping):
        given = usage_info.get("total_cost")
    else:
        given = getattr(usage_info, "total_cost", None)
    cost = _amount(given)
    return {} if cost is None else {"cost_usd": cost, "cost_source": "provider"}


def _amount(value: object) -> float | None:
    """A number that can be an amount of time or money, else nothing."""
    if isinstance(value, bool) or not isinstance(value, (int, float, str)):
        return None
    try:
        amount = float(value)
    except ValueError:
        return None
    return amount if math.isfinite(amount) and amount >= 0 else None


def or_zero(count: int | None) -> int:
    """A count for those who add up; how many are not known is said beside it."""
    return 0 if count is None else count


def model_row(model: Any) -> dict[str, Any]:
    """Requests to one model, by the names of `get_usage_stats`."""
    return {
        "model_name": model.model_name,
        "requests": model.requests,
        "tokens": or_zero(model.tokens),
        "cost": model.cost,
        "running": 0,
    }


def running_fields(snapshot: Mapping[str, Any]) -> dict[str, Any]:
    """One request that runs."""
    return {
        "id": snapshot["id"],
        "request_id": snapshot["request_id"],
        "timestamp": snapshot["started_at"],
        "model_name": snapshot["model"],
        "model_provider": snapshot["provider"],
        "status": "running",
        "input_tokens": snapshot["input_tokens"],
        "output_tokens": snapshot["output_tokens"],
    }


def dollars(cost: float | None) -> str:
    """Dollars for people."""
    return "n/a" if cost is None else f"${cost:,.6f}"


def hole(count: int, what: str) -> str:
    """How much is not known, for people."""
    return f"  ({count:,} {what})" if count else ""
