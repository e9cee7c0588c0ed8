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
    found = _row(provider, model)
    if found is None:
        return None
    key, row = found
    return Tariff(_rates(row, tokens.input, tier)).charge(tokens), key, _version()


def quote(provider: str | None, model: str) -> Quote | None:
    """What the map declares of a model."""
    found = _row(provider, model)
    if found is None:
        return None
    key, row = found
    window = row.get("max_input_tokens")
    return Quote(
        "litellm_map",
        key,
        row.get("litellm_provider"),
        in_dollars(_rates(row, 0, None)),
        _version(),
        context_window=window if isinstance(window, int) else None,
        is_tiered=any(_BRACKET.search(name) for name in row),
    )


def _row(provider: str | None, model: str) -> tuple[str, Mapping[str, Any]] | None:
    table = vars(sys.modules["litellm"]).get("model_cost") if "litellm" in sys.modules else None
    if not isinstance(table, dict):
        return None
    for key in _keys(provider, model):
        row = table.get(key)
        if isinstance(row, dict) and _is_of(row, provider) and _declares(row):
            return key, row
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


def _declares(row: Mapping[str, Any]) -> bool:
    if any(part in key for key in row for part in _UNKNOWN_RULES):
        return False
    given, taken = row.get("input_cost_per_token"), row.get("output_cost_per_token")
    if not isinstance(given, (int, float)) or not isinstance(taken, (int, float)):
        return False
    return given > 0 and (taken > 0 or row.get("mode") == "embedding")


def _rates(row: Mapping[str, Any], given: int, tier: str | None) -> Rates:
    suffix = _bracket(row, given)
    at_tier = f"_{tier}" if tier in _TIERS else ""
    found: dict[str, int] = {}
    for field, key in _FIELDS.items():
        for name in (f"{key}{suffix}{at_tier}", f"{key}{suffix}", f"{key}{at_tier}", key):
            amount = row.get(name)
            if isinstance(amount, (int, float)):
                found[field] = rate(repr(amount)) * 10**6
                break
    return Rates(found.pop("input", None), found.pop("output", None), **found)


def _bracket(row: Mapping[str, Any], given: int) -> str:
    """The ending of the keys that hold for this much input: a request pays one bracket's rate as a whole."""
    matches = [match for match in map(_BRACKET.search, row) if match and given > int(match[1]) * 1000]
    return max(matches, key=lambda match: int(match[1]))[0] if matches else ""


@cache
def _version() -> str:
    from importlib.metadata import PackageNotFoundError, version

    try:
        return f"litellm {version('litellm')}"
    except PackageNotFoundError:
        return "litellm"
