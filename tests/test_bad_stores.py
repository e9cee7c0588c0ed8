"""Databases that are missing, damaged, full, locked, newer, or somebody else's."""

from __future__ import annotations

import os
import sqlite3
import subprocess
import sys
import textwrap
import threading
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import pytest
import sqlalchemy as sa

from tokentrail._query import Query, filters
from tokentrail._records import Record
from tokentrail.errors import (
    ConfigurationError,
    MissingExtraError,
    SchemaTooNewError,
    StoreCorruptError,
    StoreError,
)
from tokentrail.stores import _engine, open_store
from tokentrail.stores.base import Store, StoreReplacedError
from tokentrail.stores.sql import SqlStore


def call(number: int) -> Record:
    """A record of an ended call."""
    started = 1_767_225_600_000_000 + number
    return {"id": f"call-{number:05}", "finality": 2, "started_at": started, "status": "success"}


def count(store: Store) -> int:
    return int(store.aggregate(Query())[0]["calls"])


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "ledger" / "usage.db"


@pytest.fixture
def url(path: Path) -> str:
    return f"sqlite:///{path}"


# --- URLs ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("url", ["usage.db", "mysql://host/db", "mongodb://x", "", "sqlit:///usage.db"])
def test_an_unknown_scheme_is_answered_with_the_known_ones(url: str) -> None:
    """The sentence says which URLs there are."""
    with pytest.raises(ConfigurationError, match="sqlite:///usage.db"):
        open_store(url)


@pytest.mark.parametrize("url", ["clickhousedb://host/db", "clickhousedb://?interface=chdb&path=x"])
def test_clickhouse_is_told_apart_from_a_typo(url: str) -> None:
    """A URL that will mean something says that it does not yet."""
    with pytest.raises(ConfigurationError, match="not available in this version"):
        open_store(url)


@pytest.mark.parametrize("url", ["postgresql://host:port/db", "sqlite:///file:usage.db?uri=true"])
def test_a_malformed_url_is_a_configuration_error(url: str) -> None:
    """What SQLAlchemy cannot read is said with an example, not with its traceback."""
    with pytest.raises(ConfigurationError):
        open_store(url)


def test_a_missing_driver_is_named_with_its_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without psycopg the error has the line that installs it."""
    monkeypatch.setitem(sys.modules, "psycopg", None)
    with pytest.raises(MissingExtraError, match=r"pip install 'tokentrail\[postgres\]'"):
        open_store("postgresql://user@localhost/db")


def test_an_unreachable_server_is_a_store_error_without_the_password() -> None:
    """The sentence names the server; the password is in no part of it."""
    with pytest.raises(StoreError) as caught:
        open_store("postgresql://me:hunter2@127.0.0.1:1/db?connect_timeout=2")
    assert "127.0.0.1" in str(caught.value)
    assert "hunter2" not in str(caught.value)


def test_sqlite_in_memory_is_one_database(url: str) -> None:
    """`sqlite://` keeps its rows while the store is open, from any thread."""
    store = open_store("sqlite://")
    thread = threading.Thread(target=store.append, args=([call(1)],))
    thread.start()
    thread.join()
    assert count(store) == 1
    store.close()


# --- files ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("mask", [0o000, 0o022])
def test_files_are_the_owners_alone(url: str, path: Path, mask: int) -> None:
    """The folder we make is 0700, the database and its companions 0600, under any umask."""
    before = os.umask(mask)
    try:
        store = open_store(url)
        store.append([call(1)])
        assert path.parent.stat().st_mode & 0o777 == 0o700
        names = {file.name: file.stat().st_mode & 0o777 for file in path.parent.iterdir()}
        assert names == dict.fromkeys(("usage.db", "usage.db-shm", "usage.db-wal"), 0o600)
        store.close()
    finally:
        os.umask(before)


def test_a_folder_that_cannot_be_is_said(tmp_path: Path) -> None:
    """A path below a file is a StoreError that says what to choose instead."""
    (tmp_path / "file").write_text("")
    with pytest.raises(StoreError, match="Choose a database in a folder"):
        open_store(f"sqlite:///{tmp_path}/file/usage.db")


def test_a_link_is_not_followed(tmp_path: Path) -> None:
    """A symbolic link at the database's place is refused, and what it leads to is untouched."""
    target = tmp_path / "target"
    target.write_text("precious")
    (tmp_path / "usage.db").symlink_to(target)
    with pytest.raises(StoreError, match="symbolic link"):
        open_store(f"sqlite:///{tmp_path}/usage.db")
    assert target.read_text() == "precious"


