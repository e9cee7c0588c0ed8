"""Pricing anew what is stored: with today's lists and own prices, at each call's own time."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final

from tokentrail._export import call_pages
from tokentrail._pricing import COST_COLUMNS, Pricer, load_litellm
from tokentrail._query import Filters
from tokentrail._records import MONEY, PROVISIONAL, SCALES, Record
from tokentrail._stats._answers import Answer
from tokentrail.errors import StoreError

if TYPE_CHECKING:
    from tokentrail.stores.base import Store

_TELLING: Final = ("cost_nanos", "input_cost_nanos", "output_cost_nanos", "cost_source")
"""What makes a row another one. A new version of a list that says the same does not."""


class Repriced(Answer):
    """What pricing anew changes, or has changed."""

    calls: int
    """That were priced anew, whether or not something changed."""
    changed_calls: int
    old_cost_usd: float | None
    """What was known; `None` if nothing was."""
    new_cost_usd: float | None
    difference_usd: float
    newly_priced: int
    """Calls whose cost was unknown."""
    no_longer_priced: int
    """Calls whose cost becomes unknown: an own price of theirs was removed, or `forget` was asked for."""
    kept: int
    """Calls that no list prices any more; what is known of them stays."""


class RepricedModel(Repriced):
    """The same, of one model at one provider."""

    provider: str | None
    model: str | None


class Repricing(Repriced):
    """What pricing anew means, or has done."""

    dry_run: bool
    """Whether nothing was written."""
    provider_stated_calls: int
    """Calls whose cost the provider itself stated: it stands."""
    models: list[RepricedModel]
    """Largest change first."""


class _Sum:
    """Adds up the calls of one model, or all."""

    def __init__(self) -> None:
        self.calls = self.changed = self.newly = self.lost = self.kept = 0
        self.old: int | None = None
        self.new: int | None = None

    def add(self, old: int | None, new: int | None, *, changed: bool, kept: bool) -> None:
        self.calls += 1
        self.changed += changed
        self.kept += kept
        self.newly += old is None and new is not None
        self.lost += old is not None and new is None
        self.old = _plus(self.old, old)
        self.new = _plus(self.new, new)

    def difference(self) -> float:
        return ((self.new or 0) - (self.old or 0)) / SCALES[MONEY]

    def told(self) -> dict[str, Any]:
        return {
            "calls": self.calls,
            "changed_calls": self.changed,
            "old_cost_usd": _dollars(self.old),
            "new_cost_usd": _dollars(self.new),
            "difference_usd": self.difference(),
            "newly_priced": self.newly,
            "no_longer_priced": self.lost,
            "kept": self.kept,
        }


def reprice(
    store: Store,
    pricer: Pricer,
    asked: Filters,
    *,
    dry_run: bool,
    forget: bool,
    progress: Callable[[int], object] | None = None,
) -> Repricing:
    """Price calls anew, page by page.

    Args:
        store: where the calls are.
        pricer: with today's prices.
        asked: which calls.
        dry_run: look, and write nothing.
        forget: also empty a cost that no list knows any more.
        progress: called with the number of calls looked at so far.

    Raises:
        StoreError: the store did not take a change; what was written before stays.
    """
    pricer.prepare(store)
    everything, models, stated, seen = _Sum(), dict[tuple[Any, Any], _Sum](), 0, 0
    for page in call_pages(store, asked):
        changes: list[Record] = []
        for call in page:
            if call.cost_source == "provider":
                stated += 1
                continue
            old = call.to_record()
            new, kept = _priced(old, pricer, forget=forget)
            changed = any(old.get(column) != new.get(column) for column in _TELLING)
            for total in (everything, models.setdefault((call.provider, call.model), _Sum())):
                total.add(old.get("cost_nanos"), new.get("cost_nanos"), changed=changed, kept=kept)
            if changed:
                changes.append(_change(old, new))
        if changes and not dry_run:
            _write(store, changes)
        seen += len(page)
        if progress is not None:
            progress(seen)
    return _told(everything, models, stated, dry_run=dry_run)


def _priced(old: Record, pricer: Pricer, *, forget: bool) -> tuple[Record, bool]:
    """A call with today's price; and whether it only keeps what is known, because today nobody knows it."""
    new = dict(old)
    pricer.price(new)
    has_tokens = old.get("input_tokens") is not None  # without, no list is worth the seconds it takes
    if new["cost_source"] == "unpriced" and has_tokens and load_litellm():
        pricer.price(new)
    was_known = old.get("cost_nanos") is not None and old.get("cost_source") != "override"
    if new["cost_source"] == "unpriced" and was_known and not forget:
        return old, True
    return new, False


def _change(old: Record, new: Record) -> Record:
    change: Record = {column: new.get(column) for column in (*COST_COLUMNS, "cost_source")}
    if old["finality"] == PROVISIONAL:
        change["finality"] = PROVISIONAL  # its final end may come meanwhile, with a price of its own
    return {"id": old["id"], **change}


def _write(store: Store, changes: list[Record]) -> None:
    refused = store.correct(changes).refused
    if refused:
        raise StoreError(f"The store did not take the cost of call {refused[0].id}: {refused[0].reason}")


def _told(everything: _Sum, models: dict[tuple[Any, Any], _Sum], stated: int, *, dry_run: bool) -> Repricing:
    largest = sorted(models.items(), key=lambda entry: (-abs(entry[1].difference()), -entry[1].changed))
    return Repricing(
        **everything.told(),
        dry_run=dry_run,
        provider_stated_calls=stated,
        models=[
            RepricedModel(provider=provider, model=model, **total.told())
            for (provider, model), total in largest
        ],
    )


def _plus(total: int | None, value: int | None) -> int | None:
    if total is None or value is None:
        return value if total is None else total
    return total + value


def _dollars(nanos: int | None) -> float | None:
    return None if nanos is None else nanos / SCALES[MONEY]
