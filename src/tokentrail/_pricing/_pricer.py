"""The order of price sources: who says first what a call cost."""

from __future__ import annotations

import os
import threading
import time
import weakref
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from datetime import date, datetime
from decimal import Decimal
from functools import lru_cache
from typing import Any, Final, NamedTuple, Protocol

from tokentrail._guard import guarded
from tokentrail._health import Health
from tokentrail._pricing import _litellm_map
from tokentrail._pricing._genai import Edition, GenaiPrices
from tokentrail._pricing._names import is_local
from tokentrail._pricing._own import Override, Overrides, from_row, override, to_row
from tokentrail._pricing._quotes import Quote, of_override
from tokentrail._pricing._rates import FREE, Charge, Tariff, Tokens, UnpriceableError
from tokentrail._records import Record, now_us

COST_COLUMNS: Final = frozenset(
    ("cost_nanos", "input_cost_nanos", "output_cost_nanos", "price_model", "price_version")
)
"""What a price writes, besides `cost_source`."""
_NO_DETAILS: Final[Mapping[str, int]] = {}
_NO_TOKENS: Final = Tokens(0, 0)


_REMEMBERED: Final = 1024
"""Models whose source of prices is remembered: names come from outside, without end."""
_STALE: Final = 30.0
"""Seconds after which the prices in the store are read again: another process may have set one."""


class Price(Protocol):
    """Adds the cost to records, in place."""

    def __call__(self, *records: Record) -> None: ...


class Keeper(Protocol):
    """What is needed of a store."""

    def keep(self, row: Any) -> None:
        """Insert or replace a row."""

    def kept(self, table: Any) -> list[Any]:
        """All rows of a table."""


