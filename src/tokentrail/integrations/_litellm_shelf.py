"""A shelf: remembers the last so many things, from any thread."""

from __future__ import annotations

import threading
from collections import OrderedDict
from typing import Generic, TypeVar

_K = TypeVar("_K")
_V = TypeVar("_V")
ROOM = 10_000


class Shelf(Generic[_K, _V]):
    """A mapping that forgets the oldest entry when it has `ROOM` of them."""

    def __init__(self) -> None:
        # Reentrant: a finaliser or a signal handler may run inside any of these lines.
        self._lock = threading.RLock()
        # Not a dict: to find its oldest key takes ever longer when the oldest ones are taken out.
        self._things: OrderedDict[_K, _V] = OrderedDict()

    def put(self, key: _K, thing: _V) -> None:
        """Remember a thing as the newest."""
        with self._lock:
            self._things.pop(key, None)
            self._things[key] = thing
            if len(self._things) > ROOM:
                self._things.popitem(last=False)

    def get(self, key: _K) -> _V | None:
        """What is remembered under a key."""
        return self._things.get(key)

    def clear(self) -> None:
        """Forget everything, and a lock that a thread which is gone may hold."""
        self._lock = threading.RLock()
        self._things = OrderedDict()
