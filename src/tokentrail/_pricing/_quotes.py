"""What a price list says of a model, to be shown: dollars, and whose word it is."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, NamedTuple

from tokentrail._pricing._own import RATE_OF, Override
from tokentrail._pricing._rates import Rates, dollars_per_million, dollars_per_request


class Quote(NamedTuple):
    """A price of one model, as it holds at a moment."""

    source: str
    """`override`, `genai_prices` or `litellm_map`, as a call's `cost_source`."""
    model: str
    provider: str | None
    prices: Mapping[str, float]
    """US dollars: `input_per_million`, …, `per_request`; only what the list says."""
    version: str | None
    valid_from_us: int | None = None
    valid_to_us: int | None = None
    context_window: int | None = None
    is_tiered: bool = False
    """Whether large requests pay other rates than these."""


def of_override(one: Override) -> Quote:
    """An own price."""
    begin = one.effective_from_us or None
    return Quote("override", one.model, one.provider, one.prices, one.id, begin, one.effective_to_us)


_NAME_OF: Final = {field: name for name, field in RATE_OF.items()}


def in_dollars(rates: Rates) -> dict[str, float]:
    """Rates under the names they are registered by."""
    found = {
        _NAME_OF[field]: dollars_per_million(value)
        for field, value in rates._asdict().items()
        if field in _NAME_OF and value is not None
    }
    return {**found, "per_request": dollars_per_request(rates.request)} if rates.request else found
