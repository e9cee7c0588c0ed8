"""What caches saved: the provider's, by its cheaper input, and a response cache, by calls never made.

Prices are those of the call's own day. A group of calls is priced by its average call, so that prices which
depend on the size of a call are those of such a call; what no price is known for saves nothing here, and
`coverage` says how much that is.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any, Final

from tokentrail._query import Filters
from tokentrail._records import MONEY, SCALES, Record
from tokentrail._stats._amounts import added, over
from tokentrail._stats._answers import Answer, Found
from tokentrail._stats._ask import Ask

_MEASURES: Final = (
    "calls", "billed_calls", "input_tokens", "cache_read_tokens", "cache_creation_tokens",
    "cache_hit_calls", "cache_hit_input_tokens", "cache_hit_output_tokens", "cache_hit_total_tokens",
)  # fmt: skip

Price = Callable[[Record], None]
"""Adds the cost to a record, where it is known."""


class SavingsCoverage(Answer):
    """Of the cached tokens, those whose price is known: shares from 0 to 1; `None` where there are none."""

    cache_reads: float | None
    cache_writes: float | None
    cache_hits: float | None


class Savings(Answer):
    """What caches saved, in US dollars; `None` if there was something to save and no price is known."""

    input_tokens: int | None
    cache_read_tokens: int | None
    cache_creation_tokens: int | None
    cached_share: float | None
    """Of the input tokens, those read from the provider's cache: from 0 to 1."""
    cache_read_saved_usd: float | None
    """What the same tokens would have cost more outside the cache."""
    cache_write_surcharge_usd: float | None
    """What writing to the cache cost more than plain input."""
    net_saved_usd: float | None
    cache_hit_calls: int
    """Answers from a response cache: calls that were not made."""
    cache_hit_total_tokens: int | None
    cache_hit_saved_usd: float | None
    coverage: SavingsCoverage


class SavingsItem(Savings):
    """What caches saved with one model."""

    provider: str | None
    model: str | None


class CacheSavings(Savings, Found):
    """What caches saved, in all and by model, those with most cached tokens first."""

    items: list[SavingsItem]


def savings(ask: Ask, asked: Filters, price: Price) -> CacheSavings:
    """Savings of all models, and of each."""
    models: dict[tuple[str | None, str | None], list[dict[str, Any]]] = {}
    for group in ask(_MEASURES, asked, by=("provider", "model"), granularity="day"):
        names = (group["provider"], group["model"])
        models.setdefault(names, []).append({**group, **_priced(group, price)})
    sums = {names: _added(days) for names, days in models.items()}
    items = [
        SavingsItem(provider=provider, model=model, **_savings(group))
        for (provider, model), group in sums.items()
        if group["cache_read_tokens"] or group["cache_creation_tokens"] or group["cache_hit_calls"]
    ]
    items.sort(key=lambda item: item.cache_read_tokens or 0, reverse=True)
    return CacheSavings(**_savings(_added(sums.values())), items=items, method=ask.method)


_PARTS: Final = {
    "read": "cache_read_tokens", "write": "cache_creation_tokens", "hit": "cache_hit_total_tokens",
}  # fmt: skip
"""What is priced → its tokens."""


def _priced(group: Mapping[str, Any], price: Price) -> dict[str, int]:
    """Nano-dollars and priced tokens of each part of a group of one day."""
    calls, tokens = group["billed_calls"], group["input_tokens"]
    found: dict[str, int] = {}
    for part in ("read", "write"):
        cached = group[_PARTS[part]]
        if cached and calls and tokens:
            mean = {"input_tokens": -(-tokens // calls), "output_tokens": 0}
            plain = _cost(group, mean, price)
            mixed = _cost(group, {**mean, _PARTS[part]: -(-cached // calls)}, price)
            if plain is not None and mixed is not None:
                found[part] = (plain - mixed) * cached // -(-cached // calls)
                found[f"{part}_priced"] = cached
    if group["cache_hit_total_tokens"] and group["cache_hit_output_tokens"] is not None:
        hits = group["cache_hit_calls"]
        mean = {
            name: -(-group[f"cache_hit_{name}"] // hits)
            for name in ("input_tokens", "output_tokens")
            if group[f"cache_hit_{name}"] is not None
        }
        whole = _cost(group, mean, price)
        if whole is not None:
            found |= {"hit": whole * hits, "hit_priced": group["cache_hit_total_tokens"]}
    return found


def _cost(group: Mapping[str, Any], tokens: Mapping[str, int], price: Price) -> int | None:
    record: Record = {
        "model": group["model"],
        "provider": group["provider"],
        "status": "success",
        "call_type": "chat",
        "started_at": group["period"],
        **tokens,
    }
    price(record)
    return record.get("cost_nanos")


def _added(groups: Iterable[Mapping[str, Any]]) -> dict[str, Any]:
    """Groups as one; money and priced tokens are zero where nothing was priced."""
    listed = list(groups)
    priced = [f"{part}{end}" for part in _PARTS for end in ("", "_priced")]
    return {
        **dict.fromkeys(_MEASURES, 0),
        **added(listed),
        **{name: sum(group.get(name, 0) for group in listed) for name in priced},
    }


def _savings(group: Mapping[str, Any]) -> dict[str, Any]:
    known = {part: _known(group, part) for part in _PARTS}
    read, write = known["read"], known["write"]
    return {
        **{name: group[name] for name in ("input_tokens", "cache_read_tokens", "cache_creation_tokens")},
        "cached_share": over(group["cache_read_tokens"], group["input_tokens"] or 0),
        "cache_read_saved_usd": _dollars(read),
        "cache_write_surcharge_usd": _dollars(None if write is None else -write),
        "net_saved_usd": _dollars(None if read is None or write is None else read + write),
        "cache_hit_calls": group["cache_hit_calls"],
        "cache_hit_total_tokens": group["cache_hit_total_tokens"],
        "cache_hit_saved_usd": _dollars(known["hit"]),
        "coverage": SavingsCoverage(
            **{
                name: over(group[f"{part}_priced"], group[_PARTS[part]] or 0)
                for name, part in (("cache_reads", "read"), ("cache_writes", "write"), ("cache_hits", "hit"))
            }
        ),
    }


def _known(group: Mapping[str, Any], part: str) -> int | None:
    """Nano-dollars; zero where there was nothing to save, unknown where it has no price."""
    return group[part] if group[f"{part}_priced"] or not group[_PARTS[part]] else None


def _dollars(nanos: int | None) -> float | None:
    return None if nanos is None else nanos / SCALES[MONEY]
