"""The running calls: joins each end to its start, keeps totals and waiters, knows no database."""

from __future__ import annotations

import asyncio
import threading
from collections import OrderedDict, deque
from collections.abc import Mapping
from itertools import islice
from typing import Any, Final

from tokentrail._health import Health
from tokentrail._records import FAILED, FINAL, PROVISIONAL, START, Record, new_id
from tokentrail._totals import Totals
from tokentrail._usage import ASKED, COUNTS

CLOSED_KEPT: Final = 4096
"""Ended calls remembered, so that a late witness is told from an orphan."""
RECENT_KEPT: Final = 1000
_PENDING: Final = 256


class Running:
    """A call that has started and not ended. A door may bring one of its own kind, with more in it."""

    # Defaults on the class: a call sets only what it has.
    record: Record
    """What is known so far."""
    clock = 0
    """Monotonic nanoseconds at the start."""
    seen = 0
    """Monotonic nanoseconds of the last sign of life after the start."""
    ended: Record | None = None
    """The provisional end, if one came."""
    told = False
    """Whether more than its start has been told, so that its end must be joined with care."""


class Shelf:
    """The last few thousand of something, by id; what is older is forgotten by the thousand."""

    __slots__ = ("_kept", "new", "old")

    def __init__(self, kept: int) -> None:
        self._kept = kept
        self.new: dict[Any, Any] = {}
        self.old: dict[Any, Any] = {}

    def put(self, key: Any, item: Any) -> None:
        """Remember one more."""
        self.new[key] = item
        if len(self.new) >= self._kept:
            self.turn()

    def turn(self) -> None:
        """Forget the older half, if the newer one is full."""
        if len(self.new) >= self._kept:
            self.old, self.new = self.new, {}

    def get(self, key: Any) -> Any:
        """What was put there, or `None`."""
        return self.new.get(key) or self.old.get(key)


