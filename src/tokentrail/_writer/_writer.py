"""Writer: takes records from the doors, and sees to it that they arrive."""

from __future__ import annotations

import atexit
import os
import threading
import time
import weakref
from collections import Counter, deque
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any, Final, TypeAlias

from tokentrail._health import Health
from tokentrail._journal import Journal
from tokentrail._journal._folder import set_aside
from tokentrail._journal._journal import UNENCODED
from tokentrail._journal._segment import Segment
from tokentrail._records import START, Record
from tokentrail._writer._adoption import adopt, nowhere
from tokentrail._writer._delivery import BATCH, Delivery
from tokentrail._writer._signals import Request, Wake
from tokentrail._writer._upkeep import Upkeep

if TYPE_CHECKING:
    from tokentrail.stores.base import Store

QUEUE_RECORDS: Final = 10_000
QUEUE_BYTES: Final = 64 << 20
_ADOPTING: Final = 60.0
_EXIT_WAIT: Final = 2.0
_SILENCE: Final = 30.0
_RIVAL: Final = 0.02

Item: TypeAlias = tuple[Record | None, Segment | None, int]
"""A record on its way (None: only bytes to account for), the segment that has it, and its size there."""


class Writer:
    """One thread between the doors and the store.

    A record is on the disk when `submit` returns, and in a bounded queue, from which the thread delivers it:
    in batches, with patience. The journal is read again only for what the queue had no room for, and for what
    dead processes left.

    Args:
        open_store: opens the store; called by the thread, when there is something to deliver.
        journal: where records are written down first; None: they live in memory until they are delivered.
        price: adds cost to a row, in place; called by the thread.
        running: start records of the calls that run now. A call must be among them before its `note_start`.
        health: where losses, faults and duplicates are counted.
        poll_interval: seconds for which records are collected before they are delivered.
        checkpoint: called at named points of an adoption; tests die there.
    """

    def __init__(
        self,
        *,
        open_store: Callable[[], Store],
        journal: Journal | None,
        price: Callable[[Record], None],
        running: Callable[[], list[Record]],
        health: Health,
        poll_interval: float = 0.25,
        checkpoint: Callable[[str], None] = nowhere,
    ) -> None:
        self._journal = journal
        self._running = running
        self._health = health
        self._poll_interval = poll_interval
        self._checkpoint = checkpoint
        self._delivery = Delivery(open_store, price=price, health=health, refuse=self._refuse)
        self._reset()
        _writers.add(self)

    def _reset(self) -> None:
        self._queue: deque[Item] = deque()
        self._queued_bytes = 0
        """About right: a bound needs no more, and a lock here could stop a signal handler for good."""
        self._batch: list[Item] = []
        self._spilled = 0
        self._lost = 0
        self._lost_told = 0
        self._late = False
        self._requests: deque[Request] = deque()
        self._wake = Wake()
        self._idle = True
        self._thread: threading.Thread | None = None
        self._starting = threading.Lock()
        self._working = threading.Lock()
        self._stopping = False
        self._closed = False
        self._adopt_at = 0.0
        self._upkeep = (
            Upkeep(self._journal, self._delivery, running=self._running, health=self._health)
            if self._journal is not None
            else None
        )
        weakref.finalize(self, self._wake.set).atexit = False

    # --- the caller's side -----------------------------------------------------------------------

    def note_start(self, record: Record) -> None:
        """Write down that a call runs. Stores hold ended calls only, so this goes no further."""
        journal = self._journal
        if journal is not None:
            segment, size = journal.write(record)
            # Without a segment (a stalled disk) the thread writes it down.
            self._enqueue((None if segment is not None else record, segment, size))
            if len(self._queue) == BATCH:
                self._rouse()

    def submit(self, record: Record) -> None:
        """Take an ended call: to the journal now, to the store soon."""
        if self._journal is None:
            item: Item = (record, None, UNENCODED)
        else:
            segment, size = self._journal.write(record)
            item = (record, segment, size)
        if self._closed:
            self._late = True
            if item[1] is None:
                self._lose("closed")
            return
        self._enqueue(item)
        if self._idle or len(self._queue) == BATCH:
            self._rouse()

    def _enqueue(self, item: Item) -> None:
        if len(self._queue) < QUEUE_RECORDS and self._queued_bytes < QUEUE_BYTES:
            self._queue.append(item)
            self._queued_bytes += item[2]
            return
        record, segment, _ = item
        if segment is not None:
            if record is not None:
                self._spilled += 1
                segment.spilled = True
        elif record is not None and record.get("finality", START) > START:
            over_quota = self._journal is not None and self._journal.over_quota
            self._lose("journal_quota" if over_quota else "queue_full")

    def _lose(self, reason: str) -> None:
        self._lost += 1
        self._health.lose(reason)

    def flush(self, timeout: float | None = None) -> bool:
        """Wait until everything submitted before is in the store; also adopts what dead processes left.

        Args:
            timeout: seconds; None waits for as long as the store answers.

        Returns:
            True only if all of it is in the store, this process's and the dead ones'.
        """
        if self._closed:
            return not self._late
        request = Request(patient=timeout is not None)
        self._ask(request)
        return self._await(request, timeout)

    def _ask(self, request: Request) -> None:
        self._requests.append(request)
        self._rouse()
        if self._thread is None:
            self._work()  # no thread can be started any more: the interpreter is going down
            request.done.set()

    def _await(self, request: Request, timeout: float | None) -> bool:
        if timeout is not None:
            request.done.wait(timeout)
        else:
            steps = -1
            while not request.done.wait(_SILENCE) and steps != self._delivery.steps:
                steps = self._delivery.steps
        request.abandoned = True
        return request.result

    def close(self, timeout: float | None = None) -> bool:
        """Flush, stop the thread, close the store. Later records still reach the journal.

        Returns:
            What `flush` said.
        """
        if self._closed:
            return self.flush(timeout)
        flushed = self.flush(timeout)
        self._closed = True
        self._stopping = True
        self._wake.set()
        thread = self._thread
        if thread is None:
            self._leave()
        else:
            thread.join(_EXIT_WAIT if timeout is None else timeout)
        return flushed

    def _leave(self) -> None:
        """The thread's last act: take away what nobody needs any more."""
        for record, segment, _ in [*self._batch, *self._queue]:
            if record is not None and segment is None and record.get("finality", START) > START:
                self._lose("closed")
        if self._upkeep is not None and not self._batch and not self._queue:
            self._upkeep.leave()
        self._delivery.close()

    def health(self) -> dict[str, Any]:
        """Backlog, rows written, durability, and what is wrong with the store, if anything is."""
        journal = self._journal
        waiting = [*self._batch, *self._queue.copy()]
        return {
            "backlog": self._spilled + sum(1 for item in waiting if item[0] is not None),
            "written": self._delivery.written,
            "refused": self._delivery.refused,
            "durability": "memory" if journal is None else journal.durability,
            "journal": None if journal is None else str(journal.folder),
            "journal_bytes": 0 if self._upkeep is None else self._upkeep.bytes,
            "last_error": self._delivery.last_error,
        }

    def store(self) -> Store:
        """The store that this writer delivers to, opened if need be.

        Raises:
            TokentrailError: it cannot be opened.
        """
        return self._delivery.store()

    # --- the thread ------------------------------------------------------------------------------

    def _rouse(self) -> None:
        self._idle = False
        if self._thread is not None:
            self._wake.set()
        elif not _exiting:
            self._start()

    def _start(self) -> None:
        # Not waited for: whoever holds it starts the thread, be it whom this signal handler has interrupted.
        if not self._starting.acquire(blocking=False):
            return
        try:
            if self._thread is None:
                thread = threading.Thread(
                    target=_run, args=(weakref.ref(self), self._wake), name="tokentrail-writer", daemon=True
                )
                self._thread = thread
                thread.start()
        except RuntimeError:
            # "can't start new thread": the journal alone holds the records, and the next process adopts them.
            self._thread = None
            self._idle = True
            self._health.note("no_thread")
        finally:
            self._starting.release()

    def _work(self) -> float | None:
        """One turn; returns the seconds until the next, or None if there is nothing to do until roused."""
        with self._working:
            try:
                return self._turn(time.monotonic())
            except Exception as error:  # noqa: BLE001  the thread must go on; what failed is tried again
                self._health.fault("writer", error)
                return 1.0

    def _turn(self, now: float) -> float | None:
        requests = [self._requests.popleft() for _ in range(len(self._requests))]
        worked = len(self._queue) > 0
        due = bool(requests) or now >= self._delivery.retry_at
        delivered = self._deliver_own() if due else not self._batch
        if self._upkeep is not None:
            self._upkeep.housekeep(now)
        busy = False
        if delivered and (requests or now >= self._adopt_at):
            busy = self._adopt(now)
            delivered = not self._delivery.failures
        self._answer(requests, delivered=delivered, busy=busy)
        if self._requests:
            return _RIVAL if busy else self._poll_interval
        if worked or self._batch or not delivered or (self._upkeep is not None and self._upkeep.is_dirty()):
            return self._poll_interval
        return None

    def _answer(self, requests: list[Request], *, delivered: bool, busy: bool) -> None:
        lost = self._lost + self._delivery.refused
        told = self._lost_told
        for request in requests:
            if delivered and (not busy or not request.adopt):
                request.answer(result=lost == told)
                self._lost_told = lost
            elif not delivered and not request.patient:
                request.answer(result=False)
            elif not request.abandoned:
                self._requests.append(request)

    def _deliver_own(self) -> bool:
        """Deliver what is queued now, and what was spilled; False if the store does not answer."""
        waiting = len(self._queue)
        while self._batch or waiting > 0:
            if not self._batch:
                self._batch = list(self._take(BATCH))
                waiting -= len(self._batch)
            if not self._deliver(self._batch):
                return False
            self._batch = []
        if self._upkeep is None:
            return True
        if not self._upkeep.deliver_spilled():
            return False
        self._spilled = 0
        return self._upkeep.clear_retired()

    def _take(self, count: int) -> Iterable[Item]:
        queue = self._queue
        for _ in range(min(count, len(queue))):
            item = queue.popleft()
            self._queued_bytes -= item[2]
            yield item
        if not queue:
            self._queued_bytes = 0

    def _deliver(self, batch: list[Item]) -> bool:
        upkeep = self._upkeep
        ends = [
            record for record, _, _ in batch if record is not None and record.get("finality", START) > START
        ]
        if upkeep is None:
            return not ends or self._delivery.append(ends, count=True)
        self._write_late(batch)
        added: Counter[Segment] = Counter()
        for _, segment, size in batch:
            if segment is not None:
                added[segment] += size
        if ends and not self._delivery.append(map(upkeep.stamped, ends), upkeep.position(added), count=True):
            return False
        upkeep.settle(added)
        return True

    def _write_late(self, batch: list[Item]) -> None:
        """Write down what its own thread could not: the disk was stalled, full or away."""
        late = [record for record, segment, _ in batch if segment is None and record is not None]
        if not late or self._journal is None:
            return
        written, total = self._journal.write_many(late)
        if written is not None:
            batch[:] = [
                (record, segment or written, size if segment is not None else 0)
                for record, segment, size in batch
            ]
            batch.append((None, written, total))

    def _adopt(self, now: float) -> bool:
        self._adopt_at = now + _ADOPTING
        journal = self._journal
        if journal is None:
            return False
        return adopt(
            journal.folder,
            self._delivery,
            health=self._health,
            skip=journal.owner,
            between=self._make_room,
            checkpoint=self._checkpoint,
        ).busy

    def _make_room(self) -> None:
        """In the middle of a long adoption: do not let our own queue overflow."""
        if len(self._queue) >= BATCH:
            batch = list(self._take(BATCH))
            if not self._deliver(batch):
                self._batch = batch

    def _refuse(self, record: Record) -> None:
        if self._journal is not None:
            set_aside(self._journal.folder, record)

    # --- the end of the process, and forks -------------------------------------------------------

    def _has_work(self) -> bool:
        return bool(self._queue or self._batch)

    def _after_fork(self) -> None:
        closed = self._closed
        self._delivery.after_fork()
        self._reset()
        self._closed = closed


