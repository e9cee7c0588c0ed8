"""A log line every so many ended calls."""

from __future__ import annotations

import logging
import math

from tokentrail._totals import Totals


class Summary:
    """Logs the figures of the interval beside those since the start; resets neither."""

    def __init__(self, interval: int, logger: logging.Logger) -> None:
        """`interval`: ended calls between two lines; 0 is off."""
        self._interval = interval
        self._logger = logger
        self.due: float = interval or math.inf
        """Calls that have ended, since the start, when the next line is due."""
        self._before = _figures(Totals())

    def log(self, ended: int, totals: Totals) -> None:
        """Log the interval that is full."""
        self.due = ended + self._interval
        now, before = _figures(totals), self._before
        self._before = now
        figures = {f"interval_{name}": value - before[name] for name, value in now.items()}
        figures.update({f"total_{name}": value for name, value in now.items()})
        self._logger.info(
            "tokentrail: last %(interval_requests)d calls: %(interval_tokens)d tokens, "
            "%(interval_errors)d errors; since start %(total_requests)d calls: %(total_tokens)d tokens, "
            "%(total_errors)d errors",
            figures,
            extra={"tokentrail": figures},
        )


def _figures(totals: Totals) -> dict[str, float]:
    sums = totals.sums()
    return {
        "requests": sums["requests"],
        "errors": sums["errors"],
        "tokens": sums["input_tokens"] + sums["output_tokens"],
    }
