"""Upkeep: the writer's care for its own segments, from their first byte until they may be deleted."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Mapping
from itertools import islice
from typing import TYPE_CHECKING, Any, Final

from tokentrail._health import Health
from tokentrail._journal import Journal
from tokentrail._journal._folder import ends_of
from tokentrail._journal._segment import Segment
from tokentrail._records import Record
from tokentrail._writer._delivery import BATCH, Delivery

if TYPE_CHECKING:
    from tokentrail.stores.base import Position

_HOUSEKEEPING: Final = 1.0
_MEASURING: Final = 10.0
_GRACE: Final = 1.0


class Upkeep:
    """Belongs to the writer's thread.

    Args:
        journal: whose segments these are.
        delivery: to the store.
        running: start records of the calls that run now.
        health: where faults are counted.
    """

    def __init__(
        self,
        journal: Journal,
        delivery: Delivery,
        *,
        running: Callable[[], list[Record]],
        health: Health,
    ) -> None:
        self._journal = journal
        self._delivery = delivery
        self._running = running
        self._health = health
        self._positions: dict[str, int] = {}
        self._seen = ("", 0)
        self._housekeep_at = 0.0
        self._measure_at = 0.0
        self.starts_missing = False
        """Whether a start is not in the journal, which could not be written then."""
        self.bytes = 0
        """What the folder's segments take, as last measured."""

    @property
    def where(self) -> Mapping[str, Any]:
        """Where the records of this process are made, as columns."""
        return self._journal.where

    # --- how far we are --------------------------------------------------------------------------

    def position(self, added: Mapping[Segment, int]) -> list[Position]:
        """How far the current segment will be delivered once `added` is in the store, if that can be told.

        Threads write while we count, so it can be told only when all bytes of the file are accounted for. A
        position may lag behind (a row delivered twice changes nothing), but must never lead.
        """
        segment = self._journal.current
        if segment is None or segment.spilled or self._delivery.doubtful:
            return []
        size = segment.drained + added.get(segment, 0)
        if size != segment.size():
            return []
        self._positions[segment.name] = size
        return [(segment.name, size)]

    def settle(self, added: Counter[Segment]) -> None:
        """Account for bytes that need nothing more."""
        for segment, size in added.items():
            segment.drained += size

    # --- what is not in the queue ----------------------------------------------------------------

    def deliver_spilled(self) -> bool:
        """Read again what the queue had no room for; False if the store does not answer."""
        if self._delivery.doubtful and not self._compare():
            return False
        current = self._journal.current
        for segment in self._segments():
            if not segment.spilled:
                continue
            # In this order: who spills writes first and sets the flag afterwards.
            segment.spilled = False
            if not self._read_again(segment):
                segment.spilled = True
                return False
            if segment is current:
                self._rotate()  # so that bytes can be accounted for again
        return True

    def _segments(self) -> list[Segment]:
        current = self._journal.current
        return [*self._journal.retired, *([current] if current is not None else [])]

    def _compare(self) -> bool:
        """After a failure: is it still the same store? A new or restored one gets all that we still have."""
        positions = self._delivery.positions()
        if positions is None:
            return False
        for segment in self._segments():
            known, told = self._positions.get(segment.name, 1), positions.get(segment.name, 0)
            if told < known:
                segment.spilled = True
                self._positions[segment.name] = told
        self._delivery.doubtful = False
        return True

    def _read_again(self, segment: Segment) -> bool:
        ends = ends_of(segment.fd, self._positions.get(segment.name, 0))
        while chunk := list(islice(ends, BATCH)):
            offset = chunk[-1][1]
            records = [record for record, _ in chunk]
            if not self._delivery.append(records, [(segment.name, offset)], where=self.where):
                return False
            self._positions[segment.name] = offset
        return True

    # --- the life of a segment -------------------------------------------------------------------

    def _rotate(self) -> None:
        retired = len(self._journal.retired)
        self._journal.rotate()
        for old in self._journal.retired[retired:]:
            self._journal.carry(old, self._running())

    def clear_retired(self) -> bool:
        """Delete the retired segments whose ends are in the store and whose running calls were carried on."""
        for old in list(self._journal.retired):
            if not old.carried:
                self._journal.carry(old, self._running())
            # An end may be on its way to the disk; it gets its time before the start it belongs to goes.
            if not old.carried or time.monotonic() - old.retired_at < _GRACE:
                continue
            if old.drained != old.size() and not self._read_again(old):
                return False
            self._drop(old)
        return True

    def _drop(self, old: Segment) -> None:
        self._journal.drop(old)
        self._positions.pop(old.name, None)
        self._delivery.forget((old.name,))
        self._measure_at = 0.0

    def leave(self) -> None:
        """At the end, with nothing queued: delete what is in the store, let go of the rest."""
        if self._running():
            return
        self._journal.retire()
        for old in list(self._journal.retired):
            if old.drained == old.size() or self._read_again(old):
                self._drop(old)
        self._journal.let_go()
        self._delivery.append(())

    def housekeep(self, now: float) -> None:
        """Once a second: a new segment if one is due, bytes to the medium, a look at the quota."""
        self._journal.look_up()
        if now < self._housekeep_at:
            return
        self._housekeep_at = now + _HOUSEKEEPING
        journal = self._journal
        if now >= self._measure_at:
            self._measure_at = now + _MEASURING
            self.bytes = journal.measure()
        if self.starts_missing:
            self._write_starts()
        segment = journal.current
        if segment is None:
            return
        if not segment.is_there():
            self._health.note("journal_gone")
            self._health.warn(
                "journal_gone",
                f"tokentrail: {journal.folder} was deleted under a running process and is made anew.",
            )
            self._rotate()
        elif segment.size() > journal.segment_bytes or self._has_strays(segment):
            self._rotate()
            self._measure_at = 0.0
        try:
            segment.sync()
        except OSError as error:
            self._health.fault("journal.sync", error)

    def _has_strays(self, segment: Segment) -> bool:
        """Whether bytes lie there that nobody has accounted for, and nobody is writing any more.

        A caller was stopped between its write and the queue, or the disk took half a record. A new segment
        lets the old one be read again, and positions be told again.
        """
        seen, self._seen = self._seen, (segment.name, segment.size())
        return segment.drained != segment.size() and seen == self._seen and not self._delivery.failures

    def _write_starts(self) -> None:
        running = self._running()
        segment, size = self._journal.write_many(running, needed=True) if running else (None, 0)
        if segment is not None:
            segment.drained += size
        self.starts_missing = bool(running) and segment is None

    def is_dirty(self) -> bool:
        """Whether there is something to do that nobody will rouse the thread for."""
        segment = self._journal.current
        if self._journal.retired or self.starts_missing:
            return True
        return segment is not None and not segment.size() == segment.synced == segment.drained
