"""Backlog: the records between the doors and the store."""

from __future__ import annotations

from collections import Counter, deque
from itertools import groupby
from operator import itemgetter
from typing import Final, TypeAlias

from tokentrail._health import Health
from tokentrail._journal import Journal
from tokentrail._journal._segment import Segment
from tokentrail._records import START, Record
from tokentrail._writer._delivery import BATCH, Delivery
from tokentrail._writer._upkeep import Upkeep

MAX_RECORDS: Final = 10_000
MAX_BYTES: Final = 64 << 20

Item: TypeAlias = tuple[Record | None, Segment | None, int]
"""A record on its way (None: only bytes to account for), the segment that has it, and its size there."""
_SEGMENT: Final = itemgetter(1)
_SIZE: Final = itemgetter(2)


class Backlog:
    """A bounded queue, filled by any thread without a lock and emptied by the writer's.

    Args:
        journal: where the records are written down, or None.
        delivery: to the store.
        upkeep: of the journal's segments, or None.
        health: where losses are counted.
    """

    def __init__(
        self, journal: Journal | None, delivery: Delivery, upkeep: Upkeep | None, *, health: Health
    ) -> None:
        self._journal = journal
        self._delivery = delivery
        self._upkeep = upkeep
        self._health = health
        self.queue: deque[Item] = deque()
        self.bytes = 0
        """About right: a bound needs no more, and a lock here could stop a signal handler for good."""
        self.room = MAX_RECORDS
        """Records that fit; 0 once it is closed."""
        self._taken: list[Item] = []
        self._spilled = 0
        self.lost = 0

    # --- any thread ------------------------------------------------------------------------------

    def overflow(self, record: Record, segment: Segment | None) -> None:
        """No room in the queue: the journal has the record or gets it now, or it is lost and counted."""
        journal = self._journal
        if segment is None and journal is not None:
            segment, _ = journal.write_many((record,))  # a slow disk is better than a lost call
        if segment is not None:
            self._spilled += 1
            segment.spilled = True
        elif not self.room:
            self._lose("closed")
        else:
            self._lose("journal_quota" if journal is not None and journal.over_quota else "queue_full")

    def _lose(self, reason: str) -> None:
        self.lost += 1
        self._health.lose(reason)

    def count(self) -> int:
        """Ended calls that are not in the store yet, as far as this process knows."""
        waiting = [*self._taken, *self.queue.copy()]
        return self._spilled + sum(1 for record, _, _ in waiting if record is not None)

    def is_empty(self) -> bool:
        """Whether nothing is queued (what was spilled is not)."""
        return not self.queue and not self._taken

    # --- the writer's thread ---------------------------------------------------------------------

    @property
    def stuck(self) -> bool:
        """Whether the store has refused records that now wait for another try."""
        return bool(self._taken)

    def deliver(self) -> bool:
        """Deliver what is queued now, and what was spilled; False if the store does not answer."""
        waiting = len(self.queue)
        while self._taken or waiting > 0:
            if not self._taken:
                waiting -= self._take(BATCH)
            self._write_late()
            if not self._put(self._taken[:BATCH]):
                return False
            self._miss_starts(self._taken[:BATCH])
            del self._taken[:BATCH]
        if self._upkeep is None:
            return True
        if not self._upkeep.deliver_spilled():
            return False
        self._spilled = 0
        return self._upkeep.clear_retired()

    def make_room(self) -> None:
        """In the middle of a long adoption: do not let the queue overflow."""
        if len(self.queue) >= BATCH and not self._taken:
            self._take(BATCH)
            if self._put(self._taken):
                self._taken = []

    def write_down(self) -> None:
        """While the store is away: what is in memory alone goes to the journal, as soon as that takes it."""
        if len(self._taken) < MAX_RECORDS and any(map(_is_unwritten, self.queue.copy())):
            self._take(MAX_RECORDS)
        self._write_late()

    def _take(self, count: int) -> int:
        queue = self.queue
        items = [queue.popleft() for _ in range(min(count, len(queue)))]
        self.bytes = self.bytes - sum(map(_SIZE, items)) if queue else 0
        self._taken += items
        return len(items)

    def _put(self, batch: list[Item]) -> bool:
        ends = [item[0] for item in batch if item[0] is not None and _is_end(item[0])]
        upkeep = self._upkeep
        if upkeep is None:
            return not ends or self._delivery.append(ends, count=True)
        added: Counter[Segment] = Counter()
        for segment, items in groupby(batch, _SEGMENT):
            if segment is not None:
                added[segment] += sum(map(_SIZE, items))
        if ends and not self._delivery.append(ends, upkeep.position(added), where=upkeep.where, count=True):
            return False
        upkeep.settle(added)
        return True

    def _write_late(self) -> None:
        """Write down what its own thread could not: the disk was stalled, full or away."""
        if self._journal is None or None not in map(_SEGMENT, self._taken):
            return
        late = [record for record, segment, _ in self._taken if segment is None and record is not None]
        if not late:
            return
        written, total = self._journal.write_many(late)
        if written is not None:
            self._taken = [
                (record, segment or written, size if segment is not None else 0)
                for record, segment, size in self._taken
            ]
            self._taken.append((None, written, total))

    def _miss_starts(self, batch: list[Item]) -> None:
        if self._upkeep is not None and None in map(_SEGMENT, batch) and any(map(_is_unwritten, batch)):
            self._upkeep.starts_missing = True  # or ends, which are in the store now

    def leave(self) -> bool:
        """At the end: count what is nowhere; returns whether everything is in the store."""
        self.write_down()
        for item in (*self._taken, *self.queue):
            record = item[0]
            if _is_unwritten(item) and record is not None and _is_end(record):
                self._lose("closed")
        return self.is_empty()


def _is_end(record: Record) -> bool:
    return bool(record.get("finality", START) > START)


def _is_unwritten(item: Item) -> bool:
    record, segment, _ = item
    return segment is None and record is not None
