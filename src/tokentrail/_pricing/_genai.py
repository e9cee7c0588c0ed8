"""genai-prices: dated prices of models, from the data in its wheel; never from the network."""

from __future__ import annotations

import importlib
import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from importlib.metadata import version
from typing import TYPE_CHECKING, Any, Final

from tokentrail._pricing._names import ROUTERS, is_same_model, spellings
from tokentrail._pricing._quotes import Quote, in_dollars
from tokentrail._pricing._rates import (
    Charge,
    Rates,
    Tariff,
    Tokens,
    UnpriceableError,
    check,
    nanos,
    rate,
    request_rate,
)
from tokentrail.errors import PriceListError

if TYPE_CHECKING:
    from genai_prices.types import ModelInfo, ModelPrice, Provider

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_DAY_US: Final = 86_400_000_000
_PLAIN: Final = {
    "input_mtok": "input",
    "output_mtok": "output",
    "cache_read_mtok": "cache_read",
    "cache_write_mtok": "cache_write",
    "cache_write_1h_mtok": "cache_write_1h",
    "input_audio_mtok": "input_audio",
    "output_audio_mtok": "output_audio",
}
"""Rates that our own arithmetic knows."""
_FURTHER: Final = {
    "input_image_mtok": "input_image_tokens",
    "output_image_mtok": "output_image_tokens",
    "input_video_mtok": "input_video_tokens",
    "output_video_mtok": "output_video_tokens",
    "output_citation_mtok": "citation_tokens",
    "web_searches_kcount": "web_search_requests",
    "cache_audio_read_mtok": "cached_audio_tokens",
}
"""Rates that only the library's own arithmetic knows, and the details of a usage that need them."""
_USAGE_KEYS: Final = {
    "citation_tokens": "output_citation_tokens",
    "web_search_requests": "web_searches",
    "cached_audio_tokens": "cache_audio_read_tokens",
}
_BY_MODALITY: Final = re.compile(r"(?:^|[-_/.])(?:audio|realtime|live|transcribe|image)(?:[-_/.\d]|$)")
"""Models that charge by modality: a count of tokens alone says little about their price."""


def fetch(url: str | None, timeout: float) -> None:
    """Fetch the newest list, for all of this process. Nothing else here goes to the network.

    Raises:
        PriceListError: it did not come, or is none; what is known stays.
    """
    import httpx2
    from genai_prices.data_snapshot import set_custom_snapshot
    from genai_prices.update_prices import DEFAULT_UPDATE_URL, UpdatePrices

    where = DEFAULT_UPDATE_URL if url is None else url
    try:
        snapshot = UpdatePrices(url=where, request_timeout=httpx2.Timeout(timeout)).fetch()
    except (httpx2.HTTPError, httpx2.InvalidURL, OSError, ValueError) as error:
        reason = " ".join(str(error).split()) or type(error).__name__
        raise PriceListError(f"Prices could not be fetched from {where}: {reason:.300}") from error
    set_custom_snapshot(snapshot)


class GenaiPrices:
    """The library's prices, in the state they are in."""

    def __init__(self) -> None:
        self._get_snapshot: Callable[[], Any] | None = None
        self._edition: Edition | None = None
        # genai-prices brings httpx2 along, and openai looks for that in `sys.modules` at every request: met
        # half-loaded, it fails the host's call. So it is loaded here, where there is no second thread yet.
        with suppress(ImportError):
            importlib.import_module("httpx2")

    @property
    def edition(self) -> Edition:
        """The library's present data; a program may have asked it to update itself."""
        if self._get_snapshot is None:
            from genai_prices.data_snapshot import get_snapshot  # half a second: not before the first price

            self._get_snapshot = get_snapshot
        snapshot, edition = self._get_snapshot(), self._edition
        if edition is None or snapshot is not edition.snapshot:
            edition = self._edition = Edition(snapshot)
        return edition

    @property
    def known(self) -> Edition | None:
        """The same, if it is loaded."""
        return None if self._edition is None else self.edition


