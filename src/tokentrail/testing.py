"""For the tests of our users: see which calls a piece of code makes."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from tokentrail._tracker import Tracker, set_tracker

if TYPE_CHECKING:
    from tokentrail.models import LLMCall

__all__ = ["CapturedCalls", "capture_calls"]


class CapturedCalls:
    """What was recorded inside `capture_calls()`; readable inside the block and after it."""

    def __init__(self, tracker: Tracker) -> None:
        self.tracker = tracker

    @property
    def calls(self) -> list[LLMCall]:
        """The ended calls, oldest first."""
        return list(reversed(self.tracker.stats.calls(limit=1000).items))

    @property
    def active(self) -> list[Any]:
        """The calls that still run, newest first."""
        return list(self.tracker.active())

    def __len__(self) -> int:
        return len(self.calls)

    def __iter__(self) -> Iterator[LLMCall]:
        return iter(self.calls)

    def __getitem__(self, index: int) -> LLMCall:
        return self.calls[index]


@contextmanager
def capture_calls(**settings: Any) -> Iterator[CapturedCalls]:
    """Make the shared default tracker an empty one in memory, for the length of a block.

    Args:
        settings: as for `Tracker`.

    Example:
        >>> with capture_calls() as captured:
        ...     my_function_that_calls_a_model()
        >>> assert captured[0].model == "gpt-4o"
    """
    tracker = Tracker("memory://", **settings)
    previous = set_tracker(tracker)
    try:
        yield CapturedCalls(tracker)
    finally:
        set_tracker(previous)
        tracker.flush(10)
