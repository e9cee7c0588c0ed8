"""One question on its way to the store: its groups, and how they were found."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from tokentrail._query import Filters, Query
from tokentrail._stats._amounts import settled, settled_columns

if TYPE_CHECKING:
    from tokentrail.stores.base import Spans, Store


class Ask:
    """Asks a store, several times for one answer."""

    def __init__(self, store: Store) -> None:
        self.store = store
        self._methods: set[str] = set()

    def __call__(self, measures: Iterable[str], asked: Filters, **query: Any) -> list[dict[str, Any]]:
        """One settled dict a group."""
        groups = self.store.aggregate(Query(measures=tuple(measures), filters=asked, **query))
        self._methods.add(groups.method)
        return [settled(group) for group in groups]

    def columns(self, measures: Iterable[str], asked: Filters, **query: Any) -> dict[str, list[Any]]:
        """The same as settled columns, in no order."""
        found = self.store.columns(Query(measures=tuple(measures), filters=asked, **query))
        self._methods.add(found.method)
        return settled_columns(found.values)

    def spans(self, asked: Filters, by: str | None) -> Spans:
        """How long calls took, whole distributions."""
        spans = self.store.spans(asked, by)
        self._methods.add(spans.method)
        return spans

    @property
    def method(self) -> str:
        """`rollup`; or `rows`, if any part of the answer was found by reading rows."""
        return "rollup" if self._methods == {"rollup"} else "rows"
