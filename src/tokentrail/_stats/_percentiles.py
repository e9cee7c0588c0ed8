"""Percentiles of a distribution: exact, between the two nearest values."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Mapping
from itertools import accumulate
from typing import Any


class Distribution:
    """Values in microseconds, and how often each occurs."""

    def __init__(self, counts: Mapping[float, int]) -> None:
        self._values = sorted(counts)
        self._counts = [counts[value] for value in self._values]
        self._upto = list(accumulate(self._counts))
        self.count = sum(self._counts)

    def percentile(self, percent: int) -> float:
        """Between the two nearest values, as `percentile_cont` of SQL has it; microseconds."""
        rank, part = divmod((self.count - 1) * percent, 100)
        low = self._at(rank)
        return low + (self._at(rank + 1) - low) * part / 100 if part else low

    def _at(self, rank: int) -> float:
        return self._values[bisect_right(self._upto, rank)]

    def summary(self) -> dict[str, Any]:
        """The fields of `Percentiles`, in milliseconds."""
        if not self.count:
            return {"calls": 0}
        total = sum(value * count for value, count in zip(self._values, self._counts, strict=True))
        return {
            "calls": self.count,
            "avg": total / self.count / 1000,
            "min": self._values[0] / 1000,
            "max": self._values[-1] / 1000,
            **{f"p{percent}": self.percentile(percent) / 1000 for percent in (50, 90, 95, 99)},
        }
