"""How other threads, finalisers and signal handlers reach the writer's thread."""

from __future__ import annotations

import threading


class Wake:
    """A binary semaphore that a signal handler may set in the middle of setting it.

    `threading.Event` may not be used there: it takes a lock that is not reentrant.
    """

    __slots__ = ("_lock",)

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._lock.acquire()

    def set(self) -> None:
        """Wake the waiter, or let its next wait return at once."""
        try:
            self._lock.release()
        except RuntimeError:
            return  # it is set already

    def wait(self, timeout: float | None) -> None:
        """Wait until set, or for some seconds."""
        self._lock.acquire(timeout=-1 if timeout is None else timeout)


class Request:
    """Somebody waits until what is queued is in the store."""

    __slots__ = ("abandoned", "adopt", "done", "patient", "result")

    def __init__(self, *, patient: bool, adopt: bool = True) -> None:
        self.patient = patient
        """Whether to go on trying when the store does not answer."""
        self.adopt = adopt
        """Whether what dead processes left counts too."""
        self.abandoned = False
        """Whether nobody waits any more."""
        self.done = threading.Event()
        self.result = False

    def answer(self, *, result: bool) -> None:
        """Tell the one who waits."""
        self.result = result
        self.done.set()
