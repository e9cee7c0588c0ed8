"""A call as a row of Letta's `llm_traces`: 31 columns in the order of its inserts, each written down once.

Texts that are not there are `""`, flags are 0 or 1. The cached, cache-write and reasoning counts are `None`
where nobody reported them; the other counts have no such value in that table, and are 0.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from tokentrail.models._calls import LLMCall

_ID_PREFIX: Final = "provider_trace-"
_MOST: Final = 1000
"""Characters of an error message."""

NO_PAYLOAD: Final[Mapping[str, str | None]] = MappingProxyType({})

Value = Callable[["LLMCall"], Any]


def _text(name: str) -> Value:
    return lambda call: getattr(call, name) or ""


def _number(name: str) -> Value:
    return lambda call: 0 if (value := getattr(call, name)) is None else value


def _nullable(name: str) -> Value:
    return lambda call: getattr(call, name)


def _is_error(call: LLMCall) -> int:
    return int(call.status in ("error", "timeout") or bool(call.error_type))


def _params(call: LLMCall) -> str:
    return json.dumps(call.params, ensure_ascii=False) if call.params else ""


COLUMNS: Final[Mapping[str, Value]] = {
    "id": lambda call: call.id.removeprefix(_ID_PREFIX),
    "organization_id": _text("organization_id"),
    "project_id": _text("project_id"),
    "agent_id": _text("agent_id"),
    "agent_tags": lambda call: list(call.tags),
    "run_id": _text("run_id"),
    "step_id": _text("step_id"),
    "trace_id": _text("trace_id"),
    "call_type": _text("call_type"),
    "provider": _text("provider"),
    "model": _text("model"),
    "is_byok": lambda call: int(bool(call.is_byok)),
    "request_size_bytes": _number("request_bytes"),
    "response_size_bytes": _number("response_bytes"),
    "prompt_tokens": _number("input_tokens"),
    "completion_tokens": _number("output_tokens"),
    "total_tokens": _number("total_tokens"),
    "cached_input_tokens": _nullable("cache_read_tokens"),
    "cache_write_tokens": _nullable("cache_creation_tokens"),
    "reasoning_tokens": _nullable("reasoning_tokens"),
    "latency_ms": lambda call: 0 if call.duration_ms is None else round(call.duration_ms),
    "is_error": _is_error,
    "error_type": _text("error_type"),
    "error_message": lambda call: (call.error_message or "")[:_MOST],
    "request_json": lambda _: "",
    "response_json": lambda _: "",
    "llm_config_json": _params,
    "billing_plan_type": _text("billing_plan_type"),
    "billing_cost_source": _text("billing_cost_source"),
    "billing_customer_id": _text("billing_customer_id"),
    "created_at": lambda call: call.started_at,
}
"""Name → value of a call; payloads lie beside it and are put in by `trace_row`."""


def trace_row(call: LLMCall, payload: Mapping[str, str | None]) -> tuple[Any, ...]:
    """The values of a call, in the order of `COLUMNS`."""
    known = {f"{name}_json": text for name, text in payload.items() if text}
    return tuple(known.get(name, value(call)) for name, value in COLUMNS.items())
