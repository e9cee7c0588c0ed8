"""Journal: where a process writes its own records down, in the thread that has them."""

from __future__ import annotations

import errno
import itertools
import os
import secrets
import threading
import time
import weakref
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Final, Literal, TypeAlias
from zlib import crc32

from tokentrail._health import Health
from tokentrail._journal._frames import dumps, encode, encode_with_json, frame
from tokentrail._journal._segment import Segment, create
from tokentrail._records import Record

UNENCODED: Final = 1024
"""Bytes a record counts for where it was not encoded."""
_STALL: Final = 0.02
"""Seconds after which a write is a stall. On a busy machine a healthy one may take half of that."""
_STALLS: Final = 3
_STALL_WINDOW: Final = 10.0
_BYPASS: Final = 30.0
_CALM: Final = 2.0
_OPEN_WAIT: Final = 0.25
_REOPEN_AFTER: Final = 1.0
_TRIES: Final = 3

_clock: Final = time.monotonic
_write: Final = os.write


Written: TypeAlias = tuple[Segment | None, int]
"""Where a record went (None: it is not on the disk) and how many bytes it takes."""


class Journal:
    """The journal of one tracker in one process.

    `write` may be called from any thread, finaliser or signal handler: it takes no lock (O_APPEND puts the
    writes of threads in order) and never raises. All other methods belong to the writer's thread.

    Args:
        folder: where the segments lie; see `journal_folder`.
        health: where errors and losses are counted.
        header: what opens each segment: `process_id` and `host` of the rows.
        segment_bytes: size at which a new segment is begun.
        quota_bytes: size of the folder above which nothing more is written.
        durability: `process`: a record survives the process; `power`: also the machine (an fdatasync each).
    """

    def __init__(
        self,
        folder: Path,
        *,
        health: Health,
        header: Mapping[str, Any],
        segment_bytes: int = 8 << 20,
        quota_bytes: int = 1 << 30,
        durability: Literal["process", "power"] = "process",
    ) -> None:
        self.folder = folder
        self.where = dict(header)
        self.segment_bytes = segment_bytes
        self.quota_bytes = quota_bytes
        self.over_quota = False
        self.failing = False
        """Whether the last write did not reach the disk."""
        self.retired: list[Segment] = []
        """Full segments whose last records may not be in the store yet, oldest first."""
        self._health = health
        self._durability = durability
        self._power = durability == "power"
        self._segment: Segment | None = None
        self._opening = threading.RLock()
        self._reopen_at = 0.0
        self._stalls: list[float] = []
        """When the last writes ended, if they stalled: one that did not ends the series."""
        self._ignore_stalls_until = 0.0
        self._bypass_until = 0.0
        self._special = False
        self._settle()
        self._begin_owner()
        _journals.add(self)

    def _begin_owner(self) -> None:
        self._owner = f"{os.getpid()}-{secrets.token_hex(8)}"
        self._numbers = itertools.count(1)

    # --- the hot path ----------------------------------------------------------------------------

    def write(self, record: Record) -> Written:
        """Write one record; when this returns a segment, the record survives the death of the process."""
        try:
            payload = dumps(record)
        except (TypeError, ValueError, RecursionError):
            try:
                payload = encode_with_json(record)
            except (TypeError, ValueError, RecursionError) as error:
                self._health.fault("journal.encode", error)
                return None, UNENCODED
        data = b"\x1e%08x %b\n" % (crc32(payload), payload)  # as `frame` does; a call is a tenth of this
        segment = self._segment
        if segment is None or self._special:
            return self._write_specially(data)
        try:
            began = _clock()
            written = _write(segment.fd, data)
            took = _clock() - began
        except OSError:
            return self._write_specially(data)
        if took > _STALL or written != len(data) or segment.retired or self._stalls:
            return self._look_at(segment, data, written, began, took) or self._put(data)
        return segment, written

    def write_many(self, records: Iterable[Record], *, needed: bool = False) -> Written:
        """Write records with one call of the system, also while `write` is bypassed.

        Args:
            records: what to write.
            needed: whether to write above the quota too.
        """
        frames = []
        for record in records:
            try:
                frames.append(frame(encode(record)))
            except (TypeError, ValueError, RecursionError) as error:
                self._health.fault("journal.encode", error)
        data = b"".join(frames)
        return (None, len(data)) if self.over_quota and not needed else self._put(data)

    def _write_specially(self, data: bytes) -> Written:
        if self.over_quota or (self._bypass_until and _clock() < self._bypass_until):
            return None, len(data)
        return self._put(data)

    def _put(self, data: bytes) -> Written:
        """Write, whatever it takes: a first or a new segment, a second try, a sync."""
        for _ in range(_TRIES):
            segment = self._segment or self._open()
            if segment is None:
                break
            try:
                began = _clock()
                written = _write(segment.fd, data)
                took = _clock() - began
                if self._power:
                    segment.sync()
            except OSError as error:
                if self._is_outdated(segment):
                    continue
                return self._failed(error, data)
            done = self._look_at(segment, data, written, began, took)
            if done is not None:
                if self._bypass_until and took < _STALL / 4:
                    self._bypass_until = min(self._bypass_until, began + _CALM)
                return done
        return None, len(data)

    def _is_outdated(self, segment: Segment) -> bool:
        """Whether a fork or a rotation came between; or a finaliser, as the interpreter goes down."""
        if segment.fd < 0 and self._segment is segment:
            self._segment = None
        return self._segment is not segment

    def _look_at(
        self, segment: Segment, data: bytes, written: int, began: float, took: float
    ) -> Written | None:
        """How a write went; None if it must be made again."""
        if took > _STALL:
            self._stalled(began, took)
        elif self._stalls:
            self._stalls = []
        if written != len(data):
            error = OSError(errno.ENOSPC, f"only {written} of {len(data)} bytes were written")
            return self._failed(error, data)
        # Whoever retires a segment sets the flag first and looks at the size afterwards. So either our bytes
        # were seen there, or we see the flag here and write again: twice is harmless, never is not.
        if segment.retired:
            return None
        if self.failing:
            self.failing = False
            self._health.resolve("journal")
            self._settle()
        return segment, written

    def _settle(self) -> None:
        """Whether the plain way of writing will do."""
        self._special = self._power or self.failing or self.over_quota or self._bypass_until > 0.0

    def _open(self) -> Segment | None:
        """The first segment, or the one after a failure. One thread makes it, the others wait a little.

        A signal handler that has interrupted the maker makes one itself, and the maker then uses that.
        """
        if _clock() < self._reopen_at or not self._opening.acquire(timeout=_OPEN_WAIT):
            return self._segment
        try:
            if self._segment is None:
                fresh = self._create()
                if self._segment is None:
                    self._segment = fresh
                else:
                    fresh.path.unlink()
        except OSError as error:
            self._reopen_at = _clock() + _REOPEN_AFTER
            self._failed(error, b"")
        finally:
            self._opening.release()
        return self._segment

    def _create(self) -> Segment:
        name = f"{self._owner}-{next(self._numbers)}"
        return create(self.folder, name, frame(encode({"journal": 1, **self.where})))

    def _failed(self, error: OSError, data: bytes) -> Written:
        self.failing = True
        self._settle()
        self._health.warn(
            "journal",
            f"tokentrail cannot write its journal in {self.folder}: {error}. Calls are kept in memory until "
            "they are in the store, and would be lost if the process died. Free some space, make the folder "
            "writable, or set TOKENTRAIL_DATA_DIR.",
        )
        return None, len(data)

    def _stalled(self, began: float, took: float) -> None:
        # Of writes that overlap one counts: when the thread that runs loses its processor, all are late.
        if began < self._ignore_stalls_until or (self._stalls and began < self._stalls[-1]):
            return
        self._stalls = [*self._stalls[1 - _STALLS :], began + took]
        if len(self._stalls) < _STALLS or began - self._stalls[0] > _STALL_WINDOW:
            return
        self._stalls = []
        if _is_crowded(took):
            self._ignore_stalls_until = _clock() + _STALL_WINDOW
            return
        self._bypass_until = began + took + _BYPASS
        self._settle()
        self._health.note("journal_stalled")
        self._health.warn(
            "journal_stalled",
            f"tokentrail: writing to {self.folder} is slow ({took * 1000:.0f} ms). For {_BYPASS:.0f} s "
            "calls are written down in the background, so that the program does not wait for its disk.",
        )

    # --- the writer's part -----------------------------------------------------------------------

    @property
    def durability(self) -> str:
        """What a record survives at this moment: `process`, `power`, `degraded` or `memory`."""
        if self.failing or self.over_quota:
            return "memory"
        if self._bypass_until and _clock() < self._bypass_until:
            return "degraded"
        return self._durability

    @property
    def owner(self) -> str:
        """What the names of this journal's segments begin with."""
        return self._owner

    @property
    def current(self) -> Segment | None:
        """The segment that records are written to."""
        return self._segment

    def look_up(self) -> None:
        """Forget a stall that is over."""
        if self._bypass_until and _clock() >= self._bypass_until:
            self._health.resolve("journal_stalled")
            self._bypass_until = 0.0
            self._settle()

    def rotate(self) -> None:
        """Begin a new segment; the old one is retired. Does nothing if no new one can be made."""
        old = self._segment
        if old is None:
            return
        try:
            fresh = self._create()
        except OSError as error:
            self._failed(error, b"")
            return
        self._segment = fresh
        self._retire(old)

    def retire(self) -> None:
        """Retire the segment without a new one; the next record, if one comes, begins it."""
        old, self._segment = self._segment, None
        if old is not None:
            self._retire(old)

    def _retire(self, old: Segment) -> None:
        old.retired = True
        old.retired_at = _clock()
        self.retired.append(old)

    def carry(self, old: Segment, starts: list[Record]) -> None:
        """Write the starts of the running calls to the newest segment, so that the old one may go."""
        if not starts:
            old.carried = True
            return
        segment, size = self.write_many(starts, needed=True)
        if segment is not None:
            segment.drained += size
            old.carried = True

    def drop(self, old: Segment) -> None:
        """Delete a retired segment; everything in it is in the store."""
        old.path.unlink(missing_ok=True)
        self.retired.remove(old)

    def let_go(self) -> None:
        """Close the retired segments; whoever comes next adopts those that are left."""
        self.retired.clear()

    def measure(self) -> int:
        """Bytes that the folder's segments take; sets `over_quota`."""
        total = 0
        try:
            with os.scandir(self.folder) as entries:
                for entry in entries:
                    total += entry.stat(follow_symlinks=False).st_size
        except OSError:
            return total
        self.over_quota = total > self.quota_bytes
        self._settle()
        return total

    def _after_fork(self) -> None:
        """In a forked child: let go of the parent's files (their locks are shared) and begin anew."""
        for segment in (self._segment, *self.retired):
            if segment is not None:
                segment.close()
        self._segment = None
        self.retired = []
        self._opening = threading.RLock()
        self._begin_owner()
        self.where["process_id"] = str(os.getpid())


def _is_crowded(took: float) -> bool:
    """Whether a write that took so many seconds may have waited for the interpreter rather than for the disk.

    `os.write` gives up the interpreter's lock, and getting it back takes a switch interval for each busy
    thread. That wait is the host's own, and no reason to be less careful with its records.
    """
    for _ in range(_STALLS):
        began = _clock()
        time.sleep(0)
        if _clock() - began > took / 4:
            return True
    return False


_journals: weakref.WeakSet[Journal] = weakref.WeakSet()


def _after_fork_in_child() -> None:
    for journal in list(_journals):
        journal._after_fork()


os.register_at_fork(after_in_child=_after_fork_in_child)
