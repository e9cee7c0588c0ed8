"""How other threads, finalisers, signal handlers and the end of the program meet the writer's thread."""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Callable
from typing import Final

_IMPORT_WAIT: Final = 30.0
_IMPORT_PAUSE: Final = 1.0


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


def let_imports_end(thread: threading.Thread, is_done: Callable[[], bool]) -> None:
    """Keep the interpreter up while the thread's first turn imports what it delivers with.

    A daemon thread that the end of the interpreter stops in the middle of an import keeps a lock of the
    import system for ever. Whoever imports in a finaliser then, as LiteLLM does, never returns.

    Args:
        thread: the writer's.
        is_done: whether its first turn is over.
    """
    last = time.monotonic()
    deadline = last + _IMPORT_WAIT
    while thread.is_alive() and not is_done():
        now = time.monotonic()
        if _is_importing(thread):
            last = now
        if now - last > _IMPORT_PAUSE or now > deadline:
            return  # it waits for a store
        time.sleep(0.005)


def _is_importing(thread: threading.Thread) -> bool:
    frame = sys._current_frames().get(thread.ident or 0)
    while frame is not None:
        if frame.f_code.co_filename.startswith("<frozen importlib"):
            return True
        frame = frame.f_back
    return False
