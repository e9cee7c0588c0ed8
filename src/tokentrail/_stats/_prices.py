"""Prices as answers: what a model costs, and who says so."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime

from tokentrail._pricing import Quote
from tokentrail._records import from_us
from tokentrail._stats._answers import Answer


class PriceInfo(Answer):
    """What one model costs, in US dollars; `None` where the list says nothing."""

    id: str | None
    """Of an own price, its key; a stored call of it has that as `price_version`."""
    model: str
    provider: str | None
    source: str
    """`override` (your own), `genai_prices` or `litellm_map`."""
    version: str | None
    input_per_million: float | None = None
    output_per_million: float | None = None
    cache_read_per_million: float | None = None
    cache_creation_per_million: float | None = None
    cache_creation_1h_per_million: float | None = None
    reasoning_per_million: float | None = None
    input_audio_per_million: float | None = None
    output_audio_per_million: float | None = None
    per_request: float | None = None
    is_tiered: bool
    """Whether large requests pay other rates than these."""
    context_window: int | None
    """Tokens."""
    valid_from: datetime | None
    valid_to: datetime | None
    """The first moment at which it no longer holds."""

    def get_input_cost(self) -> float | None:
        """Dollars per input token."""
        return None if self.input_per_million is None else self.input_per_million / 1_000_000

    def get_output_cost(self) -> float | None:
        """Dollars per output token."""
        return None if self.output_per_million is None else self.output_per_million / 1_000_000

    def get_max_tokens(self) -> int | None:
        """Tokens of the context window."""
        return self.context_window


class Prices(Answer):
    """Prices as they hold now: the user's own first, then by provider and model."""

    items: list[PriceInfo]
    total: int
    truncated: bool
    version: str
    """Of genai-prices: the package's, and the day of its data where that was fetched since."""


def price_info(quote: Quote) -> PriceInfo:
    """What a list says, as an answer."""
    own = quote.source == "override"
    return PriceInfo(
        id=quote.version if own else None,
        model=quote.model,
        provider=quote.provider,
        source=quote.source,
        version=quote.version,
        is_tiered=quote.is_tiered,
        context_window=quote.context_window,
        valid_from=None if quote.valid_from_us is None else from_us(quote.valid_from_us),
        valid_to=None if quote.valid_to_us is None else from_us(quote.valid_to_us),
        **quote.prices,
    )


def prices(quotes: Iterable[Quote], version: str, limit: int) -> Prices:
    """The first of them, and how many there are."""
    found = list(quotes)
    return Prices(
        items=[price_info(quote) for quote in found[:limit]],
        total=len(found),
        truncated=len(found) > limit,
        version=version,
    )
