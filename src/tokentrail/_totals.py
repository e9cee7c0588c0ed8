"""Running totals since the tracker was made: provider → model → streaming or not, exact integers."""

from __future__ import annotations

import fnmatch
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import repeat
from operator import add
from typing import Any, Final, TypeAlias

from tokentrail._records import FAILED, Record, iso, to_us

_SUMS: Final = (
    "input_tokens", "output_tokens", "cache_read_tokens", "cache_creation_tokens",
    "tool_use_count", "tool_result_count", "tool_call_count",
)  # fmt: skip
_SUMMED: Final = tuple(enumerate(_SUMS, start=2))
_SUMMED_OF_HITS: Final = _SUMMED[4:]
"""An answer from a response cache was not billed: its tokens are no part of a total."""
_NAMES: Final = (
    "requests", "errors", "input_tokens", "output_tokens", "cache_read_tokens", "cache_creation_tokens",
    "tool_uses", "tool_results", "tool_calls", "total_duration_ms",
)  # fmt: skip
GROUPED: Final = ("provider", "model", "is_streaming")
MEASURED: Final = ("calls", "error_calls", *_SUMS, "duration_ms", "timed_calls", "last_started_at")
"""Measures of a store in the order of a leaf."""
_REQUESTS, _ERRORS = 0, 1
_DURATION, _TIMED, _LAST = 9, 10, 11
_WIDTH: Final = 12
"""Nine counts, the microseconds of the timed calls and their number, and when the last one ended."""

Key: TypeAlias = tuple[str | None, str | None, bool]
Leaves: TypeAlias = dict[Key, list[int]]
"""(provider, model, is_streaming) → the sums of a leaf, in the order of `_NAMES`."""

UNKNOWN: Final = "unknown"
OTHER: Final = "other"
MOST_LEAVES: Final = 10_000
"""Beyond so many, models met anew are added up as `other`: names may come from strangers, memory may not."""


class Totals:
    """Sums over ended calls. Adding with sign -1 takes a replaced end back out again."""

    def __init__(self) -> None:
        # (provider, model, is_streaming) → eleven sums; a tuple and not a joined text, which could not be
        # split again: model names contain ':' and '/'.
        self._leaves: Leaves = {}
        self.warnings = 0

    def add(self, records: Sequence[Record], sign: int = 1) -> None:
        """Add ended calls, or take them back. Many at once: each alone would be dear."""
        groups: dict[Key, list[Record]] = {}
        for key, record in zip(_keys(records), records, strict=True):
            if key in groups:
                groups[key].append(record)
            else:
                groups[key] = [record]
        for key, members in groups.items():
            leaf = self._leaf(key)
            _add(leaf, members, sign)
            leaf[_ERRORS] += sign * sum(map(FAILED.__contains__, _column(members, "status")))
            durations = [duration for duration in _column(members, "duration_us") if duration is not None]
            leaf[_DURATION] += sign * sum(durations)
            leaf[_TIMED] += sign * len(durations)
            moments: Iterator[Any] = map(
                dict.get, members, repeat("ended_at"), _column(members, "started_at")
            )
            leaf[_LAST] = max(leaf[_LAST], *moments)

    def _leaf(self, key: Key) -> list[int]:
        leaf = self._leaves.get(key)
        if leaf is None:
            if len(self._leaves) >= MOST_LEAVES:
                key = (OTHER, OTHER, key[2])
            leaf = self._leaves.setdefault(key, [0] * _WIDTH)
        return leaf

    @classmethod
    def of_groups(cls, groups: Iterable[Mapping[str, Any]]) -> Totals:
        """Totals of what a store has: its groups by `GROUPED` with the measures `MEASURED`, public units."""
        totals = cls()
        for group in groups:
            key = (group["provider"], group["model"], bool(group["is_streaming"]))
            leaf = totals._leaves.setdefault(key, [0] * _WIDTH)
            sums = {name: 0 if group[name] is None else group[name] for name in MEASURED[:-1]}
            sums["duration_ms"] = round(sums["duration_ms"] * 1000)
            leaf[:_LAST] = map(add, leaf, sums.values())
            leaf[_LAST] = max(leaf[_LAST], to_us(group["last_started_at"]))
        return totals

    def sums(self) -> dict[str, float]:
        """The totals of everything, by name."""
        return _named(_sum(self._leaves.values()))

    def answer(
        self, running: Iterable[Record], *, provider: str | None, model: str | None, include_active: bool
    ) -> dict[str, Any]:
        """The totals as nested plain dicts, filtered; running calls count once and in no average."""
        wanted = _matcher(provider), _matcher(model)
        leaves = {key: list(leaf) for key, leaf in self._leaves.items() if _passes(key, wanted)}
        active = 0
        for record in running:
            key = (record.get("provider"), record.get("model"), bool(record.get("is_streaming")))
            if not _passes(key, wanted):
                continue
            active += 1
            if include_active:
                leaf = leaves.setdefault(key, [0] * _WIDTH)
                _add(leaf, [record], 1)
                leaf[_LAST] = max(leaf[_LAST], record["started_at"])
        return hierarchy(leaves, warnings=self.warnings, active=active)

    @staticmethod
    def matcher(provider: str | None, model: str | None) -> Callable[[Record], bool]:
        """The filter of `answer`, for single records."""
        wanted = _matcher(provider), _matcher(model)
        return lambda record: _passes((record.get("provider"), record.get("model")), wanted)


