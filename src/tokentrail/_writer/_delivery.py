"""Delivery: a store that may be away, and may refuse a record, behind one verb that never raises."""

from __future__ import annotations

import os
import random
import threading
import time
import weakref
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Final, Protocol, TypeVar

from tokentrail._guard import guarded
from tokentrail._health import Health
from tokentrail._records import START, Record
from tokentrail.errors import ConfigurationError, SchemaTooNewError, StoreCorruptError, TokentrailError

if TYPE_CHECKING:
    from tokentrail._pricing import Price
    from tokentrail.stores.base import Appended, Position, Store

BATCH: Final = 2000
"""Records in one transaction."""
_HOPELESS: Final = (ConfigurationError, SchemaTooNewError, StoreCorruptError)
_FIRST_PAUSE: Final = 0.25
_HOPELESS_PAUSE: Final = 1.0
_LONGEST_PAUSE: Final = 60.0
_NOWHERE: Final[Mapping[str, Any]] = {}

_Answer = TypeVar("_Answer")


class Guest(Protocol):
    """Somebody who works in the writer's thread, where the store is at hand. Calls never wait for a guest."""

    def is_waiting(self) -> bool:
        """Whether `before` should be called even without calls to deliver."""

    def before(self, store: Store) -> None:
        """Before calls are priced."""

    def after(self, store: Store, rows: Sequence[Record]) -> Iterable[Callable[[], object]]:
        """After calls are in the store; what is returned is called when no transaction runs."""


class Delivery:
    """Puts records into a store, once each, for as long as it takes.

    Args:
        open_store: opens the store; called when it is first needed.
        price: adds cost to rows, in place.
        health: where refusals are counted.
        refuse: keeps a record that the store cannot take.
        guest: works around each batch.
    """

    def __init__(
        self,
        open_store: Callable[[], Store],
        *,
        price: Price,
        health: Health,
        refuse: Callable[[Record], None],
        guest: Guest | None = None,
    ) -> None:
        self._open_store = open_store
        self._price = price
        self._pricing = guarded(health, "price")
        self._health = health
        self._refuse = refuse
        self._guest = guest
        self._opened: list[Store] = []
        """The store, once it is open; a list, so that it can be closed after us."""
        weakref.finalize(self, _close, self._opened, health).atexit = False
        self._opening = threading.Lock()
        self._calling = threading.Lock()
        """Held while the store works, so that nobody forks in the middle of a transaction."""
        self._garbage: list[str] = []
        self.written = 0
        """Rows that were inserted or replaced."""
        self.refused = 0
        """Records that the store could not take."""
        self.failures = 0
        """Attempts in a row that the store did not answer."""
        self.retry_at = 0.0
        self.last_error: str | None = None
        self.doubtful = False
        """Whether the store failed, so that it may be another one than before; for `Upkeep` to find out."""
        self.steps = 0
        """Grows with every answer of the store, good or bad."""
        _deliveries.add(self)

    def store(self) -> Store:
        """The store, opened if need be.

        Raises:
            TokentrailError: it cannot be opened.
        """
        with self._opening:
            if not self._opened:
                self._opened.append(self._open_store())
            return self._opened[0]

    def positions(self) -> dict[str, int] | None:
        """How far each segment is in the store; None if the store does not answer."""
        return self._ask(lambda store: store.positions())

    def _ask(self, question: Callable[[Store], _Answer]) -> _Answer | None:
        try:
            with self._calling:
                return question(self.store())
        except Exception as error:  # noqa: BLE001  whatever a driver raises: the thread lives, the records wait
            self._away(error)
            return None

    def forget(self, names: Iterable[str]) -> None:
        """Drop the positions of segments that are gone, with the next transaction or the one after."""
        self._garbage.extend(names)

    def append(
        self,
        records: Iterable[Record],
        positions: Sequence[Position] = (),
        *,
        where: Mapping[str, Any] = _NOWHERE,
        count: bool = False,
    ) -> bool:
        """Put ends into the store, together with the positions behind them; False if it does not answer.

        Args:
            records: ends; of several of one id the strongest counts.
            positions: how far each segment is delivered by this.
            where: columns that say where the records were made, if they do not say it themselves.
            count: whether rows that are there already are duplicates (and not deliveries once more).
        """
        self.attend()
        return self._append(self._rows(records, where), positions, count=count)

    @property
    def awaited(self) -> bool:
        """Whether a guest waits for the store."""
        return self._guest is not None and self._guest.is_waiting()

    def attend(self) -> bool:
        """Let the guest do what waits; False if the store does not answer, which is for `append` to say."""
        guest = self._guest
        if guest is None:
            return True
        with guarded(self._health, "guest.before"):
            try:
                with self._calling:
                    guest.before(self.store())
            except TokentrailError:
                self.retry_at = max(self.retry_at, time.monotonic() + _HOPELESS_PAUSE)
                return False
        return True

    def _see_off(self, rows: Sequence[Record]) -> None:
        calls: list[Callable[[], object]] = []
        if self._guest is not None and rows:
            with guarded(self._health, "guest.after"), suppress(TokentrailError), self._calling:
                calls += self._guest.after(self.store(), rows)
        for call in calls:
            with guarded(self._health, "guest.call"):
                call()

    def _rows(self, records: Iterable[Record], where: Mapping[str, Any]) -> list[Record]:
        rows = [record.copy() for record in _fold(records)]  # those who show recent calls have the originals
        for column, value in where.items():
            for row in rows:
                row.setdefault(column, value)
        with self._pricing:
            self._price(*[row for row in rows if "kind" not in row])
        return rows

    def _append(self, rows: Sequence[Record], positions: Sequence[Position], *, count: bool) -> bool:
        garbage, self._garbage = self._garbage, []
        try:
            with self._calling:
                appended = self.store().append(rows, positions, garbage)
        except Exception as error:  # noqa: BLE001  see _ask
            self._garbage += garbage
            if isinstance(error, TokentrailError) or not rows or self._ask(_are_you_there) is None:
                self._away(error)
                return False
            # The store answers, so there is a record among these that is too much for it.
            return self._divide(rows, positions, error, count=count)
        self._answered(rows, appended, count=count)
        self._see_off(rows)
        return True

    def _divide(
        self, rows: Sequence[Record], positions: Sequence[Position], error: Exception, *, count: bool
    ) -> bool:
        if len(rows) == 1:
            if not self._takes(rows[0]):
                self._set_aside(rows[0], repr(error))
            return self._append((), positions, count=False)
        half = len(rows) // 2
        return self._append(rows[:half], (), count=count) and self._append(
            rows[half:], positions, count=count
        )

    def _takes(self, row: Record) -> bool:
        """Whether the store can take a record alone, after all."""
        try:
            with self._calling:
                appended = self.store().append([row])
        except Exception as error:  # noqa: BLE001  see _ask
            self.last_error = repr(error)
            return False
        self._answered([row], appended, count=False)
        self._see_off([row])
        return True

    def _set_aside(self, row: Record, reason: str) -> None:
        self.refused += 1
        self._health.lose("refused_by_store")
        self._health.warn("refused", f"tokentrail: the store cannot take a record: {reason}")
        with guarded(self._health, "refuse"):
            self._refuse(row)

    def _answered(self, rows: Sequence[Record], appended: Appended, *, count: bool) -> None:
        self.steps += 1
        for refused in appended.refused:
            for row in rows:
                if row["id"] == refused.id:
                    self._set_aside(row, refused.reason)
        self.written += appended.inserted + appended.replaced
        if count and appended.unchanged:
            self._health.note("duplicates", appended.unchanged)
        if appended.expired and count:
            self.refused += appended.expired
            self._health.lose("pruned", appended.expired)
        elif appended.expired:  # adopted: they were delivered and pruned, or never; nobody can tell
            self._health.note("expired", appended.expired)
        if self.failures:
            self.failures = 0
            self.last_error = None
            self.retry_at = 0.0
            self._health.resolve("store")

    def _away(self, error: Exception) -> None:
        self.steps += 1
        self.failures += 1
        self.doubtful = True
        self.last_error = f"{type(error).__name__}: {error}"
        hopeless = isinstance(error, _HOPELESS)
        first = _HOPELESS_PAUSE if hopeless else _FIRST_PAUSE
        pause = min(_LONGEST_PAUSE, first * 2 ** min(self.failures, 10))
        self.retry_at = time.monotonic() + pause * random.uniform(0.5, 1.0)
        self._health.warn(
            "store",
            f"tokentrail cannot write to its store: {self.last_error}. Calls are kept and delivered later; "
            "health() says how many wait.",
        )
        if hopeless:
            self.close()  # opened anew, once somebody has repaired it

    def close(self) -> None:
        """Close the store."""
        with self._opening:
            _close(self._opened, self._health)

    def let_go(self) -> None:
        """Leave the store open, for whoever opened it."""
        self._opened.clear()

    def _after_fork(self) -> None:
        """In a forked child: the store's connections are the parent's, and must not even be closed."""
        _parents.extend(self._opened)
        self._opened.clear()
        self._opening = threading.Lock()
        self._calling = threading.Lock()
        self._garbage = []
        self.written = self.refused = self.failures = 0
        self.retry_at = 0.0