def _run(reference: weakref.ref[Writer], wake: Wake) -> None:
    """The thread. It holds its writer only while there is work, so that an unused one can go away."""
    while True:
        writer = reference()
        if writer is None:
            return
        pause = writer._work()
        if writer._stopping:
            writer._leave()
            return
        if pause is not None:
            wake.wait(pause)
            continue
        writer._idle = True
        if writer._queue or writer._requests:
            writer._idle = False
            continue
        interval = writer._poll_interval
        del writer
        wake.wait(None)
        writer = reference()
        if writer is not None and not writer._requests and not writer._stopping:
            wake.wait(interval)  # what begins now may be a burst: collect some


_exiting = False
_writers: weakref.WeakSet[Writer] = weakref.WeakSet()


def _at_exit() -> None:
    """Deliver what is queued, for a moment. Whoever records later still has the journal: it stays open."""
    global _exiting
    _exiting = True
    deadline = time.monotonic() + _EXIT_WAIT
    requests = []
    for writer in list(_writers):
        if writer._has_work() and writer._thread is not None:
            request = Request(patient=True, adopt=False)
            writer._ask(request)
            requests.append(request)
    for request in requests:
        request.done.wait(deadline - time.monotonic())
        request.abandoned = True


def _after_fork_in_child() -> None:
    for writer in list(_writers):
        writer._after_fork()


atexit.register(_at_exit)
os.register_at_fork(after_in_child=_after_fork_in_child)