class Edition:
    """One state of the library's data. It never changes, so what was found in it may be remembered.

    The library's own caches grow with every name they are asked for, so they are walked around.
    """

    def __init__(self, snapshot: Any) -> None:
        self.snapshot = snapshot
        self.version = f"genai-prices {version('genai-prices')}"
        if snapshot.from_auto_update:
            self.version += f" {snapshot.timestamp:%Y-%m-%d}"

    def find(self, provider: str | None, model: str, tier: str | None, host: str | None) -> Entry | None:
        """The prices of a model, or `None` if it is not known."""
        providers: list[Provider] = self.snapshot.providers
        identity, names = spellings(provider, model)
        if identity == "openai" and host is not None:
            identity = _provider_at(providers, host) or identity
        if identity is None and provider is not None and provider.strip().lower() not in ROUTERS:
            return None
        for name in names:
            home = _home_of(providers, identity, name)
            found = home.find_model(name, all_providers=providers) if home is not None else None
            if home is not None and found is not None:
                return Entry(found, home.id, not _is_named(found, name), tier)
        return None

    def quote(self, provider: str | None, model: str, at_us: int) -> Quote | None:
        """What the list says of a model at a moment."""
        entry = self.find(provider, model, None, None)
        return None if entry is None else self._quote(entry.model, entry.home, at_us)

    def quotes(self, at_us: int) -> Iterator[Quote]:
        """What the list says of every model."""
        for provider in self.snapshot.providers:
            for model in provider.models:
                yield self._quote(model, provider.id, at_us)

    def _quote(self, model: ModelInfo, home: str, at_us: int) -> Quote:
        epoch = _Epoch(model.get_prices(_EPOCH + timedelta(microseconds=at_us)))
        return Quote(
            "genai_prices",
            model.id,
            home,
            in_dollars(epoch.base),
            self.version,
            context_window=model.context_window,
            is_tiered=epoch.is_tiered,
        )


def _provider_at(providers: list[Provider], host: str) -> str | None:
    """The provider that answers at an address: OpenAI's own client talks to many."""
    url = f"https://{host}"
    return next((provider.id for provider in providers if re.match(provider.api_pattern, url)), None)


def _home_of(providers: list[Provider], identity: str | None, model: str) -> Provider | None:
    for provider in providers:
        if identity is not None:
            if provider.id == identity:
                return provider
        elif provider.model_match is not None and provider.model_match.is_match(model.lower()):
            return provider
    return None


def _is_named(model: ModelInfo, asked: str) -> bool:
    """Whether the price list names the model asked for, rather than catching it by a prefix."""
    return is_same_model(asked, model.id) or asked.lower() in _equals(model.match)


def _equals(clause: Any) -> Iterator[str]:
    name = getattr(clause, "equals", None)
    if isinstance(name, str):
        yield name.lower()
    for inner in getattr(clause, "or_", ()):
        yield from _equals(inner)


class Entry:
    """One model's prices at one service tier, each epoch's compiled when it is first met."""

    def __init__(self, model: ModelInfo, home: str, fuzzy: bool, tier: str | None) -> None:
        self.model = model
        self.home = home
        self.fuzzy = fuzzy
        self._context = {"service_tier": tier} if tier else None
        self._by_modality = _BY_MODALITY.search(model.id) is not None
        dated = [*(model.prices if isinstance(model.prices, list) else ()), *(model.price_variants or ())]
        self._constraints = [price.constraint for price in dated if price.constraint is not None]
        self._epochs: dict[tuple[bool, ...], _Epoch] = {}
        by_day = all(hasattr(constraint, "start_date") for constraint in self._constraints)
        self._period_us = _DAY_US if by_day else 1
        self._last: tuple[int, _Epoch] | None = None

    def charge(self, tokens: Tokens, at_us: int) -> Charge:
        """The price of some counts at a moment.

        Raises:
            UnpriceableError: these counts have no honest price.
        """
        period = at_us // self._period_us
        last = self._last
        if last is None or last[0] != period:
            last = self._last = (period, self._epoch_at(at_us))
        if self._by_modality and not _split_is_known(tokens):
            raise UnpriceableError("modality_unknown")
        return last[1].charge(tokens)

    def _epoch_at(self, at_us: int) -> _Epoch:
        moment = _EPOCH + timedelta(microseconds=at_us)
        key = tuple([constraint.active(moment) for constraint in self._constraints])
        epoch = self._epochs.get(key)
        if epoch is None:
            # The variants of a model hold at every provider that offers it, so they are resolved here and not
            # by `calc_price`, which forgets them for models of a fallback provider (Azure's priority tier).
            epoch = self._epochs[key] = _Epoch(self.model.get_prices(moment, self._context))
        return epoch


