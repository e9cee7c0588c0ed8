"""What went wrong, counted by reason: nothing is lost, swallowed or doubted in silence."""

from __future__ import annotations

import logging
import os
import threading
import weakref
from collections import Counter
from collections.abc import Mapping

logger = logging.getLogger("tokentrail")


class Health:
    """Counters of one tracker, and warnings that are logged once and then only counted.

    Three families, kept apart because they mean different things: `lost` (calls that will never be rows),
    `faults` (errors of ours that were kept from the host) and `notes` (duplicates, orphans, late ends …).
    """

    def __init__(self) -> None:
        # Reentrant: a finaliser or a signal handler may run inside any of these lines.
        self._lock = threading.RLock()
        self._lost: Counter[str] = Counter()
        self._faults: Counter[str] = Counter()
        self._notes: Counter[str] = Counter()
        self._warnings: dict[str, str] = {}
        _all.add(self)

    def lose(self, reason: str, count: int = 1) -> None:
        """Count calls that are lost, by reason, and say so once."""
        with self._lock:
            self._lost[reason] += count
        self.warn(f"lost:{reason}", f"tokentrail lost a call: {reason}. Counts are in health()['lost'].")

    def fault(self, where: str, error: BaseException) -> None:
        """Count an error of ours that the host never saw."""
        with self._lock:
            self._faults[f"{where}:{type(error).__name__}"] += 1
        self.warn(
            f"fault:{where}", f"tokentrail kept an error of its own from the host, in {where}: {error!r}"
        )

    def note(self, what: str, count: int = 1) -> None:
        """Count something worth knowing that is no loss."""
        with self._lock:
            self._notes[what] += count

    def warn(self, key: str, message: str) -> None:
        """Log a warning the first time its key is met; keep it for `health()`."""
        with self._lock:
            if key in self._warnings:
                return
            self._warnings[key] = message
        logger.warning("%s", message)

    def resolve(self, key: str) -> None:
        """Forget a warning whose cause is gone, so that it is loud again the next time."""
        with self._lock:
            self._warnings.pop(key, None)

    def noted(self, what: str) -> int:
        """How often `what` was noted."""
        return self._notes[what]

    def snapshot(self) -> Mapping[str, object]:
        """The counters and warnings, as plain dicts and lists."""
        with self._lock:
            return {
                "lost": dict(self._lost),
                "faults": dict(self._faults),
                "notes": dict(self._notes),
                "warnings": list(self._warnings.values()),
            }

    def _after_fork(self) -> None:
        # Another thread of the parent may have held the lock, and there is none here to let it go.
        self._lock = threading.RLock()


_all: weakref.WeakSet[Health] = weakref.WeakSet()


def _after_fork_in_child() -> None:
    for health in list(_all):
        health._after_fork()


os.register_at_fork(after_in_child=_after_fork_in_child)
