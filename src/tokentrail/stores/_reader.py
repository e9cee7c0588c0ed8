"""Reading for strangers: a store that cannot be written through, and a question that cannot last for ever."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Final

from sqlalchemy import Engine, event

from tokentrail.stores import open_store
from tokentrail.stores._engine import make_engine, parse_url
from tokentrail.stores.sql import SqlStore

if TYPE_CHECKING:
    from tokentrail.stores.base import Store

_STEPS: Final = 20_000
"""Instructions of SQLite's machine between two looks at the clock: some tenths of a millisecond."""


class _Patience(threading.local):
    until: float | None = None


_patience = _Patience()


@contextmanager
def within(seconds: float) -> Iterator[None]:
    """Stop what this thread asks a reader inside, once so many seconds are over."""
    before, _patience.until = _patience.until, time.monotonic() + seconds
    try:
        yield
    finally:
        _patience.until = before


def _is_late() -> bool:
    return _patience.until is not None and time.monotonic() > _patience.until


class Reader(SqlStore):
    """A database over connections that only read; a question that lasts too long raises `QueryTimeoutError`.

    Args:
        url: of the database; its tables are made or upgraded first.
        patience: seconds for one statement in PostgreSQL. In SQLite `within` says how long.
    """

    def __init__(self, url: str, *, patience: float) -> None:
        super().__init__(_reading_engine(url, patience))
        self._owns_engine = True

    def _prepare(self, *, checked: bool) -> None:
        open_store(self.url).close()  # makes tables, which this one could not
        super()._prepare(checked=checked)


def open_reader(url: str, *, patience: float) -> Store:
    """A store to read from; one in memory, or of another kind, as it is."""
    if url.startswith(("sqlite", "postgresql")):
        return Reader(url, patience=patience)
    return open_store(url)


def _reading_engine(url: str, patience: float) -> Engine:
    engine = make_engine(parse_url(url))
    if engine.dialect.name == "sqlite":
        event.listen(engine, "connect", _only_read)
        return engine

    @event.listens_for(engine, "connect")
    def only_read(connection: Any, _: object) -> None:
        with connection.cursor() as cursor:
            cursor.execute(f"SET SESSION statement_timeout = {int(patience * 1000)}")
            cursor.execute("SET SESSION default_transaction_read_only = on")
        connection.commit()

    return engine


def _only_read(connection: Any, _: object) -> None:
    connection.execute("PRAGMA query_only = ON")
    connection.set_progress_handler(_is_late, _STEPS)
