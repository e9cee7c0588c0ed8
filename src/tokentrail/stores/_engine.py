"""How a database is opened: engine, files and their modes, damage, and the schema's upgrade."""

from __future__ import annotations

import os
import sqlite3
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import sqlalchemy as sa
from sqlalchemy import Connection, Engine, event, exc
from sqlalchemy.engine import URL, make_url
from sqlalchemy.pool import QueuePool

from tokentrail.errors import (
    ConfigurationError,
    MissingExtraError,
    QueryTimeoutError,
    SchemaTooNewError,
    StoreCorruptError,
    StoreError,
)
from tokentrail.stores._view import create_view, drop_view
from tokentrail.stores.migrations import ROLLUPS, VERSION_TABLE, VERSIONS

BUSY_TIMEOUT_MS: Final = 5_000
_LOCK_NAME: Final = 0x746F6B656E747261
"""`tokentra`, the key of PostgreSQL's advisory lock under which tables are made."""
_CORRUPT: Final = frozenset({sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB})
_CHECKED_BYTES: Final = 256 * 1024 * 1024
"""Files up to this size are read whole when a writer opens them; larger ones show damage when it is met."""


# --- engines -------------------------------------------------------------------------------------


def parse_url(url: str) -> URL:
    """A URL for SQLAlchemy, with the driver we use and an absolute path.

    Raises:
        ConfigurationError: it is malformed.
    """
    try:
        parsed = make_url(url)
    except (exc.ArgumentError, ValueError):
        raise ConfigurationError(
            "The database URL cannot be read. Examples: sqlite:///usage.db, "
            "postgresql+psycopg://user:password@host/database."
        ) from None
    if parsed.drivername.startswith("postgresql"):
        return parsed.set(drivername="postgresql+psycopg")
    path = parsed.database
    if path is not None and path.startswith("file:"):
        raise ConfigurationError("SQLite's file: URIs are not supported. Write sqlite:///path/to/usage.db.")
    if path in (None, "", ":memory:"):
        return parsed
    return parsed.set(database=str(Path(str(path)).expanduser().absolute()))


def file_of(url: URL) -> Path | None:
    """The file of an SQLite database that has one."""
    if not url.drivername.startswith("sqlite") or url.database in (None, "", ":memory:"):
        return None
    return Path(str(url.database))


def make_engine(url: URL) -> Engine:
    """An engine whose transactions begin when we say so.

    Raises:
        MissingExtraError: the driver is not installed.
    """
    options: dict[str, Any] = {}
    if url.drivername.startswith("sqlite"):
        options["connect_args"] = {"check_same_thread": False}
        options["poolclass"] = QueuePool
        if file_of(url) is None:
            # A database in memory lives in its connection, so there is one, lent to one user at a time.
            options |= {"pool_size": 1, "max_overflow": 0}
    try:
        engine = sa.create_engine(url, **options)
    except ModuleNotFoundError:
        raise MissingExtraError("psycopg", "postgres") from None
    except (exc.ArgumentError, TypeError, ValueError) as error:
        raise ConfigurationError(f"The database URL cannot be used: {error}") from None
    if engine.dialect.name == "sqlite":
        event.listen(engine, "connect", _prepare)
        event.listen(engine, "begin", _begin)
    return engine


def _prepare(connection: Any, _: object) -> None:
    connection.isolation_level = None  # we begin transactions ourselves, see _begin
    connection.execute(f"PRAGMA busy_timeout = {BUSY_TIMEOUT_MS}")
    if connection.execute("PRAGMA page_count").fetchone()[0] == 0:
        # Before the first table; later it cannot be changed, and asking for it would write to the file.
        connection.execute("PRAGMA auto_vacuum = INCREMENTAL")
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute("PRAGMA synchronous = NORMAL")


def _begin(connection: Connection) -> None:
    # A transaction that reads first and writes later cannot wait for a lock, it fails at once; so writers
    # take the lock at the beginning.
    writing = connection.get_execution_options().get("writing", False)
    connection.exec_driver_sql("BEGIN IMMEDIATE" if writing else "BEGIN")


@contextmanager
def errors_of(engine: Engine) -> Iterator[None]:
    """Every error of a driver as one of ours, with a sentence.

    Raises:
        StoreCorruptError: the SQLite file is damaged.
        StoreError: anything else.
    """
    try:
        yield
    except (exc.DBAPIError, engine.dialect.loaded_dbapi.Error) as error:
        raise _explained(error, engine) from error
    except (exc.SQLAlchemyError, OSError) as error:
        raise StoreError(f"The database cannot be used: {error}") from error


