"""The running calls as they change: one look for all listeners, and nothing kept of one who left."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from typing import Any, Final

from tokentrail._records import iso, now_us
from tokentrail.server._ledger import OFF, Ledger

THROTTLE: Final = 0.25
"""Seconds between two looks at most often."""
POLL: Final = 0.5
"""Seconds between two looks where nobody tells of changes: at the journals of other processes."""
HEARTBEAT: Final = 15.0
"""Seconds of silence after which a comment is sent, so that proxies keep the connection."""
MOST_LISTENERS: Final = 1000

Calls = Sequence[Mapping[str, Any]]


class Feed:
    """What runs now, watched while somebody listens.

    Args:
        ledger: whose calls.
        heartbeat: see `HEARTBEAT`.
    """

    def __init__(self, ledger: Ledger, *, heartbeat: float = HEARTBEAT) -> None:
        self._ledger = ledger
        self._heartbeat = heartbeat
        self._calls: Calls = ()
        self._version = 0
        self._changed = asyncio.Event()
        self._watching: asyncio.Task[None] | None = None
        self._closed = False
        self.listeners = 0

    async def events(self, wanted: Callable[[Mapping[str, Any]], bool]) -> AsyncIterator[str]:
        """Server-sent events: at once what runs, then whenever that changes; comments in between.

        A duration that goes on is no change.

        Args:
            wanted: which calls this listener is to see.
        """
        if not self._ledger.is_enabled:
            yield _event("disabled", {"enabled": False, "hint": OFF})
            return
        self.listeners += 1
        try:
            told: Calls | None = None
            while not self._closed:
                await self._watch()
                changed = self._changed
                calls = [call for call in self._calls if wanted(call)]
                if told is None or _lasting(calls) != _lasting(told):
                    told = calls
                    yield _event("update", _picture(calls))
                try:
                    async with asyncio.timeout(self._heartbeat):
                        await changed.wait()
                except TimeoutError:
                    yield ": still here\n\n"
        finally:
            self.listeners -= 1
            if not self.listeners and self._watching is not None:
                self._watching.cancel()
                self._watching = None

    def close(self) -> None:
        """End all streams: the server stops, and would wait for them. To be called in the event loop."""
        self._closed = True
        self._changed.set()

    async def _watch(self) -> None:
        """See to it that somebody looks, and that the first picture is there."""
        if self._watching is None or self._watching.done():
            self._calls = await self._ledger.run(self._ledger.running)
            if self._watching is None or self._watching.done():
                self._watching = asyncio.create_task(self._look_on())

    async def _look_on(self) -> None:
        tracker = self._ledger.tracker
        version = 0 if tracker is None else tracker.version
        while True:
            await asyncio.sleep(THROTTLE if tracker is not None else POLL)
            if tracker is not None:
                version = await tracker.wait_for_change_async(version, POLL)
            calls = await self._ledger.run(self._ledger.running)
            if _lasting(calls) != _lasting(self._calls):
                self._calls = calls
                changed, self._changed = self._changed, asyncio.Event()
                changed.set()


def _lasting(calls: Calls) -> list[dict[str, Any]]:
    return [{name: value for name, value in call.items() if name != "duration_ms"} for call in calls]


def _picture(calls: Calls) -> dict[str, Any]:
    return {"enabled": True, "items": calls, "total": len(calls), "timestamp": iso(now_us())}


def _event(name: str, data: dict[str, Any]) -> str:
    return f"event: {name}\ndata: {json.dumps(data, ensure_ascii=False, separators=(',', ':'))}\n\n"
