"""Usage + provider + model + moment → cost, or unknown."""

from tokentrail._pricing._pricer import Override, Pricer

__all__ = ["Override", "Pricer"]