def _explained(error: Exception, engine: Engine) -> StoreError:
    cause = error.orig if isinstance(error, exc.DBAPIError) else error
    code = getattr(cause, "sqlite_errorcode", None)
    if code is not None and code & 0xFF in _CORRUPT:
        return StoreCorruptError(
            f"{engine.url.database} is damaged ({cause}). Move it away, or open it with "
            "open_store(url, recover=True), which sets it aside and begins a new one."
        )
    if code == sqlite3.SQLITE_INTERRUPT or type(cause).__name__ == "QueryCanceled":
        return QueryTimeoutError("This took too long. Ask about less time, or for fewer groups.")
    where = engine.url.render_as_string(hide_password=True)
    return StoreError(f"{where}: {' '.join(str(cause).split()) or type(cause).__name__}")


# --- files ---------------------------------------------------------------------------------------


def create_file(path: Path) -> None:
    """Make the file of a database, readable by its owner only, before SQLite makes it readable by all.

    Raises:
        StoreError: it cannot be made, or is a link or another user's file where anyone can plant one.
    """
    try:
        _create_folder(path.parent)
        flags = os.O_RDWR | os.O_CREAT | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_CLOEXEC", 0)
        descriptor = os.open(path, flags, 0o600)
    except OSError as error:
        if path.is_symlink():
            raise StoreError(f"{path} is a symbolic link. Give the path it leads to.") from None
        raise StoreError(
            f"{path} cannot be opened or made: {error.strerror}. Choose a database in a folder that this "
            "program may write to."
        ) from error
    try:
        owner, folder = os.fstat(descriptor).st_uid, path.parent.stat()
    finally:
        os.close(descriptor)
    mine = {0, os.geteuid()} if hasattr(os, "geteuid") else {owner}
    if owner not in mine and folder.st_mode & stat.S_IWOTH:
        raise StoreError(f"{path} belongs to another user, in a folder that anyone may write to.")


def _create_folder(folder: Path) -> None:
    missing = []
    while not folder.exists():
        missing.append(folder)
        folder = folder.parent
    for each in reversed(missing):
        each.mkdir(mode=0o700, exist_ok=True)


def identity(path: Path) -> tuple[int, int] | None:
    """Which file a path leads to now; `None` if there is none."""
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_dev, found.st_ino


def set_aside(path: Path, found: tuple[int, int] | None, stamp: str) -> Path | None:
    """Rename a damaged database and its companions; `None` if another process was quicker."""
    import fcntl

    guard = path.with_name(path.name + ".recovery")
    descriptor = os.open(guard, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        if identity(path) != found:
            return None
        aside = path.with_name(f"{path.name}.corrupt-{stamp}")
        for suffix in ("-wal", "-shm", ""):
            source = path.with_name(path.name + suffix)
            if source.exists():
                source.rename(aside.with_name(aside.name + suffix))
        return aside
    finally:
        guard.unlink(missing_ok=True)
        os.close(descriptor)


def check(connection: Connection, path: Path | None) -> None:
    """Read an SQLite file for damage, as far as that is quick.

    Raises:
        StoreCorruptError: it is damaged.
    """
    if path is None or path.stat().st_size > _CHECKED_BYTES:
        return
    verdict = connection.exec_driver_sql("PRAGMA quick_check(1)").scalar()
    if verdict != "ok":
        raise StoreCorruptError(f"{path} is damaged: {verdict}")


# --- the schema ----------------------------------------------------------------------------------


def upgrade(engine: Engine) -> None:
    """Make the tables, or bring them to this version; does nothing where that is done.

    One transaction under a lock: of several programs that begin at once one does the work, and one that dies
    leaves the old schema whole.

    Raises:
        SchemaTooNewError: a newer tokentrail wrote this database.
    """
    with engine.connect() as connection:
        if _version(connection) == VERSIONS[-1]:
            return
    with engine.connect().execution_options(writing=True) as connection, connection.begin():
        if connection.dialect.name == "postgresql":
            connection.execute(sa.select(sa.func.pg_advisory_xact_lock(_LOCK_NAME)))
        found = _version(connection)
        if found == VERSIONS[-1]:
            return
        if found is not None and found not in VERSIONS:
            raise SchemaTooNewError(
                f"The database has schema {found}, this tokentrail knows {VERSIONS[-1]} and older. "
                "Upgrade with:  pip install --upgrade tokentrail"
            )
        drop_view(connection)
        _migrate(connection)
        if found is not None and found < ROLLUPS:
            from tokentrail.stores._rebuild import rebuild  # only when there is something to do

            rebuild(connection)
        create_view(connection)


def _version(connection: Connection) -> str | None:
    if not sa.inspect(connection).has_table(VERSION_TABLE):
        return None
    found = connection.execute(sa.text(f"SELECT version_num FROM {VERSION_TABLE}")).scalar()  # noqa: S608
    return None if found is None else str(found)


def _migrate(connection: Connection) -> None:
    from alembic import command  # only when there is something to do
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", "tokentrail.stores:migrations")
    config.set_main_option("path_separator", "os")
    config.attributes["connection"] = connection
    command.upgrade(config, "head")
