"""How long calls took, from every row."""

from __future__ import annotations

from typing import Any, Protocol

from tokentrail._query import Filters
from tokentrail._stats._answers import Latency, LatencyItem, Percentiles
from tokentrail._stats._percentiles import Distribution

_WHAT = ("duration_ms", "time_to_first_token_ms")


class Ask(Protocol):
    """Asks the store for groups."""

    def __call__(self, measures: tuple[str, ...], asked: Filters, **query: Any) -> list[dict[str, Any]]:
        """One settled dict a group."""


Spans = tuple[dict[int, int], dict[int, int]]
"""How often each duration, and each time to the first token, occurs."""


def latency(ask: Ask, asked: Filters, by: str | None) -> Latency:
    """Percentiles of all calls, and of each group."""
    groups = _spans(ask, asked, by)
    # Under `tag` one call is in several groups, so the whole is not their sum.
    whole = _spans(ask, asked, None) if by == "tag" else groups
    durations, firsts = (_joined([spans[index] for spans in whole.values()]) for index in (0, 1))
    return Latency(
        **Distribution(durations).summary(),
        time_to_first_token=Percentiles(**Distribution(firsts).summary()),
        by=by,
        items=[] if by is None else [_item(key, spans) for key, spans in groups.items()],
        method="rows",
        error=0.0,
    )


def _spans(ask: Ask, asked: Filters, by: str | None) -> dict[Any, Spans]:
    fields = () if by is None else (by,)
    found: dict[Any, Spans] = {}
    for group in ask(("calls",), asked, by=(*fields, *_WHAT)):
        spans = found.setdefault(None if by is None else group[by], ({}, {}))
        for counts, what in zip(spans, _WHAT, strict=True):
            value = group[what]
            if value is not None:
                counts[value] = counts.get(value, 0) + group["calls"]
    return found


def _joined(several: list[dict[int, int]]) -> dict[int, int]:
    if len(several) == 1:
        return several[0]
    joined: dict[int, int] = {}
    for counts in several:
        for value, count in counts.items():
            joined[value] = joined.get(value, 0) + count
    return joined


def _item(key: Any, spans: Spans) -> LatencyItem:
    durations, firsts = spans
    return LatencyItem(
        key=key,
        **Distribution(durations).summary(),
        time_to_first_token=Percentiles(**Distribution(firsts).summary()),
    )
