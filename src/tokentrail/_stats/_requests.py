"""The words of `UsageInfo`: requests, tokens and dollars, response times in seconds."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from tokentrail._measures import public
from tokentrail._query import Filters
from tokentrail._records import from_us
from tokentrail._stats._amounts import AMOUNTS, LASTING, added, coverage, last_of, over, success_rate
from tokentrail._stats._answers import Answer, Coverage, Found
from tokentrail._stats._ask import Ask
from tokentrail.models import LLMCall


class ModelUsage(Answer):
    """Requests to one model."""

    model_name: str | None
    requests: int
    tokens: int | None
    cost: float | None
    last_used: datetime | None
    coverage: Coverage


class UsageStats(Found):
    """Requests, tokens and dollars, in sum and by model."""

    total_requests: int
    successful_requests: int
    failed_requests: int
    total_input_tokens: int | None
    total_output_tokens: int | None
    total_tokens: int | None
    total_cost: float | None
    missing_usage_requests: int
    unpriced_requests: int
    coverage: Coverage
    models: list[ModelUsage]


class ModelDetails(Answer):
    """How requests to one model went."""

    name: str | None
    requests: int
    success_rate: float | None
    """Percent."""
    avg_response_time: float | None
    """Seconds."""
    tokens: int | None
    cost: float | None
    coverage: Coverage


class DetailedStats(Found):
    """How requests went, by model."""

    start_date: datetime | None
    end_date: datetime | None
    """The first moment that is no longer in."""
    total_requests: int
    coverage: Coverage
    models: list[ModelDetails]


class ClientModel(ModelUsage):
    """What a client used one model of one provider for."""

    model_provider: str | None
    total_input_tokens: int | None
    total_output_tokens: int | None
    total_tokens: int | None
    total_cost: float | None


class RequestSummary(Answer):
    """One request."""

    id: str
    """The id of the call."""
    request_id: str
    """The caller's own name for it, else the id."""
    timestamp: datetime
    model_name: str | None
    model_provider: str | None
    status: str
    """`running`, or how it ended."""
    input_tokens: int | None = None
    output_tokens: int | None = None
    total_tokens: int | None = None
    total_cost: float | None = None
    response_time: float | None = None
    """Seconds."""
    error_message: str | None = None


class RequestDetails(RequestSummary):
    """One request, with everything that is known of it."""

    client_id: str | None = None
    user_id: str | None = None
    input_cost: float | None = None
    output_cost: float | None = None
    request_raw: str | None = None
    """Only if `capture` was on."""
    response_raw: str | None = None
    call: LLMCall | None = None
    """All columns; `None` while it runs."""


class ClientUsageData(Found):
    """What a client used."""

    client_id: str | None
    total_requests: int
    successful_requests: int
    failed_requests: int
    running_requests: int = 0
    """Known to a tracker only."""
    total_input_tokens: int | None
    total_output_tokens: int | None
    total_tokens: int | None
    total_cost: float | None
    missing_usage_requests: int
    unpriced_requests: int
    coverage: Coverage
    models_used: list[ClientModel]
    recent_requests: list[RequestSummary]


# --- from groups ---------------------------------------------------------------------------------


def usage_stats(ask: Ask, asked: Filters) -> UsageStats:
    """Requests in sum and by model, most requests first."""
    (group,) = ask(AMOUNTS, asked)
    models = ask(LASTING, asked, by=("model",), order="-calls")
    return UsageStats(
        **_requests(group), models=[ModelUsage(**_model(each)) for each in models], method=ask.method
    )


def detailed_stats(ask: Ask, asked: Filters) -> DetailedStats:
    """How requests went, by model, most requests first."""
    models = ask(AMOUNTS, asked, by=("model",), order="-calls")
    return DetailedStats(
        start_date=_shown(asked, asked.start_us),
        end_date=_shown(asked, asked.end_us),
        total_requests=sum(group["calls"] for group in models),
        coverage=coverage({**dict.fromkeys(AMOUNTS, 0), **added(models)}),
        models=[_details(group) for group in models],
        method=ask.method,
    )


def client_usage(
    ask: Ask, asked: Filters, client_id: str | None, recent: Sequence[LLMCall]
) -> ClientUsageData:
    """What was used, by model and provider, and the newest requests."""
    (group,) = ask(AMOUNTS, asked)
    models = ask(LASTING, asked, by=("model", "provider"), order="-calls")
    return ClientUsageData(
        client_id=client_id,
        **_requests(group),
        models_used=[
            ClientModel(
                **_model(each),
                model_provider=each["provider"],
                total_input_tokens=each["input_tokens"],
                total_output_tokens=each["output_tokens"],
                total_tokens=each["total_tokens"],
                total_cost=public("cost_usd", each["cost_usd"]),
            )
            for each in models
        ],
        recent_requests=[request(call) for call in recent],
        method=ask.method,
    )


def request(call: LLMCall) -> RequestSummary:
    """One ended request."""
    return RequestSummary(
        id=call.id,
        request_id=call.request_id or call.id,
        timestamp=call.started_at,
        model_name=call.model,
        model_provider=call.provider,
        status=call.status,
        input_tokens=call.input_tokens,
        output_tokens=call.output_tokens,
        total_tokens=call.total_tokens,
        total_cost=call.cost_usd,
        response_time=None if call.duration_ms is None else call.duration_ms / 1000,
        error_message=call.error_message,
    )


def _requests(group: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "total_requests": group["calls"],
        "successful_requests": group["success_calls"],
        "failed_requests": group["error_calls"],
        "total_input_tokens": group["input_tokens"],
        "total_output_tokens": group["output_tokens"],
        "total_tokens": group["total_tokens"],
        "total_cost": public("cost_usd", group["cost_usd"]),
        "missing_usage_requests": group["billed_calls"] - group["counted_calls"],
        "unpriced_requests": group["calls"] - group["priced_calls"],
        "coverage": coverage(group),
    }


def _model(group: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "model_name": group["model"],
        "requests": group["calls"],
        "tokens": group["total_tokens"],
        "cost": public("cost_usd", group["cost_usd"]),
        "last_used": last_of(group),
        "coverage": coverage(group),
    }


def _details(group: Mapping[str, Any]) -> ModelDetails:
    share = success_rate(group)
    seconds = over(public("duration_ms", group["duration_ms"]), group["timed_calls"])
    return ModelDetails(
        name=group["model"],
        requests=group["calls"],
        success_rate=None if share is None else 100 * share,
        avg_response_time=None if seconds is None else seconds / 1000,
        tokens=group["total_tokens"],
        cost=public("cost_usd", group["cost_usd"]),
        coverage=coverage(group),
    )


def _shown(asked: Filters, moment: int | None) -> datetime | None:
    return None if moment is None else from_us(moment).astimezone(asked.zone)
