"""Measures put together to the numbers people read: averages, rates, and how much of each total is known."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from functools import lru_cache
from operator import add, sub
from typing import Any, Final, TypeVar

from tokentrail._measures import MEASURES, joined, public
from tokentrail._records import SCALES, from_us
from tokentrail._stats._answers import (
    Amounts,
    Coverage,
    ModelAmounts,
    Overview,
    Summary,
)

_PARTS: Final = (
    "cache_read_tokens", "cache_creation_tokens", "reasoning_tokens", "input_audio_tokens",
    "output_audio_tokens", "cache_hit_input_tokens", "cache_hit_output_tokens", "cache_hit_total_tokens",
)  # fmt: skip
_WHOLES: Final = ("input_tokens", "output_tokens", "total_tokens")
_COUNTS: Final = (
    "calls", "success_calls", "error_calls", "timeout_calls", "cancelled_calls", "abandoned_calls",
    "interrupted_calls", "cache_hit_calls",
)  # fmt: skip
_COUNTED: Final = (*_COUNTS, *_WHOLES, *_PARTS)
"""Plain numbers, the same in public units."""
_SHARED: Final = (
    *_COUNTED, "billed_calls", "counted_calls", "priced_calls", "cost_usd", "duration_ms",
    "timed_calls", "paced_calls", "paced_tokens", "paced_ms",
)  # fmt: skip

AMOUNTS: Final = (
    *_SHARED, "input_cost_usd", "output_cost_usd", "time_to_first_token_ms", "first_token_calls",
)  # fmt: skip
"""The measures behind `Amounts`."""

LASTING: Final = (*AMOUNTS, "last_started_at")
"""The measures behind the amounts of a group that is no period."""

OVERVIEW: Final = (*LASTING, "embedding_calls", "sessions", "users", "models", "first_started_at")
"""The measures behind `Overview`."""

_BY_OUTCOME: Final = tuple(
    f"{outcome}_{name}" for outcome in ("successful", "failed", "stopped", "estimated") for name in _WHOLES
)
SUMMARY: Final = (
    *_SHARED, *_BY_OUTCOME, "billed_success_calls", "stopped_calls", "zero_token_success_calls",
    "missing_usage_success_calls", "estimated_calls", "failed_cost_usd", "stream_paced_calls",
    "stream_paced_tokens", "stream_paced_ms",
)  # fmt: skip
"""The measures behind `Summary`."""

NOTHING: Final[Mapping[str, Any]] = dict.fromkeys(AMOUNTS, 0)
"""A settled period without calls: nothing is unknown, so its sums are zero."""

_OF: Final = {name: measure.of for name, measure in MEASURES.items() if measure.op == "sum"}
"""Sum → the count of the calls it is over."""

AmountsT = TypeVar("AmountsT", bound=Amounts)


def settled(group: Mapping[str, Any]) -> dict[str, Any]:
    """A group in which a sum over no calls is zero; over calls of unknown value it stays unknown."""
    unknown = [name for name, value in group.items() if value is None]
    return {**group, **{name: 0 for name in unknown if name in _OF and group.get(_OF[name]) == 0}}


def settled_columns(columns: dict[str, list[Any]]) -> dict[str, list[Any]]:
    """The same for many groups, as columns."""
    for name in _OF.keys() & columns.keys():
        counts = columns.get(_OF[name], ())
        if None in columns[name] and 0 in counts:
            several = zip(columns[name], counts, strict=True)
            columns[name] = [0 if value is None and count == 0 else value for value, count in several]
    return columns


def added(groups: Iterable[Mapping[str, Any]]) -> dict[str, Any]:
    """Settled groups as one, where no measure counts different values: None + None = None."""
    whole: dict[str, Any] = {}
    for group in groups:
        for name in MEASURES.keys() & group.keys():
            whole[name] = joined(MEASURES[name].op, whole.get(name), group[name])
    return whole


def amounts(answer: type[AmountsT], group: Mapping[str, Any], **more: Any) -> AmountsT:
    """The amounts of a settled group."""
    columns = columns_of_amounts({name: [value] for name, value in group.items()})
    return answer.model_validate({**{name: values[0] for name, values in columns.items()}, **more})


def columns_of_amounts(columns: Mapping[str, Sequence[Any]]) -> dict[str, Sequence[Any]]:
    """The fields of `Amounts` for many settled groups, column by column: that is what is quick."""
    cost, priced = _public("cost_usd", columns), columns["priced_calls"]
    return {
        **{name: columns[name] for name in _COUNTED},
        **_holes(columns),
        **_averages(columns),
        "success_rate": _success_rates(columns),
        "cost_usd": cost,
        "input_cost_usd": _public("input_cost_usd", columns),
        "output_cost_usd": _public("output_cost_usd", columns),
        "avg_cost_usd": list(map(over, cost, priced)),
        "avg_time_to_first_token_ms": list(
            map(over, _public("time_to_first_token_ms", columns), columns["first_token_calls"])
        ),
    }


def _public(name: str, columns: Mapping[str, Sequence[Any]]) -> Sequence[Any]:
    scale = SCALES[MEASURES[name].kind]
    return [None if value is None else value / scale for value in columns[name]]


def last_of(group: Mapping[str, Any]) -> datetime | None:
    """When the last call of a group started."""
    last = group["last_started_at"]
    return None if last is None else from_us(last)


def lasting(group: Mapping[str, Any]) -> dict[str, datetime | None]:
    """From when to when a group of calls started."""
    first = group["first_started_at"]
    return {"first_started_at": None if first is None else from_us(first), "last_started_at": last_of(group)}


def overview(group: Mapping[str, Any], **told: Any) -> Overview:
    """Everything at a glance; `told` is what does not come from the sums."""
    return amounts(
        Overview,
        group,
        total_calls=group["calls"],
        llm_calls=group["calls"] - group["embedding_calls"],
        embedding_calls=group["embedding_calls"],
        model_calls=group["calls"],
        error_rate=rate(group["error_calls"], group["success_calls"] + group["error_calls"]),
        sessions=group["sessions"],
        users=group["users"],
        models=group["models"],
        **lasting(group),
        **told,
    )


def summary(group: Mapping[str, Any]) -> Summary:
    """All calls together, by the names of the token statistics."""
    same = (
        "success_calls", "error_calls", "cancelled_calls", "abandoned_calls", "interrupted_calls",
        "cache_hit_calls", "zero_token_success_calls", "missing_usage_success_calls", "estimated_calls",
        *_BY_OUTCOME, *_PARTS,
    )  # fmt: skip
    alone = {name: [value] for name, value in group.items()}
    stream_ms = public("stream_paced_ms", group["stream_paced_ms"])
    return Summary(
        **{name: group[name] for name in same},
        **{name: values[0] for name, values in {**_holes(alone), **_averages(alone)}.items()},
        success_rate=success_rate(group),
        total_calls=group["calls"],
        total_input_tokens=group["input_tokens"],
        total_output_tokens=group["output_tokens"],
        total_tokens=group["total_tokens"],
        total_cost=public("cost_usd", group["cost_usd"]),
        failed_cost=public("failed_cost_usd", group["failed_cost_usd"]),
        stream_tokens_per_second=per_second(group["stream_paced_tokens"], stream_ms),
    )


def model_amounts(group: Mapping[str, Any]) -> ModelAmounts:
    """What calls of one model used."""
    cost = public("cost_usd", group["cost_usd"])
    return amounts(ModelAmounts, group, model_name=group["model"], cost=cost, last_started_at=last_of(group))


def _holes(columns: Mapping[str, Sequence[Any]]) -> dict[str, Sequence[Any]]:
    calls, priced = columns["calls"], columns["priced_calls"]
    billed, counted = columns["billed_calls"], columns["counted_calls"]
    return {
        "missing_usage_calls": list(map(sub, billed, counted)),
        "unpriced_calls": list(map(sub, calls, priced)),
        "coverage": list(map(_coverage, map(over, counted, billed), map(over, priced, calls))),
    }


def coverage(group: Mapping[str, Any]) -> Coverage:
    """How much of the tokens and dollars of a group is known."""
    return _coverage(
        over(group["counted_calls"], group["billed_calls"]), over(group["priced_calls"], group["calls"])
    )


@lru_cache(maxsize=4_096)
def _coverage(tokens: float | None, cost: float | None) -> Coverage:
    """Most groups of an answer have the same one."""
    return Coverage(tokens=tokens, cost=cost)


def _averages(columns: Mapping[str, Sequence[Any]]) -> dict[str, Sequence[Any]]:
    """Averages over the calls of which the value is known."""
    return {
        "avg_tokens_per_call": list(map(over, columns["total_tokens"], columns["counted_calls"])),
        "avg_duration_ms": list(map(over, _public("duration_ms", columns), columns["timed_calls"])),
        "avg_tokens_per_second": list(map(per_second, columns["paced_tokens"], _public("paced_ms", columns))),
    }


def _success_rates(columns: Mapping[str, Sequence[Any]]) -> Sequence[Any]:
    succeeded = columns["success_calls"]
    return list(map(rate, succeeded, map(add, succeeded, columns["error_calls"])))


def success_rate(group: Mapping[str, Any]) -> float | None:
    """Success of success, error and timeout; unknown if none of those ended."""
    return rate(group["success_calls"], group["success_calls"] + group["error_calls"])


def rate(part: int, whole: int) -> float | None:
    """A share from 0 to 1; unknown of nothing."""
    return None if whole == 0 else part / whole


def over(value: float | None, count: int) -> float | None:
    """An average over the calls of which the value is known; unknown of none."""
    return None if value is None or count == 0 else value / count


def per_second(tokens: int | None, milliseconds: float | None) -> float | None:
    """A speed; unknown where no time passed."""
    if tokens is None or not milliseconds:
        return None
    return tokens / milliseconds * 1000
