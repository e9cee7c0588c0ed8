"""Treasurer: what is done about money in the writer's thread, where the store is at hand; and who is told."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from functools import partial
from typing import TYPE_CHECKING

from tokentrail._budgets import Watch
from tokentrail._pricing import Pricer
from tokentrail._records import Record

if TYPE_CHECKING:
    from tokentrail.stores.base import Store

Listener = Callable[[Sequence[Record]], object]
"""Called in the writer's thread, outside of any transaction, with rows that it must not change."""


class Treasurer:
    """The guest of a tracker's writer: keeps and reads own prices and budgets, and watches what is spent."""

    def __init__(self, pricer: Pricer, watch: Watch) -> None:
        self._pricer = pricer
        self._watch = watch
        self.listeners: tuple[Listener, ...] = ()
        """Told of the calls that are in the store; replaced as a whole, for any thread may add one."""

    def is_waiting(self) -> bool:
        """Whether something that was set is not in the store yet."""
        return self._pricer.is_waiting or self._watch.is_waiting

    def before(self, store: Store) -> None:
        """Before calls are priced: what was set is kept, and what others have set is read."""
        self._pricer.prepare(store)
        self._watch.prepare(store)

    def after(self, store: Store, rows: Sequence[Record]) -> Iterable[Callable[[], object]]:
        """After calls are in the store: those who want to know, and what there is to tell of budgets."""
        yield from [partial(listener, rows) for listener in self.listeners]
        yield from self._watch.count(store, rows)
