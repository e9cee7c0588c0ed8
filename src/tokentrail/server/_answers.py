"""Answers that are still true are given again; those being found are waited for by all who asked the same."""

from __future__ import annotations

import asyncio
import time
from collections import OrderedDict
from collections.abc import Callable, Hashable
from typing import Any, Final, NamedTuple

from tokentrail.server._ledger import Ledger

KEPT: Final = 256
LARGEST: Final = 256 * 1024
"""Bytes of an answer that is kept."""
MOMENT: Final = 1.0
"""Seconds that an answer is kept at most: some speak of now, such as which sessions are active."""


class _Entry(NamedTuple):
    state: Hashable
    until: float
    found: asyncio.Future[bytes]


class Answers:
    """Keeps answers for as long as nothing was written since they were begun.

    Args:
        ledger: whose answers, and who knows whether anything was written.
    """

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger
        self._entries: OrderedDict[Hashable, _Entry] = OrderedDict()

    async def find(self, question: Hashable, work: Callable[..., bytes], *arguments: Any) -> bytes:
        """The answer to a question, by doing the work in a thread unless its answer is known.

        Args:
            question: the same for the same answer, also to the same asker.
            work: finds it.
            arguments: of the work.
        """
        state = self._ledger.state()
        if state is None:
            return await self._ledger.run(work, *arguments)
        loop = asyncio.get_running_loop()
        entry = self._entries.get(question)
        if entry is None or not _is_good(entry, state, loop):
            found = loop.create_task(self._ledger.run(work, *arguments))
            entry = _Entry(state, time.monotonic() + MOMENT, found)
            self._keep(question, entry)
        # Who goes away stops waiting, and not the work that others wait for.
        return entry.found.result() if entry.found.done() else await asyncio.shield(entry.found)

    def _keep(self, question: Hashable, entry: _Entry) -> None:
        self._entries[question] = entry
        self._entries.move_to_end(question)
        if len(self._entries) > KEPT:
            self._entries.popitem(last=False)

        def forget(found: asyncio.Future[bytes]) -> None:
            useless = found.cancelled() or found.exception() is not None or len(found.result()) > LARGEST
            if useless and self._entries.get(question) is entry:
                del self._entries[question]

        entry.found.add_done_callback(forget)


def _is_good(entry: _Entry, state: Hashable, loop: asyncio.AbstractEventLoop) -> bool:
    return entry.state == state and entry.until > time.monotonic() and entry.found.get_loop() is loop