def _close(opened: list[Store], health: Health) -> None:
    while opened:
        with guarded(health, "store.close"):
            opened.pop().close()


# --- forks ---------------------------------------------------------------------------------------
# SQLite keeps the locks of a process in its memory, and a child inherits that memory. A fork in the middle of
# a transaction would leave the child with a database that is locked for ever, by nobody. So a fork waits for
# the transaction, but not for long: a store that hangs is waiting for the lock, as a rule.

_FORK_WAIT: Final = 0.25
_deliveries: weakref.WeakSet[Delivery] = weakref.WeakSet()
_held: dict[int, list[Delivery]] = {}
_parents: list[Store] = []


def _before_fork() -> None:
    held = [delivery for delivery in list(_deliveries) if delivery._calling.acquire(timeout=_FORK_WAIT)]
    _held[threading.get_ident()] = held


def _after_fork_in_parent() -> None:
    for delivery in _held.pop(threading.get_ident(), ()):
        delivery._calling.release()


def _after_fork_in_child() -> None:
    _held.clear()
    for delivery in list(_deliveries):
        delivery._after_fork()


os.register_at_fork(
    before=_before_fork, after_in_parent=_after_fork_in_parent, after_in_child=_after_fork_in_child
)


# --- records -------------------------------------------------------------------------------------


def _are_you_there(store: Store) -> Appended:
    return store.append((), (), ("",))


def _fold(records: Iterable[Record]) -> Iterable[Record]:
    """Ends only, and of each call the strongest; of equals the first. Neighbours are the store's to join."""
    strongest: dict[str, Record] = {}
    neighbours: list[Record] = []
    for record in records:
        finality = record.get("finality", START)
        if "kind" in record:
            if finality > START:
                neighbours.append(record)
            continue
        known = strongest.get(record["id"])
        if finality > START and (known is None or finality > known["finality"]):
            strongest[record["id"]] = record
    return [*strongest.values(), *neighbours]
