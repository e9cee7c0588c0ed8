"""Wraps of ours on LiteLLM's classes, each noted so that it can be taken off again."""

from __future__ import annotations

import threading
from typing import Any, Final

_lock: Final = threading.RLock()
_places: Final[dict[tuple[type, str], tuple[Any, Any]]] = {}
"""Class and attribute → what we put there, what was there."""


def replace(home: type, name: str, ours: Any) -> None:
    """Put a wrap into a class; nothing if one of ours is there, perhaps below somebody else's."""
    with _lock:
        if (home, name) not in _places:
            _places[home, name] = (ours, vars(home)[name])
            setattr(home, name, ours)


def is_replaced(home: type, name: str) -> bool:
    """Whether a wrap of ours was put there."""
    return (home, name) in _places


def restore() -> int:
    """Put back what was there; the number of places where somebody else's wrap is in the way."""
    left = 0
    with _lock:
        for (home, name), (ours, original) in list(_places.items()):
            if vars(home).get(name) is ours:
                setattr(home, name, original)
                del _places[home, name]
            else:
                left += 1
    return left
