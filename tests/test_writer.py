"""The writer: what it takes arrives, once, whatever the store does in between."""

from __future__ import annotations

import asyncio
import fcntl
import gc
import itertools
import logging
import os
import shutil
import signal
import sqlite3
import threading
import time
import weakref
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from crash.rig import Rig, adopt, ended, left, positions, rows, started, stored, url_of
from tokentrail._records import FINAL, PROVISIONAL, Record
from tokentrail._writer import _backlog, _upkeep, import_pending
from tokentrail.errors import SchemaTooNewError, StoreError
from tokentrail.stores import open_store
from tokentrail.stores.base import Appended, Position, Store


def until(condition: Callable[[], bool], seconds: float = 10.0) -> None:
    """Wait for a condition, and fail if it does not come true in time."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it never came true"
        threading.Event().wait(0.005)


class Moody:
    """A real store that does something first: waits, counts or refuses."""

    def __init__(self, store: Store, mood: Callable[[Sequence[Record]], None]) -> None:
        self.url = store.url
        self._store = store
        self._mood = mood

    def append(
        self, records: Sequence[Record], positions: Sequence[Position] = (), forget: Sequence[str] = ()
    ) -> Appended:
        self._mood(records)
        return self._store.append(records, positions, forget)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._store, name)


def moody(folder: Path, mood: Callable[[Sequence[Record]], None]) -> Callable[[], Any]:
    return lambda: Moody(open_store(url_of(folder)), mood)


def warnings(rig: Rig) -> list[str]:
    return list(rig.health.snapshot()["warnings"])  # type: ignore[call-overload]


def lost(rig: Rig) -> dict[str, int]:
    return dict(rig.health.snapshot()["lost"])  # type: ignore[call-overload]


@pytest.fixture
def lock(tmp_path: Path) -> Iterator[sqlite3.Connection]:
    """Another program's connection to the database, which may keep everybody else out."""
    open_store(url_of(tmp_path)).close()
    connection = sqlite3.connect(tmp_path / "usage.db", isolation_level=None)
    yield connection
    connection.close()


# --- what arrives --------------------------------------------------------------------------------


def test_what_is_submitted_is_in_the_store_after_a_flush(tmp_path: Path) -> None:
    """Rows, where they were made, and the position behind them; nothing is left when the writer closes."""
    rig = Rig(tmp_path)
    ids = [rig.call() for _ in range(100)]
    assert rig.writer.flush(10)
    assert stored(tmp_path) == dict.fromkeys(ids, "success")
    assert rows(tmp_path, "DISTINCT process_id") == [(str(os.getpid()),)]
    (segment,) = rig.segments()
    assert positions(tmp_path) == {
        segment.removesuffix(".seg"): (rig.journal.folder / segment).stat().st_size
    }
    assert rig.writer.health() | {"journal_bytes": 0} == {
        "backlog": 0,
        "written": 100,
        "refused": 0,
        "durability": "process",
        "journal": str(rig.journal.folder),
        "journal_bytes": 0,
        "last_error": None,
    }
    assert rig.writer.close()
    assert rig.segments() == []
    assert positions(tmp_path) == {}


def test_it_arrives_without_a_flush(tmp_path: Path) -> None:
    """The thread delivers by itself, and rests when there is nothing more to do."""
    rig = Rig(tmp_path, poll_interval=0.01)
    call_id = rig.call()
    until(lambda: call_id in stored(tmp_path))
    until(lambda: rig.writer._idle)
    thread = rig.writer._thread
    again = rig.call()
    until(lambda: again in stored(tmp_path))
    assert rig.writer._thread is thread
    rig.writer.close()


def test_nothing_happens_before_the_first_call(tmp_path: Path) -> None:
    """No thread and no file for a writer that nobody uses."""
    before = threading.active_count()
    rig = Rig(tmp_path)
    assert threading.active_count() == before
    assert rig.writer.health()["backlog"] == 0
    assert list(tmp_path.iterdir()) == []


def test_starts_never_reach_the_store(tmp_path: Path) -> None:
    """A running call is in the journal only."""
    rig = Rig(tmp_path)
    rig.start()
    done = rig.call()
    assert rig.writer.flush(10)
    assert stored(tmp_path) == {done: "success"}
    rig.writer.close()