def test_a_relative_path_outlives_a_change_of_directory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A relative path means the directory the store was opened in."""
    monkeypatch.chdir(tmp_path)
    store = open_store("sqlite:///usage.db")
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    store.append([call(1)])
    store.close()
    assert [file.name for file in tmp_path.glob("**/*.db")] == ["usage.db"]


# --- damage --------------------------------------------------------------------------------------


def filled(url: str) -> None:
    store = open_store(url)
    store.append([call(number) for number in range(500)])
    store.close()


def overwrite(path: Path, page: int) -> None:
    with path.open("r+b") as file:
        file.seek(4096 * (page - 1))
        file.write(b"\xa5" * 4096)


@pytest.mark.parametrize("page", [1, 2, 5])
def test_damage_is_set_aside_and_recording_goes_on(url: str, path: Path, page: int) -> None:
    """A damaged file is renamed and never deleted; a new one takes its place, and the store says so."""
    filled(url)
    overwrite(path, page)
    before = path.read_bytes()
    store = open_store(url, recover=True)
    assert isinstance(store, SqlStore)
    assert store.set_aside is not None
    aside = Path(store.set_aside)
    assert aside.name.startswith("usage.db.corrupt-")
    assert aside.read_bytes() == before
    store.append([call(1)])
    assert count(store) == 1
    store.close()
    again = open_store(url, recover=True)
    assert isinstance(again, SqlStore)
    assert (again.set_aside, count(again)) == (None, 1)
    again.close()


def test_rubbish_in_the_place_of_a_database_is_said(url: str, path: Path) -> None:
    """Without `recover` a damaged file stops with the way out, and is left where it is."""
    filled(url)
    path.write_bytes(b"this is not a database, it only looks like a file" * 100)
    with pytest.raises(StoreCorruptError, match=r"recover=True"):
        open_store(url)
    assert path.read_bytes().startswith(b"this is not")


def test_a_healthy_database_survives_recovery(url: str) -> None:
    """`recover` changes nothing where nothing is wrong."""
    filled(url)
    store = open_store(url, recover=True)
    assert count(store) == 500
    store.close()


def test_damage_met_while_open_is_said(url: str, path: Path) -> None:
    """A file that breaks under an open store raises StoreCorruptError, not a driver's error."""
    filled(url)
    store = open_store(url)
    for page in range(2, path.stat().st_size // 4096 + 1):
        overwrite(path, page)
    with pytest.raises(StoreCorruptError):
        store.scan(filters(), limit=400)
    store.close()


def test_pruned_rows_give_their_room_back(url: str, path: Path) -> None:
    """After pruning, the file holds no pages that nothing uses."""
    filled(url)
    store = open_store(url)
    assert store.prune(datetime(2027, 1, 1, tzinfo=UTC)) == 500
    store.close()
    connection = sqlite3.connect(path)
    assert connection.execute("PRAGMA freelist_count").fetchone() == (0,)
    connection.close()


# --- another file --------------------------------------------------------------------------------


def test_a_deleted_database_is_made_anew(url: str, path: Path) -> None:
    """Rows never go into a deleted file: the store says that it is another one, without positions."""
    store = open_store(url)
    store.append([call(1)], [("a.seg", 7)])
    for file in path.parent.iterdir():
        file.unlink()
    with pytest.raises(StoreReplacedError):
        store.append([call(2)], [("a.seg", 9)])
    assert store.positions() == {}
    store.append([call(1), call(2)], [("a.seg", 9)])
    assert (count(store), store.positions()) == (2, {"a.seg": 9})
    store.close()


def test_an_exchanged_database_is_noticed(url: str, path: Path, tmp_path: Path) -> None:
    """A file that was moved away and replaced is not written to with the old one's knowledge."""
    other = open_store(f"sqlite:///{tmp_path}/other.db")
    other.append([call(5)])
    other.close()
    store = open_store(url)
    store.append([call(1)])
    for file in path.parent.iterdir():
        file.unlink()
    (tmp_path / "other.db").rename(path)
    with pytest.raises(StoreReplacedError):
        store.append([call(2)])
    store.append([call(2)])
    assert count(store) == 2
    store.close()


# --- full, locked, newer -------------------------------------------------------------------------


def test_a_full_database_stores_nothing_of_a_batch(url: str) -> None:
    """Database full: a StoreError with the cause, neither rows nor position are kept, later it goes on."""
    store = open_store(url)
    assert isinstance(store, SqlStore)
    store.append([call(1)], [("a.seg", 1)])

    def limit(pages: int) -> None:
        with store._engine.connect() as connection:
            connection.exec_driver_sql(f"PRAGMA max_page_count = {pages}")

    limit(1)
    with pytest.raises(StoreError, match="full"):
        store.append([call(number) for number in range(2, 5000)], [("a.seg", 9)])
    assert (count(store), store.positions()) == (1, {"a.seg": 1})
    limit(1_000_000)
    store.append([call(number) for number in range(2, 5000)], [("a.seg", 9)])
    assert (count(store), store.positions()) == (4999, {"a.seg": 9})
    store.close()


def test_a_locked_database_is_an_error_that_passes(
    url: str, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """While another program holds the lock, writing fails with a sentence and reading works."""
    monkeypatch.setattr(_engine, "BUSY_TIMEOUT_MS", 20)
    store = open_store(url)
    other = sqlite3.connect(path, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    with pytest.raises(StoreError, match="locked"):
        store.append([call(1)])
    assert count(store) == 0
    other.execute("ROLLBACK")
    other.close()
    store.append([call(1)])
    assert count(store) == 1
    store.close()


@pytest.mark.parametrize("kind", ["sqlite", "postgresql"])
def test_a_newer_schema_is_not_touched(kind: str, url: str, postgres: Callable[[], str]) -> None:
    """A database of a newer tokentrail is refused with the line that upgrades this one."""
    url = url if kind == "sqlite" else postgres()
    open_store(url).close()
    engine = sa.create_engine(url)
    with engine.begin() as connection:
        connection.exec_driver_sql("UPDATE tokentrail_schema SET version_num = '9999'")
    with pytest.raises(SchemaTooNewError, match="pip install --upgrade tokentrail"):
        open_store(url, recover=True)
    with engine.connect() as connection:
        assert connection.exec_driver_sql("SELECT version_num FROM tokentrail_schema").scalar() == "9999"
    engine.dispose()


def test_a_death_in_the_migration_leaves_nothing_half_made(url: str, path: Path) -> None:
    """Tables come all at once: killed in the middle of making them, the next program makes them all."""
    code = textwrap.dedent(
        f"""
        import os, sqlalchemy
        from tokentrail.stores import open_store

        @sqlalchemy.event.listens_for(sqlalchemy.Engine, "before_cursor_execute")
        def die(connection, cursor, statement, *_):
            if "llm_call_zero_tokens" in statement:
                os._exit(7)

        open_store({url!r})
        """
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 7
    connection = sqlite3.connect(path)
    assert connection.execute("SELECT name FROM sqlite_master").fetchall() == []
    connection.close()
    store = open_store(url)
    store.append([call(1)])
    assert count(store) == 1
    store.close()


# --- many at once --------------------------------------------------------------------------------

WRITE = """
from tokentrail.stores import open_store
import sys
store = open_store(sys.argv[1])
for number in range(20):
    started = 1_767_225_600_000_000 + number
    records = [
        {"id": f"shared-{number}", "finality": 2, "started_at": started, "status": "success"},
        {"id": f"own-{sys.argv[2]}-{number}", "finality": 2, "started_at": started, "status": "success"},
    ]
    store.append(records, [(f"{sys.argv[2]}.seg", number)])
"""


@pytest.mark.parametrize("kind", ["sqlite", "postgresql"])
def test_programs_begin_at_once_on_an_empty_database(
    kind: str, url: str, postgres: Callable[[], str]
) -> None:
    """Several processes that open and fill one new database all succeed, and each call is one row."""
    url = url if kind == "sqlite" else postgres()
    writers = [
        subprocess.Popen([sys.executable, "-c", WRITE, url, str(n)], stderr=subprocess.PIPE) for n in range(4)
    ]
    for writer in writers:
        _, errors = writer.communicate(timeout=120)
        assert writer.returncode == 0, errors.decode()
    store = open_store(url)
    assert count(store) == 4 * 20 + 20
    assert store.positions() == {f"{n}.seg": 19 for n in range(4)}
    store.close()


def test_threads_share_a_store(url: str) -> None:
    """Threads that write the same calls through one store leave each call once."""
    store = open_store(url)
    threads = [
        threading.Thread(target=lambda: [store.append([call(n)]) for n in range(50)]) for _ in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert count(store) == 50
    store.close()


def test_a_forked_child_has_its_own_connection(url: str) -> None:
    """A child writes through the store it inherited, and the parent's connection still works."""
    store = open_store(url)
    store.append([call(1)])
    child = os.fork()
    if child == 0:
        try:
            store.append([call(2)])
            os._exit(0)
        finally:
            os._exit(1)
    assert os.waitpid(child, 0)[1] == 0
    store.append([call(3)])
    assert count(store) == 3
    store.close()


def test_a_dropped_connection_heals(postgres: Callable[[], str]) -> None:
    """After the server dropped its connections, writing again succeeds and counts once."""
    url = postgres()
    store = open_store(url)
    store.append([call(1)])
    engine = sa.create_engine(url, isolation_level="AUTOCOMMIT")
    with engine.connect() as connection:
        connection.exec_driver_sql(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
            "WHERE pid <> pg_backend_pid() AND datname = current_database()"
        )
    with pytest.raises(StoreError):
        store.append([call(1), call(2)])
    store.append([call(1), call(2)])
    assert count(store) == 2
    store.close()
    engine.dispose()
