"""How long calls took."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from tokentrail._query import Filters
from tokentrail._stats._answers import Latency, LatencyItem, Percentiles
from tokentrail._stats._ask import Ask
from tokentrail._stats._percentiles import Distribution

if TYPE_CHECKING:
    from tokentrail.stores.base import Counts


def latency(ask: Ask, asked: Filters, by: str | None) -> Latency:
    """Percentiles of all calls, and of each group."""
    found = ask.spans(asked, by)
    # Under `tag` one call is in several groups, so the whole is not their sum.
    whole = ask.spans(asked, None) if by == "tag" else found
    durations, firsts = (_joined([spans[index] for spans in whole.groups.values()]) for index in (0, 1))
    return Latency(
        **Distribution(durations).summary(),
        time_to_first_token=Percentiles(**Distribution(firsts).summary()),
        by=by,
        items=[] if by is None else [_item(key, *spans) for key, spans in found.groups.items()],
        method=ask.method,
        error=max(found.error, whole.error),
    )


def _joined(several: list[Counts]) -> Counts:
    if len(several) == 1:
        return several[0]
    joined: Counts = {}
    for counts in several:
        for value, count in counts.items():
            joined[value] = joined.get(value, 0) + count
    return joined


def _item(key: Any, durations: Counts, firsts: Counts) -> LatencyItem:
    return LatencyItem(
        key=key,
        **Distribution(durations).summary(),
        time_to_first_token=Percentiles(**Distribution(firsts).summary()),
    )