class Pricer:
    """Prices records, in the writer's thread. Knows no clock but the record's own, and no network.

    In this order: a hit in a response cache is free; what the provider itself stated stands; the user's own
    prices; local models are free; genai-prices at the call's own moment; rates that LiteLLM's map declares,
    if LiteLLM is loaded; else the cost is unknown.

    Args:
        health: where near misses and contradictions are counted.
        overrides: the user's own prices, as `register` makes them.
    """

    def __init__(self, *, health: Health, overrides: Iterable[Override] = ()) -> None:
        self._health = health
        self._guard = guarded(health, "price")
        self._genai = GenaiPrices()
        # What is found depends on nothing but the arguments, so it never grows stale.
        self._source_of = lru_cache(_REMEMBERED)(self._found)
        self._lock = threading.Lock()
        self._registered = list(overrides)
        """Of this process only."""
        self._stored: list[Override] = []
        self._unsaved: deque[Override] = deque()
        self._read_at = 0.0
        self._overrides = Overrides(self._registered)
        _pricers.add(self)

    # --- the user's own prices -------------------------------------------------------------------

    def register(
        self,
        model: str,
        *,
        provider: str | None = None,
        input_per_million: Decimal | float | str,
        output_per_million: Decimal | float | str,
        cache_read_per_million: Decimal | float | str | None = None,
        cache_creation_per_million: Decimal | float | str | None = None,
        effective_from: datetime | date | None = None,
    ) -> Override:
        """Set a price of your own for this process, in US dollars per million tokens.

        Args:
            model: the name in the calls' `model`; `*` and `?` allowed.
            provider: only for calls of this provider; any, if not given.
            input_per_million: for input outside the cache.
            output_per_million: for output, reasoning included.
            cache_read_per_million: for input read from the provider's cache; as input, if not given.
            cache_creation_per_million: for input written to it; as input, if not given.
            effective_from: the moment from which it holds (UTC unless it has a zone); always, if not given.

        Raises:
            ConfigurationError: a price is negative or no number.
        """
        prices: dict[str, Any] = {
            "input_per_million": input_per_million,
            "output_per_million": output_per_million,
            "cache_read_per_million": cache_read_per_million,
            "cache_creation_per_million": cache_creation_per_million,
        }
        made = override(model, provider, prices, effective_from)._replace(id=None)
        self._registered.append(made)
        self._rebuild()
        return made

    def register_and_keep(self, price: Override) -> None:
        """Let a price hold from now on, here at once, and in the store with the next `prepare`."""
        self._unsaved.append(price)
        self._rebuild()

    @property
    def is_waiting(self) -> bool:
        """Whether a price is not in the store yet."""
        return bool(self._unsaved)

    def prepare(self, store: Keeper) -> None:
        """Keep what was registered, and read the store's prices if that was long ago; in the writer's thread.

        Raises:
            StoreError: the store cannot be read or written; what waits goes on waiting.
        """
        if not self._unsaved and time.monotonic() < self._read_at:
            return
        from tokentrail.models import ModelPrice

        saved = list(self._unsaved)
        for price in saved:
            store.keep(to_row(price, now_us()))
        stored = []
        for row in store.kept(ModelPrice):
            with guarded(self._health, "price.own"):  # whatever somebody wrote into the table
                stored.append(from_row(row))
        self._stored = stored
        for _ in saved:
            self._unsaved.popleft()
        self._rebuild()
        self._read_at = time.monotonic() + _STALE

    def over(self, store: Callable[[], Keeper]) -> Price:
        """`price` with the prices of a store, for those who read what waits for it."""

        def price(*records: Record) -> None:
            with self._guard:
                self.prepare(store())
            self.price(*records)

        return price

    def _rebuild(self) -> None:
        with self._lock:
            self._overrides = Overrides([*self._stored, *self._unsaved, *self._registered])

    # --- what the lists say ----------------------------------------------------------------------

    def quote(self, model: str, provider: str | None = None, at_us: int | None = None) -> Quote | None:
        """The price that holds for a model: your own, else what the lists say; `None` if nobody knows.

        Args:
            model: its name, as in calls; what stands before a `/` may be its provider.
            provider: whose model it is.
            at_us: the moment; now, if not given.
        """
        at = now_us() if at_us is None else at_us
        own = self._overrides.find(provider, model, None, at)
        if own is not None:
            return of_override(own)
        return self._genai.edition.quote(provider, model, at) or _litellm_map.quote(provider, model)

    def own_quotes(self) -> Iterator[Quote]:
        """All own prices, whenever they hold."""
        own = sorted(self._overrides, key=lambda one: (one.model, one.provider or "", one.effective_from_us))
        return map(of_override, own)

    def quotes(self) -> Iterator[Quote]:
        """All own prices, then all of genai-prices as they hold now."""
        yield from self.own_quotes()
        yield from self._genai.edition.quotes(now_us())

    @property
    def version(self) -> str:
        """The version of genai-prices and its data."""
        return self._genai.edition.version

    # --- pricing ---------------------------------------------------------------------------------

    def price(self, *records: Record) -> None:
        """Add the cost, its source and its evidence to records. Never raises."""
        edition = self._genai.known
        waiting = iter(records)
        for record in waiting:
            unread = record
            with self._guard:
                self._price(record, edition)
                for unread in waiting:
                    self._price(unread, edition)
            unread.setdefault("cost_source", "unpriced")

    def _price(self, record: Record, edition: Edition | None) -> None:
        get = record.get
        if get("cache_hit"):
            _write(record, FREE, "free")
            return
        if get("cost_nanos") is not None and get("cost_source") in (None, "provider"):
            record["cost_source"] = "provider"
            return
        for column in COST_COLUMNS & record.keys():
            del record[column]
        record["cost_source"] = "unpriced"
        if get("model") or get("requested_model"):
            try:
                self._look_up(record, edition)
            except UnpriceableError as error:
                self._health.note(f"price_{error}")

    def _look_up(self, record: Record, edition: Edition | None) -> None:
        get = record.get
        at_us, tier, overrides = _started(record), _tier_of(record), self._overrides
        source = self._source_of(
            edition,
            overrides,
            overrides.since(at_us),
            get("provider"),
            get("model"),
            get("requested_model"),
            tier,
            get("api_base"),
        )
        tokens = _tokens_of(record) if source is None or not source.is_flat else _NO_TOKENS
        if tokens is None:
            return
        if source is None:
            _write_declared(record, tokens, tier)
            return
        try:
            amount = source.charge(tokens, at_us)
        except UnpriceableError as error:
            if source.is_own or not error.is_of_the_list or not _write_declared(record, tokens, tier):
                raise
            return
        if source.is_fuzzy:
            self._health.note("price_fuzzy_match")
        _write(record, amount, source.name, source.model, source.version)

    def _found(
        self,
        edition: Edition | None,
        overrides: Overrides,
        since: int | None,
        provider: str | None,
        model: str | None,
        asked: str | None,
        tier: str | None,
        host: str | None,
    ) -> _Source | None:
        """Who prices the calls of a model; `None` if nobody does but, perhaps, LiteLLM's map."""
        own = None if since is None else overrides.find(provider, model, asked, since)
        if own is not None:
            charge = Tariff(own.rates).charge
            return _Source(
                "override",
                lambda tokens, _: charge(tokens),
                own.model,
                own.id,
                own.rates.is_per_request,
                is_own=True,
            )
        name = str(model or asked)
        if is_local(provider, name):
            return _Source("free", lambda *_: FREE, is_flat=True)
        edition = edition or self._genai.edition
        entry = edition.find(provider, name, tier, host)
        if entry is None:
            return None
        return _Source("genai_prices", entry.charge, entry.model.id, edition.version, is_fuzzy=entry.fuzzy)


