"""Reading for strangers: a store that cannot be written through, and a question that cannot last for ever."""

from __future__ import annotations

import sqlite3
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from sqlalchemy import Engine, event

from tokentrail.stores import open_store
from tokentrail.stores._engine import file_of, identity, make_engine, parse_url
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


class Watch:
    """Tells, in microseconds, whether anything was committed to an SQLite file."""

    def __init__(self, file: Path) -> None:
        self._file = file
        self._lock = threading.Lock()
        self._known: tuple[int, int] | None = None
        self._connection: sqlite3.Connection | None = None

    def version(self) -> tuple[Any, ...] | None:
        """Another value after every commit of anybody's; `None` if the file cannot be read."""
        with self._lock:
            try:
                found = identity(self._file)
                if self._connection is None or found != self._known:
                    self._reopen()
                    self._known = found
                assert self._connection is not None  # noqa: S101  it was just opened
                row = self._connection.execute("PRAGMA data_version").fetchone()
            except sqlite3.Error:
                self._close()
                return None
            return (found, *row)

    def _reopen(self) -> None:
        self._close()
        uri = f"{self._file.as_uri()}?mode=ro"
        self._connection = sqlite3.connect(uri, uri=True, check_same_thread=False, isolation_level=None)

    def _close(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def close(self) -> None:
        """Let go of the file."""
        with self._lock:
            self._close()


def watch(url: str) -> Watch | None:
    """A watch over a database, where that costs next to nothing: over an SQLite file."""
    file = file_of(parse_url(url)) if url.startswith("sqlite") else None
    return None if file is None else Watch(file)
