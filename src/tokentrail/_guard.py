"""`guarded`: instrumentation never breaks its caller."""

from __future__ import annotations

import functools
from collections.abc import Callable
from types import TracebackType
from typing import Any, TypeAlias, TypeVar

from tokentrail._health import Health

STRICT = False
"""Whether a fault of ours is raised, after it was counted. The tests of this package say yes."""

HealthSource: TypeAlias = Health | Callable[[Any], Health]
_F = TypeVar("_F", bound=Callable[..., Any])


class guarded:  # noqa: N801  reads as a verb, like contextlib's
    """Keep our own errors from the host: count them, and go on. Decorator of hooks, or `with` block.

    Only `Exception` is kept: cancellation, `KeyboardInterrupt` and the like belong to the host and pass. A
    decorated function that failed returns `None`.

    Args:
        health: the counters; for a decorated method, a function from its `self` to them.
        where: a short name of the place, e.g. `litellm.log_pre_api_call`.

    Example:
        >>> @guarded(lambda self: self.tracker.health_counters, "langchain.on_llm_end")
        ... def on_llm_end(self, response, **kwargs): ...
    """

    __slots__ = ("_health", "_where")

    def __init__(self, health: HealthSource, where: str) -> None:
        self._health = health
        self._where = where

    def __call__(self, function: _F) -> _F:
        health, where = self._health, self._where

        @functools.wraps(function)
        def call(*args: Any, **kwargs: Any) -> Any:
            try:
                return function(*args, **kwargs)
            except Exception as error:  # noqa: BLE001  that is its purpose
                count_fault(health, args[0] if args else None, where, error)
                return None

        return call  # type: ignore[return-value]

    def __enter__(self) -> None:
        return None

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> bool:
        if not isinstance(error, Exception):
            return False
        count_fault(self._health, None, self._where, error)
        return True


def count_fault(health: HealthSource, owner: object, where: str, error: Exception) -> None:
    """Count a fault of ours, and raise it again in the tests of this package.

    Counting may fail too (out of stack or memory), and must not matter then.
    """
    try:
        counters = health if isinstance(health, Health) else health(owner)
        counters.fault(where, error)
    except Exception:
        if STRICT:
            raise
    if STRICT:
        raise error
