"""Treasurer: what is done about money in the writer's thread, where the store is at hand."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING

from tokentrail._pricing import Pricer
from tokentrail._records import Record

if TYPE_CHECKING:
    from tokentrail.stores.base import Store


class Treasurer:
    """The guest of a tracker's writer: keeps and reads the user's own prices."""

    def __init__(self, pricer: Pricer) -> None:
        self._pricer = pricer

    def is_waiting(self) -> bool:
        """Whether something that was set is not in the store yet."""
        return self._pricer.is_waiting

    def before(self, store: Store) -> None:
        """Before calls are priced: own prices are kept, and those of others are read."""
        self._pricer.prepare(store)

    def after(self, store: Store, rows: Sequence[Record]) -> Iterable[Callable[[], object]]:  # noqa: ARG002
        """After calls are in the store."""
        return ()
