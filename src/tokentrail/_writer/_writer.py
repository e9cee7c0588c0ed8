"""Writer: takes records from the doors, and sees to it that they arrive."""

from __future__ import annotations

import atexit
import os
import threading
import time
import weakref
from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final

from tokentrail._health import Health
from tokentrail._journal import Journal
from tokentrail._journal._folder import set_aside
from tokentrail._journal._journal import UNENCODED
from tokentrail._records import Record
from tokentrail._writer._adoption import adopt, nowhere
from tokentrail._writer._backlog import MAX_BYTES, Backlog
from tokentrail._writer._delivery import BATCH, Delivery, Guest
from tokentrail._writer._signals import Request, Wake, let_imports_end
from tokentrail._writer._upkeep import Upkeep

if TYPE_CHECKING:
    from tokentrail._pricing import Price
    from tokentrail.stores.base import Store

_ADOPTING: Final = 60.0
_EXIT_WAIT: Final = 2.0
_SILENCE: Final = 30.0
_RIVAL: Final = 0.02


class Writer:
    """One thread between the doors and the store.

    A record is on the disk when `submit` returns, and in a bounded queue, from which the thread delivers it:
    in batches, with patience. The journal is read again only for what the queue had no room for, and for what
    dead processes left.

    Args:
        open_store: opens the store; called by the thread, when there is something to deliver.
        journal: where records are written down first; None: they live in memory until they are delivered.
        price: adds cost to rows, in place; called by the thread.
        running: start records of the calls that run now. A call must be among them before its `note_start`.
        health: where losses, faults and duplicates are counted.
        guest: works in the thread around each batch, see `Guest`.
        poll_interval: seconds for which records are collected before they are delivered.
        checkpoint: called at named points of an adoption; tests die there.
    """

    def __init__(
        self,
        *,
        open_store: Callable[[], Store],
        journal: Journal | None,
        price: Price,
        running: Callable[[], list[Record]],
        health: Health,
        guest: Guest | None = None,
        poll_interval: float = 0.25,
        checkpoint: Callable[[str], None] = nowhere,
    ) -> None:
        self._journal = journal
        self._running = running
        self._health = health
        self._poll_interval = poll_interval
        self._checkpoint = checkpoint
        self._delivery = Delivery(open_store, price=price, health=health, refuse=self._refuse, guest=guest)
        self._reset()
        _writers.add(self)

    def _reset(self) -> None:
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
        self._warm = False
        """Whether a turn has ended: the first one imports what delivers."""
        self._upkeep = (
            Upkeep(self._journal, self._delivery, running=self._running, health=self._health)
            if self._journal is not None
            else None
        )
        self._backlog = Backlog(self._journal, self._delivery, self._upkeep, health=self._health)
        weakref.finalize(self, self._wake.set).atexit = False

    # --- the caller's side -----------------------------------------------------------------------

    def note_start(self, record: Record) -> None:
        """Write down that a call runs. Stores hold ended calls only, so this goes no further."""
        journal = self._journal
        if journal is None:
            return
        segment, size = journal.write(record)
        backlog = self._backlog
        waiting = len(backlog.queue)
        if waiting < backlog.room:
            # Without a segment (a stalled disk) the thread writes it down.
            backlog.queue.append((None if segment is not None else record, segment, size))
            backlog.bytes += size
            if waiting == BATCH:
                self._rouse()
        elif segment is None and self._upkeep is not None:
            self._upkeep.starts_missing = True

    def submit(self, record: Record) -> None:
        """Take an ended call: to the journal now, to the store soon."""
        journal = self._journal
        segment, size = journal.write(record) if journal is not None else (None, UNENCODED)
        backlog = self._backlog
        waiting = len(backlog.queue)
        if waiting < backlog.room and backlog.bytes < MAX_BYTES:
            backlog.queue.append((record, segment, size))
            backlog.bytes += size
        else:
            self._late = self._closed
            backlog.overflow(record, segment)
        if self._idle or waiting == BATCH:
            self._rouse()

    def flush(self, timeout: float | None = None) -> bool:
        """Wait until everything submitted before is in the store; also adopts what dead processes left.

        Args:
            timeout: seconds; None waits for as long as the store answers.

        Returns:
            True only if all of it is in the store, this process's and the dead ones'.
        """
        if self._closed:
            return not self._late
        if threading.current_thread() is self._thread:
            return False  # asked by a guest: the thread cannot wait for itself
        request = Request(patient=timeout is not None)
        self._ask(request)
        return self._await(request, timeout)

    def nudge(self) -> None:
        """Say that the guest waits."""
        self._rouse()

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
        self._backlog.room = 0
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
        if self._backlog.leave() and self._upkeep is not None:
            self._upkeep.leave()
        self._delivery.close()

    def health(self) -> dict[str, Any]:
        """Backlog, rows written, durability, and what is wrong with the store, if anything is."""
        journal = self._journal
        return {
            "backlog": self._backlog.count(),
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
        elif not _exiting and not self._closed:
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
            finally:
                self._warm = True

    def _turn(self, now: float) -> float | None:
        requests = [self._requests.popleft() for _ in range(len(self._requests))]
        worked = not self._backlog.is_empty()
        due = bool(requests) or now >= self._delivery.retry_at
        delivered = self._backlog.deliver() if due else not self._backlog.stuck
        if not delivered:
            self._backlog.write_down()
        elif due and self._delivery.awaited:
            self._delivery.attend()
        if self._upkeep is not None:
            self._upkeep.housekeep(now)
        busy = False
        if delivered and (requests or now >= self._adopt_at):
            busy = self._adopt(now)
            delivered = not self._delivery.failures
        self._answer(requests, delivered=delivered, busy=busy)
        if self._requests:
            return _RIVAL if busy else self._poll_interval
        if (
            worked
            or not delivered
            or self._delivery.awaited
            or (self._upkeep is not None and self._upkeep.is_dirty())
        ):
            return self._poll_interval
        return None

    def _answer(self, requests: list[Request], *, delivered: bool, busy: bool) -> None:
        lost = self._backlog.lost + self._delivery.refused
        told = self._lost_told
        for request in requests:
            if delivered and (not busy or not request.adopt):
                request.answer(result=lost == told)
                self._lost_told = lost
            elif not delivered and not request.patient:
                request.answer(result=False)
            elif not request.abandoned:
                self._requests.append(request)

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
            between=self._backlog.make_room,
            checkpoint=self._checkpoint,
        ).busy

    def _refuse(self, record: Record) -> None:
        if self._journal is not None:
            set_aside(self._journal.folder, record)

    # --- the end of the process, and forks -------------------------------------------------------

    def _is_warm(self) -> bool:
        return self._warm

    def _has_work(self) -> bool:
        return not self._backlog.is_empty() or self._delivery.awaited

    def _after_fork(self) -> None:
        closed = self._closed
        self._reset()
        self._closed = closed
        if closed:
            self._backlog.room = 0


def _run(reference: weakref.ref[Writer], wake: Wake) -> None:
    """The thread; should it ever be killed from inside, the next record starts another."""
    try:
        _serve(reference, wake)
    finally:
        writer = reference()
        if writer is not None and not writer._closed:
            writer._thread = None
            writer._idle = True


def _serve(reference: weakref.ref[Writer], wake: Wake) -> None:
    """Work, and wait. The writer is held only while there is work, so that an unused one can go away."""
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
        if not writer._backlog.is_empty() or writer._requests:
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
    for writer in list(_writers):
        if writer._thread is not None and not writer._warm:
            let_imports_end(writer._thread, writer._is_warm)


def _after_fork_in_child() -> None:
    for writer in list(_writers):
        writer._after_fork()


atexit.register(_at_exit)
os.register_at_fork(after_in_child=_after_fork_in_child)
