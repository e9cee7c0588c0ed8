"""Whose request is whose: callers' names for requests, by client and user."""

from __future__ import annotations

import threading
import weakref
from collections import OrderedDict
from collections.abc import Hashable
from typing import Final, TypeVar

from tokentrail._tracker import Tracker

_REMEMBERED: Final = 10_000
"""Requests of each kind that are remembered: a caller that never ends one must not fill the memory."""

Key = tuple[str | None, str | None, str]
"""Client, user and the caller's name for a request, which need not be unique beyond that."""

_K = TypeVar("_K", bound=Hashable)


def remember(kept: OrderedDict[_K, None], key: _K) -> None:
    """Add to an ordered set, at its end; the oldest is forgotten where there are too many."""
    kept.pop(key, None)
    kept[key] = None
    if len(kept) > _REMEMBERED:
        kept.popitem(last=False)


class Requests:
    """The requests of one tracker."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._open: OrderedDict[Key, list[str]] = OrderedDict()
        self._ended: OrderedDict[Key, None] = OrderedDict()

    def begin(self, key: Key, call_id: str) -> None:
        """A call begins; calls of one name may run at once."""
        with self._lock:
            self._open.setdefault(key, []).append(call_id)
            if len(self._open) > _REMEMBERED:
                self._open.popitem(last=False)

    def end(self, key: Key) -> str | None:
        """The oldest running call of that name, which is no longer running now."""
        with self._lock:
            calls = self._open.get(key)
            if not calls:
                return None
            call_id = calls.pop(0)
            if not calls:
                del self._open[key]
                remember(self._ended, key)
            return call_id

    def has_ended(self, key: Key) -> bool:
        """Whether a call of that name has ended lately."""
        with self._lock:
            return key in self._ended

    def running(self, client_id: str | None, user_id: str | None) -> set[str]:
        """The running calls of a client and user; `None` is any."""
        with self._lock:
            return {
                call_id
                for (client, user, _), calls in self._open.items()
                if client_id in (None, client) and user_id in (None, user)
                for call_id in calls
            }


_all: weakref.WeakKeyDictionary[Tracker, Requests] = weakref.WeakKeyDictionary()
_all_lock = threading.Lock()


def requests_of(tracker: Tracker) -> Requests:
    """The requests of a tracker: every `UsageInfo` over it knows the same ones."""
    with _all_lock:
        return _all.setdefault(tracker, Requests())