@pytest.mark.parametrize("order", list(itertools.permutations(["start", "provisional", "final"])))
@pytest.mark.parametrize("apart", [False, True], ids=["one batch", "apart"])
def test_the_strongest_record_of_a_call_stands_in_any_order(
    tmp_path: Path, order: tuple[str, ...], apart: bool
) -> None:
    """Start, provisional and final end, in all orders and in one or more batches: one row, the final one."""
    rig = Rig(tmp_path)
    start = started()
    for kind in [*order, *order]:
        if kind == "start":
            rig.writer.note_start(start)
        else:
            finality = FINAL if kind == "final" else PROVISIONAL
            rig.writer.submit(ended(start, finality, status="success" if kind == "final" else "abandoned"))
        assert not apart or rig.writer.flush(10)
    assert rig.writer.flush(10)
    assert rows(tmp_path, "id, finality, status") == [(start["id"], FINAL, "success")]
    rig.writer.close()


def test_a_call_submitted_twice_is_counted_once(tmp_path: Path) -> None:
    """A repeated end changes nothing, and is noted as a duplicate."""
    rig = Rig(tmp_path)
    end = ended()
    rig.writer.submit(end)
    assert rig.writer.flush(10)
    rig.writer.submit(end)
    assert rig.writer.flush(10)
    assert rig.writer.health()["written"] == 1
    assert rig.health.noted("duplicates") == 1
    rig.writer.close()


def test_rows_are_priced_on_a_copy(tmp_path: Path) -> None:
    """The price goes to the row; the caller's record, which others may be showing, is left alone."""

    def price(*records: Record) -> None:
        for record in records:
            record["cost_nanos"] = 7

    rig = Rig(tmp_path, price=price)
    end = ended()
    rig.writer.submit(end)
    assert rig.writer.flush(10)
    assert rows(tmp_path, "cost_nanos") == [(7,)]
    assert "cost_nanos" not in end
    assert "process_id" not in end
    rig.writer.close()


def test_an_unpriced_journal_is_priced_when_it_is_adopted(tmp_path: Path) -> None:
    """What a dead process left gets its price from the one that adopts it."""
    rig = Rig(tmp_path, open_store=_away)
    rig.call()
    die(rig)

    def price(*records: Record) -> None:
        for record in records:
            record["cost_nanos"] = 7

    second = Rig(tmp_path, price=price)
    assert second.writer.flush(10)
    assert rows(tmp_path, "cost_nanos, process_id") == [(7, str(os.getpid()))]
    second.writer.close()


def test_without_a_journal_the_queue_delivers(tmp_path: Path) -> None:
    """A writer that has no journal says that records live in memory, and delivers them all the same."""
    rig = Rig(tmp_path, journalled=False)
    ids = [rig.call() for _ in range(10)]
    assert rig.writer.health()["durability"] == "memory"
    assert rig.writer.flush(10)
    assert set(stored(tmp_path)) == set(ids)
    assert rig.writer.close()


# --- a store that is away ------------------------------------------------------------------------


def _away() -> Store:
    raise StoreError("the database is away")


def die(rig: Rig) -> None:
    """Let go of the journal's locks, as the death of the process does, and of its writer."""
    rig.writer.close(0)
    if rig.writer._thread is not None:
        rig.writer._thread.join(10)
    for segment in (rig.journal.current, *rig.journal.retired):
        if segment is not None:
            segment.close()


def test_a_locked_database_is_waited_for(tmp_path: Path, lock: sqlite3.Connection) -> None:
    """While another program keeps the database, callers notice nothing; then everything arrives."""
    rig = Rig(tmp_path, poll_interval=0.01)
    lock.execute("BEGIN IMMEDIATE")
    began = time.perf_counter()
    ids = [rig.call() for _ in range(500)]
    assert time.perf_counter() - began < 1.0
    assert not rig.writer.flush(0.3)
    assert rig.writer.health()["backlog"] == 500
    lock.execute("COMMIT")
    assert rig.writer.flush(10)
    assert set(stored(tmp_path)) == set(ids)
    assert rig.writer.health()["backlog"] == 0
    rig.writer.close()


