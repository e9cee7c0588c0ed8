"""What users asked for: an operation is one wish, whatever number of attempts it took.

Attempts of one operation share its id. A call without one is an operation of its own. Where all attempts of
an operation are in the question, counting them is enough: one is the first, each other follows one that
failed, and the last may succeed. (The edge of a window may part the attempts of one operation; then what is
in the window counts.) Where filters or groups may part them, different ids are counted, which takes the rows.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from tokentrail._measures import public
from tokentrail._query import Filters
from tokentrail._stats._amounts import coverage, over, rate
from tokentrail._stats._answers import Answer, Coverage, Found
from tokentrail._stats._apart import largest
from tokentrail._stats._ask import Ask

_ATTEMPTS: Final = (
    "calls", "success_calls", "error_calls", "retry_calls", "fallback_calls", "total_tokens",
    "failed_total_tokens", "cost_usd", "failed_cost_usd", "billed_calls", "counted_calls", "priced_calls",
)  # fmt: skip
_IDS: Final = (
    "operations", "successful_operations", "finished_operations", "lone_calls", "lone_success_calls",
    "lone_error_calls",
)  # fmt: skip
_APART: Final = frozenset(
    ("provider", "model", "requested_model", "call_type", "status", "is_streaming", "run_id", "tag")
)
"""Fields in which the attempts of one operation may differ."""


class Operations(Answer):
    """Wishes, and the attempts they took."""

    operations: int
    """Each counted once, however often it was tried."""
    attempts: int
    """Calls."""
    successful_operations: int
    """Those of which an attempt succeeded."""
    failed_operations: int
    """Those that ended, all their attempts with an error or a timeout."""
    success_rate: float | None
    """From 0 to 1, of successful and failed operations."""
    retries: int
    """Attempts at the same model."""
    fallbacks: int
    """Attempts at another one."""
    attempts_per_operation: float | None
    total_tokens: int | None
    """Of all attempts, for all are billed."""
    total_cost: float | None
    failed_attempt_tokens: int | None
    """Of the attempts that failed."""
    failed_attempt_cost: float | None
    coverage: Coverage


class OperationsItem(Operations):
    """Wishes of one group. An operation whose attempts are in several groups is in each of them."""

    key: str | bool | None


class OperationsApart(Operations, Found):
    """Wishes in all, and apart by a field."""

    by: str | None
    items: list[OperationsItem]
    truncated: bool


def operations(ask: Ask, asked: Filters, by: str | None, limit: int) -> OperationsApart:
    """Operations in all and of each group, those with most calls first."""
    is_whole = not asked.wanted.keys() & _APART
    (whole,) = ask(_ATTEMPTS, asked)
    if not is_whole or whole["error_calls"] < whole["retry_calls"] + whole["fallback_calls"]:
        (whole,) = ask((*_ATTEMPTS, *_IDS), asked)
    groups, truncated = largest(ask, asked, by, "-calls", limit, (*_ATTEMPTS, *_IDS))
    items = [OperationsItem(key=group[by], **_operations(group)) for group in groups if by is not None]
    return OperationsApart(**_operations(whole), by=by, items=items, truncated=truncated, method=ask.method)


def _operations(group: Mapping[str, Any]) -> dict[str, Any]:
    count, successful, failed = _by_ids(group) if "operations" in group else _by_attempts(group)
    return {
        "operations": count,
        "attempts": group["calls"],
        "successful_operations": successful,
        "failed_operations": failed,
        "success_rate": rate(successful, successful + failed),
        "retries": group["retry_calls"],
        "fallbacks": group["fallback_calls"],
        "attempts_per_operation": over(group["calls"], count),
        "total_tokens": group["total_tokens"],
        "total_cost": public("cost_usd", group["cost_usd"]),
        "failed_attempt_tokens": group["failed_total_tokens"],
        "failed_attempt_cost": public("failed_cost_usd", group["failed_cost_usd"]),
        "coverage": coverage(group),
    }


def _by_attempts(group: Mapping[str, Any]) -> tuple[int, int, int]:
    again = group["retry_calls"] + group["fallback_calls"]
    return group["calls"] - again, group["success_calls"], group["error_calls"] - again


def _by_ids(group: Mapping[str, Any]) -> tuple[int, int, int]:
    successful = group["successful_operations"] + group["lone_success_calls"]
    finished = group["finished_operations"] + group["lone_success_calls"] + group["lone_error_calls"]
    return group["operations"] + group["lone_calls"], successful, finished - successful