class Live:
    """Memory of one tracker. Every method may be called from any thread, finaliser or signal handler.

    Methods that end a call return the record to be stored, or `None` when there is nothing new to store.
    Clocks are parameters: nothing here reads one.
    """

    def __init__(self, health: Health, *, max_active: int) -> None:
        # Reentrant, because a finaliser or a signal handler may end a call inside these lines.
        self._lock = threading.RLock()
        self._change = threading.Condition(self._lock)
        self._health = health
        self._max_active = max_active
        # Ordered, because the first of a plain dict is slow to find once many have been taken out.
        self._active: OrderedDict[str, Running] = OrderedDict()
        self._provisional: OrderedDict[str, Running] = OrderedDict()
        self._closed = Shelf(CLOSED_KEPT)
        self._version = 0
        self._watched = False
        """Whether somebody waits for a change."""
        self._waiting = 0
        self._wakers: list[tuple[asyncio.AbstractEventLoop, asyncio.Future[None]]] = []
        self._traces: deque[tuple[int, Record]] = deque(maxlen=RECENT_KEPT)
        self._errors: deque[tuple[int, Record]] = deque(maxlen=RECENT_KEPT)
        self.ended = 0
        """Calls that have ended since the tracker was made."""
        self._totals = Totals()
        self._pending: list[tuple[Record, Record | None, int]] = []
        """Ends that are not in totals and rings yet: many at once cost a fraction of one at a time."""

    # --- the life of a call ----------------------------------------------------------------------

    def start(self, call_id: str, running: Running) -> Record | None:
        """Remember a running call; returns the end of the oldest one if there are now too many."""
        with self._lock:
            self._active[call_id] = running
            evicted = self._evict(running.clock) if len(self._active) > self._max_active else None
            self._version += 1
            if self._watched:
                self._wake()
        return evicted

    def progress(self, call_id: str, fields: Record, clock: int, *, first_token: bool = False) -> bool:
        """Add to what is known of a running call; False if it does not run."""
        with self._lock:
            running = self._active.get(call_id)
            if running is None:
                return False
            running.seen = clock
            running.told = True
            record = running.record
            if first_token and "time_to_first_token_us" not in record:
                record["time_to_first_token_us"] = (clock - running.clock) // 1000
            record.update(_with_flags(record, fields) if "usage_flags" in record else fields)
            self._bump()
        return True

    def join(self, call_id: str, source: str) -> bool:
        """Note that another door sees a call too."""
        with self._lock:
            running = self._active.get(call_id) or self._provisional.get(call_id)
            if running is None:
                return False
            seen_by = running.record.get("seen_by", [])
            if source not in seen_by:
                running.told = True
                running.record["seen_by"] = [*seen_by, source]
        return True

    def end(self, call_id: str, fields: Record, now: int, clock: int, finality: int = FINAL) -> Record | None:
        """End a call: the first final end wins, a provisional one is replaced, later ones fill blanks."""
        with self._lock:
            running = self._active.pop(call_id, None) or self._provisional.pop(call_id, None)
            if running is None:
                return self._late_or_orphan(call_id, fields, now, finality)
            record = running.record
            if running.told or "usage_flags" in record or "seen_by" in fields:
                record, fields = _joined(running, fields)
            ended = {**record, **fields}
            ended["finality"] = finality
            ended["ended_at"] = ended["created_at"] = now
            if "duration_us" not in fields:
                ended["duration_us"] = (clock - running.clock) // 1000
            previous = running.ended
            if finality <= PROVISIONAL:
                running.ended, running.told = ended, True
                self._set_aside(call_id, running)
            else:
                self._closed.new[call_id] = ended
            if previous is None:
                self.ended += 1
            self._pending.append((ended, previous, self.ended))
            if len(self._pending) >= _PENDING:
                self._settle()
            self._version += 1
            if self._watched:
                self._wake()
        return ended

    def add(self, record: Record) -> Record | None:
        """Take a finished call that was never seen running; None if one of its id has ended already."""
        with self._lock:
            if self.is_closed(record["id"]):
                self._health.note("duplicates")
                return None
            self._closed.put(record["id"], record)
            self._account(record, None)
        return record

    def is_closed(self, call_id: str) -> bool:
        """Whether a final end of the call has been seen (and is still remembered)."""
        return self._closed.get(call_id) is not None

    def sweep(self, *, now: int, clock: int, max_age_ns: int) -> list[Record]:
        """End as `abandoned`, provisionally, the calls that gave no sign of life for too long."""
        with self._lock:
            oldest = clock - max_age_ns
            # All are looked at: an early call that progressed lately is younger than a later silent one.
            stale = [
                call_id
                for call_id, running in self._active.items()
                if max(running.clock, running.seen) < oldest
            ]
            return [self._abandon(call_id, now, clock) for call_id in stale]

    def _evict(self, clock: int) -> Record:
        self._health.note("evicted")
        call_id = next(iter(self._active))
        started: int = self._active[call_id].record["started_at"]
        return self._abandon(call_id, started + (clock - self._active[call_id].clock) // 1000, clock)

    def _abandon(self, call_id: str, now: int, clock: int) -> Record:
        fields: Record = {"status": "abandoned", "usage_source": "missing"}
        record = self.end(call_id, fields, now, clock, PROVISIONAL)
        assert record is not None  # noqa: S101  it was running, under the same lock
        return record

    def _late_or_orphan(self, call_id: str, fields: Record, now: int, finality: int) -> Record | None:
        closed = self._closed.get(call_id)
        if closed is None:
            self._health.note("orphans")
            record: Record = {"started_at": now, "ended_at": now, "created_at": now, **fields}
            is_ours = len(call_id) == 36 and call_id.count("-") == 4
            record["id"] = call_id if is_ours else new_id(now)
            if not is_ours:
                record.setdefault("request_id", call_id)
            record["finality"] = finality
            self._closed.put(call_id, record)
            self._account(record, None)
            return record
        blanks = _blanks(closed, fields)
        if not blanks:
            self._health.note("duplicates")
            return None
        record = {**closed, **blanks, "finality": closed["finality"] + 1}
        self._closed.put(call_id, record)
        self._account(record, closed)
        return record

    def _set_aside(self, call_id: str, running: Running) -> None:
        self._provisional[call_id] = running
        if len(self._provisional) > CLOSED_KEPT:
            self._provisional.popitem(last=False)

    def _account(self, record: Record, previous: Record | None) -> None:
        if previous is None:
            self.ended += 1
        self._pending.append((record, previous, self.ended))
        if len(self._pending) >= _PENDING:
            self._settle()
        self._bump()

    def _settle(self) -> None:
        """Totals by the delta rule: what a call adds now, minus what it had added before."""
        with self._lock:
            pending, self._pending = self._pending, []
            self._closed.turn()
            replaced = [previous for _, previous, _ in pending if previous is not None]
            self._totals.add([record for record, _, _ in pending])
            self._totals.add(replaced, -1)
            for record, previous, seq in pending:
                if previous is None:
                    self._traces.append((seq, record))
                else:
                    self._replace(self._traces, previous, record)
                if record["status"] in FAILED:
                    self._errors.append((seq, record))

    @staticmethod
    def _replace(ring: deque[tuple[int, Record]], previous: Record, record: Record) -> None:
        for index in range(len(ring) - 1, -1, -1):
            if ring[index][1] is previous:
                ring[index] = (ring[index][0], record)
                return

    # --- questions -------------------------------------------------------------------------------

    @property
    def totals(self) -> Totals:
        """Sums over all that has ended."""
        self._settle()
        return self._totals

    def active(self) -> list[Running]:
        """The running calls, newest first."""
        with self._lock:
            return list(reversed(self._active.values()))

    def starts(self) -> list[Record]:
        """Start records of what runs, for the journal to carry along; oldest first."""
        with self._lock:
            return [{**running.record, "finality": START} for running in self._active.values()]

    def find(self, call_id: str) -> Running | None:
        """A running call."""
        return self._active.get(call_id)

    def traces(self, limit: int, since: int | None) -> list[tuple[int, Record]]:
        """Recently ended calls with their sequence numbers, newest first."""
        return self._recent(self._traces, limit, since)

    def errors(self, limit: int, since: int | None) -> list[tuple[int, Record]]:
        """Recently failed calls with their sequence numbers, newest first."""
        return self._recent(self._errors, limit, since)

    def _recent(
        self, ring: deque[tuple[int, Record]], limit: int, since: int | None
    ) -> list[tuple[int, Record]]:
        with self._lock:
            self._settle()
            newest = (entry for entry in reversed(ring) if since is None or entry[0] > since)
            return list(islice(newest, limit))

    # --- waiting ---------------------------------------------------------------------------------

    @property
    def version(self) -> int:
        """Grows with every change."""
        return self._version

    def wait(self, since: int, timeout: float | None) -> int:
        """Block until the version is above `since`, or the time is over; returns the version."""
        with self._change:
            self._waiting += 1
            self._watched = True
            try:
                self._change.wait_for(lambda: self._version > since, timeout)
            finally:
                self._waiting -= 1
            return self._version

    async def wait_async(self, since: int, timeout: float | None) -> int:
        """`wait` without blocking the event loop; nothing of the waiter is kept afterwards."""
        loop = asyncio.get_running_loop()
        deadline = None if timeout is None else loop.time() + timeout
        while self._version <= since:
            future: asyncio.Future[None] = loop.create_future()
            waker = (loop, future)
            with self._lock:
                if self._version > since:
                    break
                self._wakers.append(waker)
                self._watched = True
            try:
                async with asyncio.timeout_at(deadline):
                    await future
            except TimeoutError:
                break
            finally:
                with self._lock:
                    if waker in self._wakers:
                        self._wakers.remove(waker)
        return self._version

    def _bump(self) -> None:
        self._version += 1
        if self._watched:
            self._wake()

    def _wake(self) -> None:
        if self._waiting:
            self._change.notify_all()
        wakers, self._wakers = self._wakers, []
        for loop, future in wakers:
            try:
                loop.call_soon_threadsafe(_wake, future)
            except RuntimeError:  # that loop is closed: nobody waits there any more
                continue
        self._watched = self._waiting > 0

    def after_fork(self) -> None:
        """In a forked child: running calls and waiters belong to the parent."""
        self._lock = threading.RLock()
        self._change = threading.Condition(self._lock)
        self._active.clear()
        self._provisional.clear()
        self._wakers.clear()
        self._waiting = 0


def _wake(future: asyncio.Future[None]) -> None:
    if not future.done():
        future.set_result(None)


def _joined(running: Running, fields: Record) -> tuple[Record, Record]:
    """What is known of a call that more was told of than its start, and what its end adds to that."""
    record, previous = running.record, running.ended
    if previous is not None:
        told = {name: value for name, value in previous.items() if name not in _SETTLED}
        record = {**record, **told, "seen_by": _union(record, previous)}
    if "seen_by" in fields:
        fields = {**fields, "seen_by": _union(record, fields)}
    if not _brings_usage(fields) and _brings_usage(record):
        fields = {name: value for name, value in fields.items() if name not in _USAGE_COLUMNS}
    if "usage_flags" in record:
        fields = _with_flags(record, fields)
    if not fields.get("usage_flags", record.get("usage_flags", True)):
        record = {name: value for name, value in record.items() if name != "usage_flags"}
        fields = {name: value for name, value in fields.items() if name != "usage_flags"}
    return record, fields


def _with_flags(record: Record, fields: Record) -> Record:
    """Fields with the flags that stay: those of the call always, those of a usage until the next is known."""
    before, told = record["usage_flags"], fields.get("usage_flags", ())
    if _brings_usage(fields):
        before = [flag for flag in before if flag == ASKED or flag.startswith("warning:")]
    elif not told:
        return fields
    return {**fields, "usage_flags": list(dict.fromkeys((*before, *told)))}


def _union(record: Record, fields: Record) -> list[str]:
    return list(dict.fromkeys([*record.get("seen_by", ()), *fields["seen_by"]]))


_USAGE_COLUMNS: Final = frozenset((*COUNTS, "usage_details", "usage_flags", "usage_source"))
_SETTLED: Final = frozenset((
    "status", "ended_at", "created_at", "duration_us", "finality", "seen_by", "error_type", "error_message",
    "stack_trace",
))  # fmt: skip
"""What the first final end has decided, once and for all."""


def _brings_usage(fields: Mapping[str, Any]) -> bool:
    return "input_tokens" in fields or "output_tokens" in fields or "total_tokens" in fields


def _blanks(record: Record, fields: Mapping[str, Any]) -> Record:
    """What a late witness may add: fields that are still unknown, and usage as a whole or not at all."""
    blanks = {
        name: value
        for name, value in fields.items()
        if name not in _SETTLED and name not in _USAGE_COLUMNS and name not in record
    }
    if _brings_usage(fields) and not _brings_usage(record):
        told = _with_flags(record, dict(fields)) if "usage_flags" in record else fields
        blanks.update((name, value) for name, value in told.items() if name in _USAGE_COLUMNS)
    if "seen_by" in fields and not set(fields["seen_by"]) <= set(record.get("seen_by", ())):
        blanks["seen_by"] = _union(record, dict(fields))
    return blanks
