"""The running totals of a window, from the store, in the shape in which a tracker keeps its own."""

from __future__ import annotations

import operator
from typing import Any, Final

from tokentrail._query import Filters
from tokentrail._stats._answers import Answer, Found
from tokentrail._stats._ask import Ask
from tokentrail._totals import Leaves, hierarchy

_SUMS: Final = (
    "input_tokens", "output_tokens", "cache_read_tokens", "cache_creation_tokens", "tool_use_count",
    "tool_result_count", "tool_call_count", "duration_ms",
)  # fmt: skip
_MEASURES: Final = (
    "calls", "error_calls", *_SUMS, "timed_calls", "last_started_at", "last_ended_at", "warning_calls",
)  # fmt: skip


class Split(Answer):
    """Sums over requests. What nobody reported counts as nothing here; `coverage` elsewhere says how much."""

    requests: int
    errors: int
    input_tokens: int
    output_tokens: int
    cache_read_tokens: int
    cache_creation_tokens: int
    tool_uses: int
    tool_results: int
    tool_calls: int
    total_duration_ms: float
    average_duration_ms: float


class Rollup(Answer):
    """Requests in all, and apart by whether they were streams."""

    total: Split
    streaming: Split
    non_streaming: Split


class ModelTotals(Rollup):
    """Requests to one model."""

    last_accessed: str | None


class ProviderTotals(Answer):
    """Requests to one provider."""

    last_accessed: str | None
    rollup: Rollup
    models: dict[str, ModelTotals]


class RunningTotals(Found):
    """Totals by provider and model."""

    last_accessed: str | None
    """When the last call ended: ISO 8601 in UTC."""
    total_requests: int
    total_errors: int
    total_input_tokens: int
    total_output_tokens: int
    total_cache_read_tokens: int
    total_cache_creation_tokens: int
    total_tool_uses: int
    total_tool_results: int
    total_tool_calls: int
    total_duration_ms: float
    average_duration_ms: float
    total_warnings: int
    """Calls with a warning, which is no error."""
    active_requests: int
    """Always 0: running calls are in no store."""
    providers: dict[str, ProviderTotals]


def running_totals(ask: Ask, asked: Filters) -> RunningTotals:
    """Totals of the calls that ended."""
    leaves: Leaves = {}
    warnings = 0
    for group in ask(_MEASURES, asked, by=("provider", "model", "is_streaming")):
        warnings += group["warning_calls"]
        key = (group["provider"], group["model"], group["is_streaming"] is True)
        leaf = _leaf(group)
        leaves[key] = _joined(leaves[key], leaf) if key in leaves else leaf
    return RunningTotals(**hierarchy(leaves, warnings=warnings, active=0), method=ask.method)


def _leaf(group: dict[str, Any]) -> list[int]:
    sums = [0 if group[name] is None else group[name] for name in _SUMS]
    # The latest end, or the latest start where nothing says when a call ended.
    last = max(moment for name in ("last_ended_at", "last_started_at") if (moment := group[name]) is not None)
    return [group["calls"], group["error_calls"], *sums, group["timed_calls"], last]


def _joined(one: list[int], other: list[int]) -> list[int]:
    return [*map(operator.add, one[:-1], other[:-1]), max(one[-1], other[-1])]
