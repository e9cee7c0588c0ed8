"""What lets LiteLLM's door recognise a call that LangChain's door has started: `ChatLiteLLM` reaches both."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from typing import Any

from tokentrail._context import Link, link

LIBRARY = "litellm"


class BatchLink(Link):
    """The link of `generate([a, b, c])`: all start before the first one is sent, so they queue up here."""

    __slots__ = ("_offered", "_taken", "_waiting", "batch")

    def __init__(self, batch: Any, who: Mapping[str, Any]) -> None:
        self.library = LIBRARY
        self.who = who
        self.batch = batch
        self._waiting: deque[str] = deque()
        self._taken: set[str] = set()
        self._offered = ""

    def add(self, call_id: str) -> None:
        """Let one more call wait for its request."""
        self._waiting.append(call_id)

    def drop(self, call_id: str) -> bool:
        """Take a call out; whether its request had come."""
        if call_id in self._waiting:
            self._waiting.remove(call_id)
        return call_id in self._taken

    @property
    def call_id(self) -> str:  # type: ignore[override]
        """The call that the request which asks may claim, or has claimed."""
        return self._offered

    @property
    def claimed(self) -> bool:
        """Whether no call waits any more; asking is how a request begins, and offers it the next one."""
        if self._waiting:
            self._offered = self._waiting[0]
        return not self._waiting

    @claimed.setter
    def claimed(self, value: bool) -> None:
        if value and self._waiting and self._waiting[0] == self._offered:
            self._taken.add(self._waiting.popleft())


def open_link(call_id: str, batch: Any, who: Mapping[str, Any]) -> Link:
    """Let the request that comes next in this context be recognised as this call's."""
    current = link.get()
    if batch is None:
        opened = Link(call_id, LIBRARY, who)
    elif isinstance(current, BatchLink) and current.batch is batch:
        opened = current
        current.add(call_id)
        return opened
    else:
        opened = BatchLink(batch, who)
        opened.add(call_id)
    link.set(opened)
    return opened


def close_link(opened: Link, call_id: str) -> bool:
    """Let nothing more be recognised as this call's; whether LiteLLM's door has taken it."""
    if link.get() is opened:
        link.set(None)
    if isinstance(opened, BatchLink):
        return opened.drop(call_id)
    claimed, opened.claimed = opened.claimed, True
    return claimed
