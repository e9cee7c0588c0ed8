"""Usage + provider + model + moment → cost, or unknown."""

from tokentrail._pricing._own import Override, Prices, override
from tokentrail._pricing._pricer import Pricer

__all__ = ["Override", "Pricer", "Prices", "override"]