class _Source(NamedTuple):
    """Whose price the calls of a model have."""

    name: str
    """As in `cost_source`."""
    charge: Callable[[Tokens, int], Charge]
    """The price of some counts at a moment."""
    model: str | None = None
    version: str | None = None
    is_flat: bool = False
    """Whether the counts do not matter."""
    is_own: bool = False
    """Whether no other list is asked, where this one has no rate."""
    is_fuzzy: bool = False
    """Whether the name was only near the one asked for."""


# A fork may come while another thread holds the lock; in the child nobody would ever let go of it.
_pricers: weakref.WeakSet[Pricer] = weakref.WeakSet()


def _after_fork_in_child() -> None:
    for pricer in list(_pricers):
        pricer._lock = threading.Lock()


os.register_at_fork(after_in_child=_after_fork_in_child)


def _write(
    record: Record, amount: Charge, source: str, model: str | None = None, version: str | None = None
) -> None:
    record["cost_nanos"], record["input_cost_nanos"], record["output_cost_nanos"] = amount
    record["cost_source"] = source
    if model is not None:
        record["price_model"] = model
    if version is not None:
        record["price_version"] = version


def _write_declared(record: Record, tokens: Tokens, tier: str | None) -> bool:
    """Write the price that LiteLLM's map declares; whether it does."""
    name = str(record.get("model") or record.get("requested_model"))
    declared = _litellm_map.price(record.get("provider"), name, tokens, tier)
    if declared is not None:
        amount, key, version = declared
        _write(record, amount, "litellm_map", key, version)
    return declared is not None


def _tokens_of(record: Record) -> Tokens | None:
    """The counts that cost money; `None` if input or output is not known (an embedding has no output)."""
    get = record.get
    given, taken = get("input_tokens"), get("output_tokens")
    if taken is None and get("call_type") == "embedding":
        taken = 0
    if given is None or taken is None:
        return None
    details = get("usage_details")
    read, written, thought = get("cache_read_tokens"), get("cache_creation_tokens"), get("reasoning_tokens")
    heard, spoken = get("input_audio_tokens"), get("output_audio_tokens")
    return Tokens(
        given,
        taken,
        0 if read is None else read,
        0 if written is None else written,
        details.get("ephemeral_1h_input_tokens", 0) if details else 0,
        0 if heard is None else heard,
        0 if spoken is None else spoken,
        0 if thought is None else thought,
        details if details else _NO_DETAILS,
        heard is not None or spoken is not None,
    )


def _tier_of(record: Record) -> str | None:
    """The service tier: as the answer's details were counted, else as it was asked for."""
    for name in record.get("usage_details") or ():
        if name.startswith(("flex_", "priority_")):
            return str(name.partition("_")[0])
    params = record.get("params")
    tier = params.get("service_tier") if params else None
    return tier if isinstance(tier, str) and tier in ("flex", "priority", "fast", "default") else None


def _started(record: Record) -> int:
    for column in ("started_at", "ended_at", "created_at"):
        moment = record.get(column)
        if moment is not None:
            return int(moment)
    return now_us()