def test_a_failing_store_is_reported_once_and_forgiven(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """One loud warning for an outage; when it is over, all is delivered and nothing is left to say."""
    down = threading.Event()
    down.set()

    def mood(records: Sequence[Record]) -> None:
        if down.is_set():
            raise StoreError("connection refused")

    rig = Rig(tmp_path, open_store=moody(tmp_path, mood), poll_interval=0.01)
    with caplog.at_level(logging.WARNING, "tokentrail"):
        ids = [rig.call() for _ in range(10)]
        until(lambda: rig.writer.health()["last_error"] is not None)
        ids += [rig.call() for _ in range(10)]
        assert rig.writer.flush() is False
        assert rig.writer.flush(0.6) is False
    assert [record.message for record in caplog.records if "store" in record.message] == warnings(rig)
    assert len(warnings(rig)) == 1
    assert "connection refused" in warnings(rig)[0]
    assert rig.writer.health()["last_error"] == "StoreError: connection refused"
    down.clear()
    assert rig.writer.flush(10)
    assert set(stored(tmp_path)) == set(ids)
    assert warnings(rig) == []
    assert rig.writer.health()["last_error"] is None
    rig.writer.close()


@pytest.mark.parametrize("error", [RuntimeError("a bug"), MemoryError(), KeyError("x"), OSError("disk")])
def test_whatever_a_driver_raises_the_thread_lives(tmp_path: Path, error: Exception) -> None:
    """An exception of any kind is an outage: the records wait, and arrive when it is over."""
    moods = [error, error, error]

    def mood(records: Sequence[Record]) -> None:
        if moods:
            raise moods.pop()

    rig = Rig(tmp_path, open_store=moody(tmp_path, mood), poll_interval=0.01)
    call_id = rig.call()
    assert rig.writer.flush(10)
    assert set(stored(tmp_path)) == {call_id}
    rig.writer.close()


def test_a_store_of_a_newer_version_leaves_everything_in_the_journal(tmp_path: Path) -> None:
    """A store that refuses for good is reported once; calls go on to the journal and are adopted later."""

    def refuse() -> Store:
        raise SchemaTooNewError("Upgrade tokentrail.")

    rig = Rig(tmp_path, open_store=refuse, poll_interval=0.01)
    ids = [rig.call() for _ in range(20)]
    assert rig.writer.flush() is False
    assert len(warnings(rig)) == 1
    assert rig.writer.health()["durability"] == "process"
    die(rig)
    assert adopt(tmp_path).complete
    assert set(stored(tmp_path)) == set(ids)


def test_a_full_database_keeps_the_journal(tmp_path: Path, lock: sqlite3.Connection) -> None:
    """While the database is full nothing is deleted from the journal; with room again all of it arrives."""
    store = open_store(url_of(tmp_path))
    engine = store._engine  # type: ignore[attr-defined]
    pages: list[int] = []

    def limit(records: Sequence[Record]) -> None:
        with engine.connect() as connection:
            if not pages:
                pages.append(connection.exec_driver_sql("PRAGMA page_count").scalar())
                connection.exec_driver_sql(f"PRAGMA max_page_count = {pages[0] + 2}")

    rig = Rig(tmp_path, open_store=lambda: Moody(store, limit))
    ids = [rig.call() for _ in range(3000)]
    assert rig.writer.flush() is False
    assert "full" in str(rig.writer.health()["last_error"])
    with engine.connect() as connection:
        connection.exec_driver_sql("PRAGMA max_page_count = 1000000")
    assert rig.writer.flush(20)
    assert set(stored(tmp_path)) == set(ids)
    assert lost(rig) == {}
    rig.writer.close()


def test_a_deleted_database_gets_all_that_the_journal_still_has(tmp_path: Path) -> None:
    """Deleted under a running process, the database is made anew and filled from the living journal."""
    rig = Rig(tmp_path)
    before = [rig.call() for _ in range(50)]
    assert rig.writer.flush(10)
    for path in tmp_path.glob("usage.db*"):
        path.unlink()
    after = [rig.call() for _ in range(50)]
    assert rig.writer.flush(10)
    assert set(stored(tmp_path)) == {*before, *after}
    rig.writer.close()


def test_a_damaged_database_is_replaced_and_refilled(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With a store that sets damage aside, what the journal still has is in the new database."""
    rig = Rig(tmp_path, open_store=lambda: open_store(url_of(tmp_path), recover=True))
    before = [rig.call() for _ in range(50)]
    assert rig.writer.flush(10)
    rig.writer.store().close()
    for name in ("usage.db-wal", "usage.db-shm"):
        (tmp_path / name).unlink(missing_ok=True)
    (tmp_path / "usage.db").write_bytes(b"no database at all" * 1000)
    after = [rig.call() for _ in range(50)]
    assert rig.writer.flush(20)
    assert set(stored(tmp_path)) == {*before, *after}
    assert list(tmp_path.glob("usage.db.corrupt-*"))
    rig.writer.close()


def test_a_record_the_store_cannot_take_stops_no_other(tmp_path: Path) -> None:
    """It is set aside and counted, and `flush` says once that not everything is in the store."""
    rig = Rig(tmp_path)
    good = [rig.call() for _ in range(3)]
    bad = rig.call(input_tokens=2**70)
    good += [rig.call() for _ in range(3)]
    assert rig.writer.flush(10) is False
    assert set(stored(tmp_path)) == set(good)
    assert lost(rig) == {"refused_by_store": 1}
    assert bad in (rig.journal.folder / "refused.jsonl").read_text()
    assert rig.writer.flush(10) is True
    rig.writer.close()


def test_a_record_on_which_a_store_stumbles_is_found_among_thousands(tmp_path: Path) -> None:
    """A store with a bug for one record gets all the others."""
    bad = ended()

    def mood(records: Sequence[Record]) -> None:
        if any(record["id"] == bad["id"] for record in records):
            raise TypeError("a bug in the store")

    rig = Rig(tmp_path, open_store=moody(tmp_path, mood))
    good = [rig.call() for _ in range(1000)]
    rig.writer.submit(bad)
    good += [rig.call() for _ in range(500)]
    assert rig.writer.flush(20) is False
    assert set(stored(tmp_path)) == set(good)
    assert lost(rig) == {"refused_by_store": 1}
    rig.writer.close()


# --- more than memory holds ----------------------------------------------------------------------


def test_a_burst_into_a_slow_store_arrives_whole(tmp_path: Path) -> None:
    """20,000 calls while the store answers nothing: bounded memory, no waiting, none lost."""
    slow, began = threading.Event(), threading.Event()

    def mood(records: Sequence[Record]) -> None:
        began.set()
        slow.wait(30)

    rig = Rig(tmp_path, open_store=moody(tmp_path, mood), poll_interval=0.01)
    rig.call()
    assert began.wait(10)
    ids, spent = [], []
    for _ in range(20_000):
        start = started()
        end = ended(start)
        clock = time.thread_time_ns()
        rig.writer.note_start(start)
        rig.writer.submit(end)
        spent.append(time.thread_time_ns() - clock)
        ids.append(start["id"])
    assert len(rig.writer._backlog.queue) == _backlog.MAX_RECORDS
    assert rig.writer.health()["backlog"] > 10_000
    assert sorted(spent)[10_000] < 100_000
    slow.set()
    assert rig.writer.flush(60)
    assert set(ids) <= set(stored(tmp_path))
    assert len(stored(tmp_path)) == 20_001
    assert lost(rig) == {}
    assert rig.writer.close()
    assert rig.segments() == []


def test_large_records_do_not_fill_the_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The queue is bounded in bytes too; what does not fit is read from the journal again."""
    monkeypatch.setattr("tokentrail._writer._writer.MAX_BYTES", 1 << 20)
    down = threading.Event()

    def mood(records: Sequence[Record]) -> None:
        down.wait(30)

    rig = Rig(tmp_path, open_store=moody(tmp_path, mood), poll_interval=0.01)
    ids = [rig.call(request="x" * 100_000) for _ in range(100)]
    assert sum(1 for record, _, _ in rig.writer._backlog.queue if record) < 20
    down.set()
    assert rig.writer.flush(30)
    assert set(stored(tmp_path)) == set(ids)
    rig.writer.close()


def test_what_neither_journal_nor_queue_can_hold_is_counted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without a journal and with a full queue a call is lost, counted by reason, and `flush` does not lie."""
    monkeypatch.setattr(_backlog, "MAX_RECORDS", 10)
    down = threading.Event()
    down.set()

    def mood(records: Sequence[Record]) -> None:
        if down.is_set():
            raise StoreError("away")

    rig = Rig(tmp_path, open_store=moody(tmp_path, mood), journalled=False, poll_interval=30)
    rig.call()
    until(lambda: rig.writer.health()["last_error"] is not None)
    for _ in range(24):
        rig.call()
    assert lost(rig) == {"queue_full": 14}
    down.clear()
    assert rig.writer.flush(10) is False
    assert rig.writer.flush(10) is True
    assert len(stored(tmp_path)) == 11
    rig.writer.close()


def test_above_the_quota_calls_are_counted_as_lost(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A journal that is full up to its quota and a queue that is full: the loss has the quota's name."""
    monkeypatch.setattr(_backlog, "MAX_RECORDS", 10)
    rig = Rig(tmp_path, open_store=_away, poll_interval=30)
    rig.journal.quota_bytes = 1000
    kept = [rig.call() for _ in range(5)]
    rig.journal.measure()
    assert rig.writer.health()["durability"] == "memory"
    for _ in range(20):
        rig.call()
    assert 0 < lost(rig)["journal_quota"] < 20
    die(rig)
    adopt(tmp_path)
    assert set(stored(tmp_path)) == set(kept)


# --- segments ------------------------------------------------------------------------------------


def test_full_segments_are_replaced_and_deleted_under_load(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Eight threads and small segments: none is lost, running calls are carried on, old files go."""
    monkeypatch.setattr(_upkeep, "_HOUSEKEEPING", 0.0)
    monkeypatch.setattr(_upkeep, "_GRACE", 0.05)
    rig = Rig(tmp_path, segment_bytes=20_000, poll_interval=0.005)
    ids: list[str] = []
    still = [rig.start() for _ in range(5)]

    def work() -> None:
        ids.extend(rig.call() for _ in range(30))

    for _ in range(10):
        threads = [threading.Thread(target=work) for _ in range(8)]
        for thread in threads:
            thread.start()
        assert rig.writer.flush(20)
        for thread in threads:
            thread.join()
    assert rig.writer.flush(20)
    until(lambda: len(rig.segments()) == 1)
    number = int(rig.segments()[0].removesuffix(".seg").rpartition("-")[2])
    assert number > 5
    assert set(stored(tmp_path)) == set(ids)
    assert len(ids) == 2400
    die(rig)
    assert adopt(tmp_path).complete
    assert {call_id for call_id, status in stored(tmp_path).items() if status == "interrupted"} == {
        start["id"] for start in still
    }


def test_bytes_that_nobody_accounted_for_are_read_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A caller that died between its write and the queue leaves a record that is found all the same."""
    monkeypatch.setattr(_upkeep, "_GRACE", 0.0)
    monkeypatch.setattr(_upkeep, "_HOUSEKEEPING", 0.0)
    rig = Rig(tmp_path, poll_interval=0.01)
    rig.call()
    orphan = ended()
    rig.journal.write(orphan)  # as if the thread had been interrupted right here
    assert rig.writer.flush(10)
    until(lambda: orphan["id"] in stored(tmp_path))
    until(lambda: len(rig.segments()) == 1)
    rig.writer.close()


def test_a_journal_folder_that_is_deleted_is_made_anew(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With the folder gone nothing is lost of what this process knows, and the deletion is noted."""
    monkeypatch.setattr(_upkeep, "_HOUSEKEEPING", 0.0)
    rig = Rig(tmp_path, poll_interval=0.01)
    running = rig.start()
    ids = [rig.call() for _ in range(10)]
    shutil.rmtree(rig.journal.folder)
    ids += [rig.call() for _ in range(10)]
    until(lambda: rig.health.noted("journal_gone") == 1)
    assert rig.writer.flush(10)
    ids.append(rig.call())
    die(rig)
    adopt(tmp_path)
    assert {status for call_id, status in stored(tmp_path).items() if call_id in ids} == {"success"}
    assert len(stored(tmp_path)) == 22
    assert stored(tmp_path)[running["id"]] == "interrupted"


def test_a_stalled_disk_leaves_writing_to_the_thread(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With a disk that hangs, callers wait three times; starts and ends still reach the journal."""
    rig = Rig(tmp_path, open_store=_away, poll_interval=0.01)
    rig.call()
    real, here = os.write, threading.get_ident()
    stalls: list[int] = []

    def stall(descriptor: int, data: bytes) -> int:
        if threading.get_ident() == here:
            stalls.append(1)
            threading.Event().wait(0.05)
        return real(descriptor, data)

    monkeypatch.setattr("tokentrail._journal._journal._write", stall)
    ids = [rig.call() for _ in range(50)]
    running = rig.start()
    assert len(stalls) == 3
    assert rig.writer.health()["durability"] == "degraded"
    assert rig.writer.flush(1) is False
    die(rig)
    adopt(tmp_path)
    assert set(ids) < set(stored(tmp_path))
    assert stored(tmp_path)[running["id"]] == "interrupted"


def test_records_reach_the_medium_within_seconds(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The thread syncs what was written, and then rests."""
    synced: list[int] = []
    monkeypatch.setattr("tokentrail._journal._segment._sync", synced.append)
    rig = Rig(tmp_path, poll_interval=0.01)
    rig.call()
    until(lambda: rig.writer._idle)
    segment = rig.journal.current
    assert segment is not None
    assert synced
    assert segment.synced == segment.size()
    rig.writer.close()


# --- adoption ------------------------------------------------------------------------------------


def test_flush_adopts_what_dead_processes_left(tmp_path: Path) -> None:
    """Ends are delivered, running calls become interrupted, and the files and positions are gone."""
    first = Rig(tmp_path, open_store=_away)
    ids = [first.call() for _ in range(5)]
    running = first.start(output_tokens=3)
    die(first)
    second = Rig(tmp_path)
    assert second.writer.flush(10)
    assert stored(tmp_path) == {**dict.fromkeys(ids, "success"), running["id"]: "interrupted"}
    assert rows(tmp_path, "finality, ended_at, usage_source, output_tokens")[-1] == (
        PROVISIONAL,
        None,
        "missing",
        3,
    )
    assert second.segments() == []
    assert positions(tmp_path) == {}
    second.writer.close()


def test_a_later_witness_is_stronger_than_an_interruption(tmp_path: Path) -> None:
    """An end that is found after its call was taken for interrupted replaces that row."""
    first = Rig(tmp_path, open_store=_away)
    start = first.start()
    die(first)
    second = Rig(tmp_path)
    assert second.writer.flush(10)
    assert stored(tmp_path) == {start["id"]: "interrupted"}
    second.writer.submit(ended(start))
    assert second.writer.flush(10)
    assert stored(tmp_path) == {start["id"]: "success"}
    second.writer.close()


def test_an_interruption_replaces_no_provisional_end(tmp_path: Path) -> None:
    """A start that is adopted without its end leaves alone what the store knows already."""
    writer = Rig(tmp_path)
    start = started()
    writer.writer.submit(ended(start, PROVISIONAL, status="abandoned"))
    assert writer.writer.flush(10)
    ghost = Rig(tmp_path, open_store=_away)
    ghost.open[start["id"]] = start
    ghost.writer.note_start(start)
    die(ghost)
    assert writer.writer.flush(10)
    assert stored(tmp_path) == {start["id"]: "abandoned"}
    writer.writer.close()


def test_flush_waits_for_a_rival_importer(tmp_path: Path) -> None:
    """While somebody else is importing a dead segment, `flush` is not done; when they are, it is."""
    first = Rig(tmp_path, open_store=_away)
    call_id = first.call()
    die(first)
    (segment,) = first.segments()
    path = first.journal.folder / segment
    descriptor = os.open(path, os.O_RDWR)
    fcntl.flock(descriptor, fcntl.LOCK_EX)
    path = path.rename(path.with_suffix(".adopting"))
    second = Rig(tmp_path)
    assert second.writer.flush(0.2) is False
    os.close(descriptor)  # the rival dies in the middle
    assert second.writer.flush(10) is True
    assert set(stored(tmp_path)) == {call_id}
    second.writer.close()


def test_a_damaged_segment_is_kept(tmp_path: Path) -> None:
    """What can be read is delivered; the damage is counted, and the file stays under another name."""
    first = Rig(tmp_path, open_store=_away)
    ids = [first.call() for _ in range(3)]
    die(first)
    (segment,) = first.segments()
    path = first.journal.folder / segment
    data = path.read_bytes()
    path.write_bytes(data[:-30] + b"!" + data[-29:])
    second = Rig(tmp_path)
    assert second.writer.flush(10)
    assert stored(tmp_path) == {ids[0]: "success", ids[1]: "success", ids[2]: "interrupted"}
    assert lost(second) == {"damaged_journal": 1}
    assert second.segments() == [path.with_suffix(".damaged").name]
    second.writer.close()


def test_leftovers_of_a_death_at_birth_are_swept(tmp_path: Path) -> None:
    """A segment whose process died before it was locked holds nothing, and is deleted after an hour."""
    rig = Rig(tmp_path)
    rig.call()
    old, young = rig.journal.folder / "1-a-1.new", rig.journal.folder / "1-b-1.new"
    old.touch()
    young.touch()
    os.utime(old, (1, 1))
    assert rig.writer.flush(10)
    assert not old.exists()
    assert young.exists()
    rig.writer.close()


def test_a_reader_sees_what_a_living_process_has_not_delivered(tmp_path: Path) -> None:
    """Importing for a reader copies the ends of living journals, and leaves those alone."""
    rig = Rig(tmp_path, open_store=_away)
    ids = [rig.call() for _ in range(5)]
    rig.start()
    before = rig.segments()
    found = adopt(tmp_path)
    assert (found.complete, found.error) == (True, None)
    assert stored(tmp_path) == dict.fromkeys(ids, "success")
    assert rig.segments() == before
    assert positions(tmp_path) == {}
    die(rig)


def test_a_reader_may_lend_its_own_store(tmp_path: Path) -> None:
    """A store that is lent for an import is open afterwards, and usable."""
    rig = Rig(tmp_path, open_store=_away)
    call_id = rig.call()
    die(rig)
    closed: list[int] = []
    store = Moody(open_store(url_of(tmp_path)), lambda records: None)
    store.close = lambda: closed.append(1)  # type: ignore[attr-defined]
    found = import_pending(
        rig.url,
        tmp_path,
        open_store=lambda: store,
        price=lambda *records: None,
        close=False,  # type: ignore[arg-type, return-value]
    )
    gc.collect()
    assert (found.records, closed) == (1, [])
    assert set(stored(tmp_path)) == {call_id}
    store._store.close()


def test_importing_nothing_opens_nothing(tmp_path: Path) -> None:
    """A reader of a store without journals pays nothing and makes no file."""
    assert adopt(tmp_path) == (0, True, None)
    assert list(tmp_path.iterdir()) == []


def test_an_import_says_why_it_is_not_complete(
    tmp_path: Path, lock: sqlite3.Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With a store that does not answer, the reader is told, and nothing is lost."""
    monkeypatch.setattr("tokentrail.stores._engine.BUSY_TIMEOUT_MS", 100)
    rig = Rig(tmp_path, open_store=_away)
    call_id = rig.call()
    die(rig)
    lock.execute("BEGIN IMMEDIATE")
    found = adopt(tmp_path)
    assert not found.complete
    assert "locked" in str(found.error)
    lock.execute("COMMIT")
    assert adopt(tmp_path).complete
    assert set(stored(tmp_path)) == {call_id}
    assert left(tmp_path) == []


# --- the end -------------------------------------------------------------------------------------


def test_after_close_records_still_reach_the_journal(tmp_path: Path) -> None:
    """Whoever records late does not fail; the next process delivers it, and `flush` does not lie."""
    rig = Rig(tmp_path)
    early = rig.call()
    assert rig.writer.close()
    assert rig.writer.close()
    assert rig.writer.flush(1) is True
    late = rig.call()
    assert rig.writer.flush(1) is False
    assert set(stored(tmp_path)) == {early}
    die(rig)
    adopt(tmp_path)
    assert set(stored(tmp_path)) == {early, late}


def test_calls_that_run_when_the_writer_closes_may_still_end(tmp_path: Path) -> None:
    """Closing keeps the segment of running calls; their ends go there, and are adopted."""
    rig = Rig(tmp_path)
    running = rig.start()
    assert rig.writer.close()
    assert len(rig.segments()) == 1
    rig.end(running)
    die(rig)
    adopt(tmp_path)
    assert stored(tmp_path) == {running["id"]: "success"}


def test_an_unused_writer_can_be_collected(tmp_path: Path) -> None:
    """A writer that nobody holds goes away, its thread with it, and its segment can be adopted."""
    rig = Rig(tmp_path, poll_interval=0.01)
    rig.call()
    thread, gone = rig.writer._thread, weakref.ref(rig.writer)
    assert thread is not None
    assert rig.writer.flush(60)
    until(lambda: rig.writer._idle)  # a collection holds the interpreter, so the thread must not need it
    rig.__dict__.clear()
    until(lambda: gc.collect() >= 0 and gone() is None)
    thread.join(10)
    assert not thread.is_alive()
    assert adopt(tmp_path).complete
    assert left(tmp_path) == []


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_a_thread_that_is_killed_from_inside_is_replaced(tmp_path: Path) -> None:
    """Should anything end the thread, the next record starts another, which finds everything."""
    killers = [SystemExit()]

    def price(*records: Record) -> None:
        if killers:
            raise killers.pop()

    rig = Rig(tmp_path, price=price, poll_interval=0.01)
    first = rig.call()
    until(lambda: not killers and rig.writer._thread is None)
    second = rig.call()
    assert rig.writer.flush(10)
    assert set(stored(tmp_path)) == {first, second}
    rig.writer.close()


# --- many at once --------------------------------------------------------------------------------


def test_threads_and_event_loops_together_lose_nothing(tmp_path: Path) -> None:
    """64 threads and 4 event loops, while others flush: every call is there, once."""
    rig = Rig(tmp_path, poll_interval=0.01)
    ids: list[str] = []

    def work() -> None:
        ids.extend(rig.call() for _ in range(100))

    async def tasks() -> None:
        async def one() -> None:
            await asyncio.sleep(0)
            ids.append(rig.call())

        await asyncio.gather(*(one() for _ in range(400)))

    threads = [threading.Thread(target=work) for _ in range(64)]
    threads += [threading.Thread(target=lambda: asyncio.run(tasks())) for _ in range(4)]
    threads += [threading.Thread(target=lambda: rig.writer.flush(30)) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert rig.writer.flush(30)
    assert len(ids) == 64 * 100 + 4 * 400
    assert stored(tmp_path) == dict.fromkeys(ids, "success")
    rig.writer.close()


def test_a_signal_handler_may_record_in_the_middle_of_recording(tmp_path: Path) -> None:
    """A storm of signals whose handler records: no deadlock, and every call is there."""
    rig = Rig(tmp_path, poll_interval=0.01)
    ids: list[str] = []
    caught: list[str] = []

    def handle(number: int, stack: object) -> None:
        caught.append(rig.call())
        signal.setitimer(signal.ITIMER_REAL, 0.0003)  # not before: a handler slower than its timer never ends

    before = signal.signal(signal.SIGALRM, handle)
    signal.setitimer(signal.ITIMER_REAL, 0.0001)
    try:
        deadline = time.monotonic() + 1.5
        while time.monotonic() < deadline:
            ids.append(rig.call())
    finally:
        signal.signal(signal.SIGALRM, signal.SIG_IGN)
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
    assert rig.writer.flush(30)
    assert len(caught) > 50
    assert set(stored(tmp_path)) == {*ids, *caught}
    assert lost(rig) == {}
    rig.writer.close()


def test_a_finaliser_may_record(tmp_path: Path) -> None:
    """Objects that record when they die, from inside a garbage collection: every call is there."""
    rig = Rig(tmp_path, poll_interval=0.01)
    ids: list[str] = []

    class Stream:
        def __init__(self) -> None:
            self.me = self

        def __del__(self) -> None:
            ids.append(rig.call())

    for _ in range(2000):
        Stream()
        ids.append(rig.call())
    gc.collect()
    assert rig.writer.flush(30)
    assert len(ids) == 4000
    assert set(stored(tmp_path)) == set(ids)
    rig.writer.close()
