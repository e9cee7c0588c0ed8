"""LiteLLM's price map, where LiteLLM is loaded anyway: only rows that declare their rates."""

from __future__ import annotations

import importlib
import os
import re
import sys
from collections.abc import Iterator, Mapping
from functools import cache
from importlib.util import find_spec
from typing import Any, Final

from tokentrail._pricing._names import ROUTERS, provider_of
from tokentrail._pricing._quotes import Quote, in_dollars
from tokentrail._pricing._rates import Charge, Rates, Tariff, Tokens, rate

_FIELDS: Final = {
    "input": "input_cost_per_token",
    "output": "output_cost_per_token",
    "cache_read": "cache_read_input_token_cost",
    "cache_write": "cache_creation_input_token_cost",
    "cache_write_1h": "cache_creation_input_token_cost_above_1hr",
    "input_audio": "input_cost_per_audio_token",
    "output_audio": "output_cost_per_audio_token",
}
_BRACKET: Final = re.compile(r"_above_(\d+)k_tokens$")
_UNKNOWN_RULES: Final = (
    "tiered_pricing",
    "off_peak",
    "output_cost_per_reasoning_token",
    "per_request",
    "per_query",
)
"""Parts of keys that announce a rule of pricing which this module does not know: no price is then honest."""
_TIERS: Final = frozenset({"flex", "priority"})


def price(
    provider: str | None, model: str, tokens: Tokens, tier: str | None
) -> tuple[Charge, str, str] | None:
    """The charge, the row's key and the version of LiteLLM; `None` if no row declares what is needed.

    LiteLLM itself prices a model without a row at 0 for many families; a row of zeros is therefore nothing
    that one may rely on.

    Raises:
        UnpriceableError: the row is there, but these counts have no honest price.
    """
    found = _offer(provider, model)
    if found is None:
        return None
    key, offer = found
    return offer.tariff(tokens.input, tier).charge(tokens), key, _version()


def quote(provider: str | None, model: str) -> Quote | None:
    """What the map declares of a model."""
    found = _offer(provider, model)
    if found is None:
        return None
    key, offer = found
    window = offer.row.get("max_input_tokens")
    return Quote(
        "litellm_map",
        key,
        offer.row.get("litellm_provider"),
        in_dollars(offer.rates("", None)),
        _version(),
        context_window=window if isinstance(window, int) else None,
        is_tiered=bool(offer.brackets),
    )


def _offer(provider: str | None, model: str) -> tuple[str, _Offer] | None:
    table = vars(sys.modules["litellm"]).get("model_cost") if "litellm" in sys.modules else None
    if not isinstance(table, dict):
        return None
    for key in _keys(provider, model):
        row = table.get(key)
        if not isinstance(row, dict) or not _is_of(row, provider):
            continue
        offer = _offers.get(key)
        if offer is None or offer.row != row:  # LiteLLM changes rows in place, where a program asks it to
            offer = _offers[key] = _Offer(row)
        if offer.is_declared:
            return key, offer
    return None


@cache
def load() -> bool:
    """Load LiteLLM for its map, if it is installed and not loaded; whether there is something new to ask.

    It takes seconds, and is for those who price much anew. Its own look at the network is left out.
    """
    if "litellm" in sys.modules or find_spec("litellm") is None:
        return False
    variable = "LITELLM_LOCAL_MODEL_COST_MAP"
    before = os.environ.get(variable)
    os.environ[variable] = "True"
    try:
        importlib.import_module("litellm")
    except ImportError:
        return False
    finally:
        if before is None:
            del os.environ[variable]
        else:
            os.environ[variable] = before
    return True


def _keys(provider: str | None, model: str) -> Iterator[str]:
    if provider and provider.strip().lower() not in ROUTERS:
        yield f"{provider.strip().lower()}/{model}"
    yield model


def _is_of(row: Mapping[str, Any], provider: str | None) -> bool:
    """Whether a row is of the provider that was called, and not of another with the same model's name."""
    if provider is None or provider.strip().lower() in ROUTERS:
        return True
    asked, home = provider.strip().lower(), str(row.get("litellm_provider", "")).lower()
    same = provider_of(asked)
    return (
        asked == home
        or home.startswith((f"{asked}-", f"{asked}_"))
        or (same is not None and same == provider_of(home))
    )


class _Offer:
    """A row, read once: that takes longer than to price a call by it."""

    def __init__(self, row: Mapping[str, Any]) -> None:
        self.row = dict(row)
        self.is_declared = _declares(self.row)
        matches = filter(None, map(_BRACKET.search, self.row))
        self.brackets = sorted({(int(match[1]) * 1000, match[0]) for match in matches}, reverse=True)
        """From how much input on, and the ending of the keys that hold then; largest first."""
        self._tariffs: dict[tuple[str, str | None], Tariff] = {}

    def tariff(self, given: int, tier: str | None) -> Tariff:
        """The rates of a call: a request pays the rates of its bracket as a whole."""
        ending = next((ending for start, ending in self.brackets if given > start), "")
        known = self._tariffs.get((ending, tier))
        if known is None:
            known = self._tariffs[ending, tier] = Tariff(self.rates(ending, tier))
        return known

    def rates(self, ending: str, tier: str | None) -> Rates:
        """The rates of a bracket and a service tier."""
        at_tier = f"_{tier}" if tier in _TIERS else ""
        found: dict[str, int] = {}
        for field, key in _FIELDS.items():
            for name in (f"{key}{ending}{at_tier}", f"{key}{ending}", f"{key}{at_tier}", key):
                amount = self.row.get(name)
                if isinstance(amount, (int, float)):
                    found[field] = rate(repr(amount)) * 10**6
                    break
        return Rates(found.pop("input", None), found.pop("output", None), **found)


_offers: dict[str, _Offer] = {}
"""By key of the map, so there are no more than rows."""


def _declares(row: Mapping[str, Any]) -> bool:
    if any(part in key for key in row for part in _UNKNOWN_RULES):
        return False
    given, taken = row.get("input_cost_per_token"), row.get("output_cost_per_token")
    if not isinstance(given, (int, float)) or not isinstance(taken, (int, float)):
        return False
    return given > 0 and (taken > 0 or row.get("mode") == "embedding")


@cache
def _version() -> str:
    from importlib.metadata import PackageNotFoundError, version

    try:
        return f"litellm {version('litellm')}"
    except PackageNotFoundError:
        return "litellm"