def _split_is_known(tokens: Tokens) -> bool:
    return tokens.audio_known or any(_MODALITY.fullmatch(name) for name in tokens.details)


_MODALITY: Final = re.compile(r"(?:input|output)_(?:text|audio|image|video)_tokens")


class _Epoch:
    """A model's rates while no constraint changes, by brackets of the whole input."""

    def __init__(self, price: ModelPrice) -> None:
        self._price = price
        stored = {key: value for key, value in vars(price).items() if value is not None}
        starts = {tier.start for value in stored.values() for tier in getattr(value, "tiers", ())}
        self._brackets = [(start, Tariff(_rates(stored, start))) for start in sorted(starts, reverse=True)]
        self.base = _rates(stored, -1)
        self._tariff = Tariff(self.base)
        self._further = {key: name for key, name in _FURTHER.items() if key in stored}
        self._reasoning = "output_reasoning_mtok" in stored
        self._heard_again = "cache_audio_read_mtok" in stored
        self._is_plain = not (self._further or self._reasoning or self._heard_again)

    @property
    def is_tiered(self) -> bool:
        """Whether large requests pay other rates."""
        return bool(self._brackets)

    def charge(self, tokens: Tokens) -> Charge:
        if self.base.input is None and self.base.output is None:
            raise UnpriceableError("no_token_rate")
        if not self._is_plain and self._needs_library(tokens):
            return self._charge_by_library(tokens)
        for start, tariff in self._brackets:
            if tokens.input > start:
                return tariff.charge(tokens)
        return self._tariff.charge(tokens)

    def _needs_library(self, tokens: Tokens) -> bool:
        details = tokens.details
        return (
            (self._reasoning and tokens.reasoning > 0)
            or (self._heard_again and tokens.input_audio > 0 and tokens.cache_read > 0)
            or (len(details) > 0 and any(name in details for name in self._further.values()))
        )

    def _refuse_unrated_audio(self, tokens: Tokens) -> None:
        heard = tokens.input_audio and self.base.input_audio is None
        if heard or (tokens.output_audio and self.base.output_audio is None):
            raise UnpriceableError("no_audio_rate")

    def _charge_by_library(self, tokens: Tokens) -> Charge:
        from genai_prices import Usage

        details = tokens.details
        further = {
            _USAGE_KEYS.get(name, name): details[name] for name in self._further.values() if name in details
        }
        check(tokens)
        self._refuse_unrated_audio(tokens)
        usage = Usage(
            input_tokens=tokens.input,
            output_tokens=tokens.output,
            cache_read_tokens=tokens.cache_read,
            cache_write_tokens=tokens.cache_write,
            cache_write_1h_tokens=tokens.cache_write_1h,
            input_audio_tokens=tokens.input_audio,
            output_audio_tokens=tokens.output_audio,
            output_reasoning_tokens=tokens.reasoning,
            **further,
        )
        if self._heard_again and "cache_audio_read_tokens" not in further:
            usage.cache_audio_read_tokens = _cached_audio(tokens)
        try:
            price = self._price.calc_price(usage)
        except ValueError as error:
            raise UnpriceableError("modality_unknown") from error
        return nanos(price["total_price"]), nanos(price["input_price"]), nanos(price["output_price"])


def _cached_audio(tokens: Tokens) -> int | None:
    """How much audio was read from the cache: none, if all of that is known to be text; else unknown."""
    if not tokens.input_audio or tokens.details.get("cached_text_tokens") == tokens.cache_read:
        return 0
    return None


def _rates(stored: Mapping[str, Any], start: int) -> Rates:
    fields = {name: rate(_at(stored[key], start)) for key, name in _PLAIN.items() if key in stored}
    request = request_rate(_at(stored["requests_kcount"], start)) if "requests_kcount" in stored else 0
    return Rates(fields.pop("input", None), fields.pop("output", None), **fields, request=request)


def _at(price: Any, start: int) -> Decimal:
    """A price in the bracket above `start`: the whole request pays the rate of its bracket."""
    amount: Decimal = getattr(price, "base", price)
    for tier in getattr(price, "tiers", ()):
        if tier.start <= start:
            amount = tier.price
    return amount