def hierarchy(leaves: Leaves, *, warnings: int, active: int) -> dict[str, Any]:
    """Leaves as nested plain dicts: provider → model → total, streaming, non_streaming."""
    top = _named(_sum(leaves.values()))
    return {
        "last_accessed": _last(leaves.values()),
        **{
            name if name.startswith("total_") else f"total_{name}": value
            for name, value in top.items()
            if name != "average_duration_ms"
        },
        "average_duration_ms": top["average_duration_ms"],
        "total_warnings": warnings,
        "active_requests": active,
        "providers": _providers(leaves),
    }


def _column(records: Sequence[Record], name: str) -> Iterator[Any]:
    return map(dict.get, records, repeat(name))


def _keys(records: Sequence[Record]) -> Iterator[Key]:
    streamed = map(dict.get, records, repeat("is_streaming"), repeat(False))
    return zip(_column(records, "provider"), _column(records, "model"), streamed, strict=True)


def _add(leaf: list[int], records: Sequence[Record], sign: int) -> None:
    leaf[_REQUESTS] += sign * len(records)
    hits = any(_column(records, "cache_hit"))
    billed = [record for record in records if not record.get("cache_hit")] if hits else records
    for index, name in _SUMMED:
        counted = records if (index, name) in _SUMMED_OF_HITS else billed
        leaf[index] += sign * sum(filter(None, _column(counted, name)))


def _providers(leaves: Leaves) -> dict[str, Any]:
    answer: dict[str, Any] = {}
    for name in sorted({key[0] or UNKNOWN for key in leaves}):
        mine = {key: leaf for key, leaf in leaves.items() if (key[0] or UNKNOWN) == name}
        answer[name] = {"last_accessed": _last(mine.values()), "rollup": _split(mine), "models": {}}
        for model in sorted({key[1] or UNKNOWN for key in mine}):
            its = {key: leaf for key, leaf in mine.items() if (key[1] or UNKNOWN) == model}
            answer[name]["models"][model] = {"last_accessed": _last(its.values()), **_split(its)}
    return answer


def _split(leaves: Leaves) -> dict[str, dict[str, float]]:
    return {
        "total": _named(_sum(leaves.values())),
        "streaming": _named(_sum(leaf for key, leaf in leaves.items() if key[2])),
        "non_streaming": _named(_sum(leaf for key, leaf in leaves.items() if not key[2])),
    }


def _sum(leaves: Iterable[list[int]]) -> list[int]:
    return [sum(column) for column in zip([0] * _WIDTH, *leaves, strict=True)]


def _named(leaf: list[int]) -> dict[str, float]:
    named: dict[str, float] = dict(zip(_NAMES, leaf, strict=False))
    timed = leaf[_TIMED]
    named["total_duration_ms"] = leaf[_DURATION] / 1000
    named["average_duration_ms"] = leaf[_DURATION] / 1000 / timed if timed else 0
    return named


def _matcher(pattern: str | None) -> re.Pattern[str] | None:
    if pattern is None:
        return None
    # Only * and ? are wildcards: a bracket in a model name is a bracket.
    return re.compile(fnmatch.translate(pattern.replace("[", "[[]")), re.IGNORECASE)


def _passes(
    key: tuple[str | None, str | None, *tuple[bool, ...]],
    wanted: tuple[re.Pattern[str] | None, re.Pattern[str] | None],
) -> bool:
    """Whether provider and model match; a call without a model passes no model filter."""
    return _fits(wanted[0], key[0]) and _fits(wanted[1], key[1])


def _fits(pattern: re.Pattern[str] | None, value: str | None) -> bool:
    return pattern is None or (value is not None and pattern.match(value) is not None)


def _last(leaves: Iterable[list[int]]) -> str | None:
    latest = max((leaf[_LAST] for leaf in leaves), default=0)
    return iso(latest) if latest else None
