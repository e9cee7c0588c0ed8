"""A log line every so many ended calls."""

from __future__ import annotations

import logging
import threading

from tokentrail._records import FAILED, FINAL, Record


class Summary:
    """A log line every so many ended calls, with the figures of the interval and since the start."""

    def __init__(self, interval: int) -> None:
        """Args: interval: ended calls between two lines; 0 is off."""
        self.interval = interval
        self._lock = threading.RLock()
        self._total = {"requests": 0, "errors": 0, "tokens": 0}
        self._mark = dict(self._total)

    def count(self, record: Record, logger: logging.Logger) -> None:
        """Count an end, once a call, and log when the interval is full."""
        if record["finality"] != FINAL:
            return
        with self._lock:
            total = self._total
            total["requests"] += 1
            total["errors"] += record["status"] in FAILED
            tokens = record.get("total_tokens")
            if tokens is not None:
                total["tokens"] += tokens
            if total["requests"] % self.interval:
                return
            figures = {
                **{f"interval_{name}": value - self._mark[name] for name, value in total.items()},
                **{f"total_{name}": value for name, value in total.items()},
            }
            self._mark = dict(total)
        logger.info(
            "tokentrail: last %(interval_requests)d calls: %(interval_tokens)d tokens, "
            "%(interval_errors)d errors; since start %(total_requests)d calls: %(total_tokens)d tokens, "
            "%(total_errors)d errors",
            figures,
            extra={"tokentrail": figures},
        )
