"""The order of price sources: who says first what a call cost."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import UTC, date, datetime, time
from decimal import Decimal, InvalidOperation
from typing import Final, NamedTuple

from tokentrail._guard import guarded
from tokentrail._health import Health
from tokentrail._pricing import _litellm_map
from tokentrail._pricing._genai import GenaiPrices
from tokentrail._pricing._names import is_local, provider_of
from tokentrail._pricing._rates import FREE, Charge, Rates, Tokens, UnpriceableError, charge, rate
from tokentrail._records import Record, now_us
from tokentrail.errors import ConfigurationError

_COLUMNS: Final = ("cost_nanos", "input_cost_nanos", "output_cost_nanos", "price_model", "price_version")
_NO_DETAILS: Final[Mapping[str, int]] = {}


class Override(NamedTuple):
    """A price of the user's own, in rates from `register`; it holds from a moment on."""

    model: str
    provider: str | None
    rates: Rates
    effective_from_us: int


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
        self._overrides: dict[str, tuple[Override, ...]] = {}
        for override in overrides:
            self._add(override)

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
        """Set a price of your own, in US dollars per million tokens.

        Args:
            model: the exact name in the calls' `model`.
            provider: only for calls of this provider; any, if not given.
            input_per_million: for input outside the cache.
            output_per_million: for output, reasoning included.
            cache_read_per_million: for input read from the provider's cache; as input, if not given.
            cache_creation_per_million: for input written to it; as input, if not given.
            effective_from: the moment from which it holds (UTC unless it has a zone); always, if not given.

        Raises:
            ConfigurationError: a price is negative or no number.
        """
        rates = Rates(
            _checked(input_per_million),
            _checked(output_per_million),
            None if cache_read_per_million is None else _checked(cache_read_per_million),
            None if cache_creation_per_million is None else _checked(cache_creation_per_million),
        )
        override = Override(model, provider, rates, _moment(effective_from))
        self._add(override)
        return override

    def price(self, record: Record) -> None:
        """Add the cost, its source and its evidence to a record. Never raises."""
        with self._guard:
            self._price(record)
            return
        record.setdefault("cost_source", "unpriced")

    def _add(self, override: Override) -> None:
        # A new tuple each time: the writer's thread reads while another one registers.
        others = self._overrides.get(override.model, ())
        self._overrides[override.model] = tuple(
            sorted((*others, override), key=lambda one: one.effective_from_us, reverse=True)
        )

    def _price(self, record: Record) -> None:
        if record.get("cache_hit"):
            _write(record, FREE, "free")
            return
        if record.get("cost_nanos") is not None and record.get("cost_source") in (None, "provider"):
            record["cost_source"] = "provider"
            return
        for column in _COLUMNS:
            if column in record:
                del record[column]
        record["cost_source"] = "unpriced"
        model = record.get("model") or record.get("requested_model")
        if model:
            try:
                self._look_up(record, str(model))
            except UnpriceableError as error:
                self._health.note(f"price_{error}")

    def _look_up(self, record: Record, model: str) -> None:
        provider, tokens = record.get("provider"), _tokens_of(record)
        at_us = _started(record)
        override = self._override(model, provider, at_us) if self._overrides else None
        if override is not None:
            if tokens is not None:
                _write(record, charge(override.rates, tokens), "override", override.model)
        elif is_local(provider, model):
            _write(record, FREE, "free")
        elif tokens is not None:
            self._look_up_lists(record, provider, model, tokens, at_us)

    def _look_up_lists(
        self, record: Record, provider: str | None, model: str, tokens: Tokens, at_us: int
    ) -> None:
        tier, missing = _tier_of(record), None
        try:
            priced = self._genai.price(provider, model, tokens, at_us, tier, record.get("api_base"))
        except UnpriceableError as error:
            if not error.is_of_the_list:
                raise
            priced, missing = None, error
        if priced is not None:
            if priced.fuzzy:
                self._health.note("price_fuzzy_match")
            _write(record, priced.charge, "genai_prices", priced.model, priced.version)
            return
        declared = _litellm_map.price(provider, model, tokens, tier)
        if declared is not None:
            amount, key, version = declared
            _write(record, amount, "litellm_map", key, version)
        elif missing is not None:
            raise missing

    def _override(self, model: str, provider: str | None, at_us: int) -> Override | None:
        """The latest that holds at the moment; one for the provider before one for any."""
        holding = [one for one in self._overrides.get(model, ()) if one.effective_from_us <= at_us]
        for one in holding:
            if one.provider is not None and _is_same_provider(one.provider, provider):
                return one
        return next((one for one in holding if one.provider is None), None)


def _write(
    record: Record, amount: Charge, source: str, model: str | None = None, version: str | None = None
) -> None:
    record["cost_nanos"], record["input_cost_nanos"], record["output_cost_nanos"] = amount
    record["cost_source"] = source
    if model is not None:
        record["price_model"] = model
    if version is not None:
        record["price_version"] = version


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


def _is_same_provider(one: str, other: str | None) -> bool:
    if other is None:
        return False
    same = provider_of(one)
    return one.lower() == other.lower() or (same is not None and same == provider_of(other))


def _checked(amount: Decimal | float | str) -> int:
    try:
        number = Decimal(str(amount))
    except InvalidOperation:
        number = Decimal("nan")
    if not number.is_finite() or number < 0:
        raise ConfigurationError(
            f"A price is a number of dollars per million tokens, 0 or more; not {amount!r}."
        )
    return rate(number)


def _moment(effective_from: datetime | date | None) -> int:
    if effective_from is None:
        return 0
    if not isinstance(effective_from, datetime):
        effective_from = datetime.combine(effective_from, time())
    if effective_from.tzinfo is None:
        effective_from = effective_from.replace(tzinfo=UTC)
    return round(effective_from.timestamp() * 1_000_000)
