"""Usage + provider + model + moment → cost, or unknown."""

from tokentrail._pricing._litellm_map import load as load_litellm
from tokentrail._pricing._own import Override, Prices, override
from tokentrail._pricing._pricer import COST_COLUMNS, Pricer

__all__ = ["COST_COLUMNS", "Override", "Pricer", "Prices", "load_litellm", "override"]
