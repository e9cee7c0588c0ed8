"""What all questions need: the store, opened when the first is asked, and everything recorded before it."""

from __future__ import annotations

import functools
import threading
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tokentrail._health import Health
from tokentrail._measures import MEASURES, public
from tokentrail._query import Filters, Query, filters
from tokentrail._records import TIME, Record, from_us, now_us
from tokentrail._settings import absolute_url, load_settings
from tokentrail._stats._ask import Ask

if TYPE_CHECKING:
    from sqlalchemy import Engine

    from tokentrail._pricing import Price, Pricer
    from tokentrail.stores.base import Store


class Asking:
    """`Stats`, the part that asks."""

    def __init__(
        self,
        store: str | Engine | Store,
        *,
        before_question: Callable[[], object] | None = None,
        running: Callable[[], list[Record]] | None = None,
        now: Callable[[], int] = now_us,
    ) -> None:
        self._source = store
        self._store: Store | None = None
        self._opening = threading.Lock()
        self._before = self._import_pending if before_question is None else before_question
        self._running = running
        self._now = now
        self._health = Health()
        self._pricer: Pricer | None = None

    def _opened(self) -> Store:
        with self._opening:
            if self._store is None:
                self._store = _open(self._source)
            return self._store

    def _priced(self) -> Price:
        """Adds the cost to a record, also by the prices in the store."""
        from tokentrail._pricing import Pricer

        if self._pricer is None:
            self._pricer = Pricer(health=self._health)
        return self._pricer.over(self._opened)

    @functools.cached_property
    def _data_dir(self) -> Path:
        """Where journals are; read once, since looking through the environment takes as long as an answer."""
        return load_settings().data_dir

    def _import_pending(self) -> None:
        url = self._opened().url
        if url.startswith("memory:"):
            return
        from tokentrail._writer import import_pending

        import_pending(
            url,
            self._data_dir,
            open_store=self._opened,
            price=self._priced(),
            health=self._health,
            close=False,
        )

    def query(self, question: Query) -> list[dict[str, Any]]:
        """Ask anything: one dict a group, in public units; the list's `method` is `rollup` or `rows`.

        A measure that nothing was known for is `None`; `period` is the beginning of a period.
        """
        self._before()
        found = self._opened().aggregate(question)
        return type(found)((_public(group, question) for group in found), found.method)

    def _begin(self, **where: Any) -> Filters:
        """The filters of a question; and everything that was recorded before it is in the store."""
        asked = filters(**where)
        self._before()
        return asked

    def _question(self, **where: Any) -> tuple[Ask, Filters]:
        """Whom to ask, and about which calls."""
        asked = self._begin(**where)
        return Ask(self._opened()), asked

    def close(self) -> None:
        """Let go of the store, if this object opened it."""
        with self._opening:
            if self._store is not None and self._store is not self._source:
                self._store.close()
            self._store = None


def _open(source: str | Engine | Store) -> Store:
    from tokentrail.stores import open_store
    from tokentrail.stores.base import Store

    if isinstance(source, str):
        return open_store(absolute_url(source, load_settings().data_dir))
    if isinstance(source, Store):
        return source
    from tokentrail.stores.sql import SqlStore

    return SqlStore(source)


def _public(group: Mapping[str, Any], question: Query) -> dict[str, Any]:
    shown: dict[str, Any] = {name: group[name] for name in question.by}
    if question.granularity is not None:
        shown = {"period": from_us(group["period"]).astimezone(question.filters.zone), **shown}
    for name in question.measures:
        value: Any = public(name, group[name])
        shown[name] = from_us(value) if value is not None and MEASURES[name].kind == TIME else value
    return shown
