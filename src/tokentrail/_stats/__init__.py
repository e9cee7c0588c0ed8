"""Stats: named questions about the calls in a store, and their answers."""

from tokentrail._stats._stats import Stats

__all__ = ["Stats"]
