"""Usage + provider + model + moment → cost, or unknown."""

from tokentrail._pricing._genai import fetch
from tokentrail._pricing._litellm_map import load as load_litellm
from tokentrail._pricing._own import Override, Prices, override, to_row
from tokentrail._pricing._pricer import COST_COLUMNS, Price, Pricer
from tokentrail._pricing._quotes import Quote, of_override

__all__ = [
    "COST_COLUMNS",
    "Override",
    "Price",
    "Pricer",
    "Prices",
    "Quote",
    "fetch",
    "load_litellm",
    "of_override",
    "override",
    "to_row",
]
