"""What was acknowledged survives: kills, forks, full disks, rivals and exits, over a real database.

The programs that do the dying are in `crash/`; each prints what it promised and what was found afterwards.
"""

from __future__ import annotations

import contextlib
import json
import os
import sqlite3
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    Bundle,
    RuleBasedStateMachine,
    initialize,
    invariant,
    rule,
    run_state_machine_as_test,
)

from crash.rig import adopt, ended, left, no_price, started, stored, url_of
from tokentrail._health import Health
from tokentrail._journal import Journal, _folder, _journal, journal_folder
from tokentrail._journal._folder import interrupted
from tokentrail._journal._segment import Segment
from tokentrail._records import FINAL, PROVISIONAL, Record
from tokentrail._writer import Writer, _adoption, _backlog, _upkeep, import_pending
from tokentrail._writer._backlog import Backlog
from tokentrail.errors import StoreError
from tokentrail.stores import open_store
from tokentrail.stores.base import Store

CRASH = Path(__file__).parent / "crash"


def run(script: str, *arguments: object, timeout: float = 120) -> dict[str, Any]:
    """Run a program of `crash/` and return the report it prints."""
    done = subprocess.run(
        [sys.executable, str(CRASH / script), *map(str, arguments)],
        capture_output=True,
        text=True,
        timeout=timeout,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    report: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return report


@pytest.mark.parametrize(("threads", "rounds"), [(1, 26), (8, 26)])
def test_kill_at_a_random_moment(tmp_path: Path, threads: int, rounds: int) -> None:
    """kill -9, again and again: no acknowledged call is lost or counted twice, running ones interrupted."""
    report = run("kill.py", tmp_path, rounds, threads, 7 * threads)
    assert report["acknowledged"] > rounds * 10
    assert report["running"] >= rounds
    assert report["lost"] == []
    assert report["not_interrupted"] == []
    assert report["counted_wrong"] == 0
    assert report["complete"]
    assert report["left"] == []


def test_kill_while_being_told(tmp_path: Path) -> None:
    """kill -9 of trackers that are told of messages, tool calls and feedback: what had returned is there."""
    report = run("told.py", tmp_path, 12, 3)
    assert all(count >= 12 for count in report["told"].values())
    assert report["interrupted"] >= 12
    assert report["wrong"] == []
    assert report["complete"]
    assert report["left"] == []


def test_kill_inside_an_import(tmp_path: Path) -> None:
    """An importer that dies at any point leaves the next one everything to be exact."""
    points = (
        "before-append",
        "before-pos",
        "before-commit",
        "after-append",
        "before-unlink",
        "after-unlink",
        "after-forget",
    )
    report = run("points.py", tmp_path, 2, *points)
    exact = {
        "died": 2,
        "complete": True,
        "lost": 0,
        "not_interrupted": 0,
        "counted_wrong": 0,
        "left": [],
    }
    assert report == dict.fromkeys(points, exact)


def test_rival_importers_and_writers_that_all_die(tmp_path: Path) -> None:
    """Writers that fork and importers that race, all killed in random order: exact, and nothing left over."""
    report = run("swarm.py", tmp_path, 6, 3)
    assert report["acknowledged"] > 500
    assert report["lost"] == []
    assert report["counted_wrong"] == 0
    assert report["complete"]
    assert report["left"] == []


def test_forks_of_every_kind(tmp_path: Path) -> None:
    """Children by `os.fork` and multiprocessing, in the middle of a busy parent: all record, none hangs."""
    report = run("forks.py", tmp_path)
    assert report["acknowledged"] == report["expected"] == report["rows"]
    assert report["busy"]
    assert report["lost"] == []
    assert report["flushed"]
    assert report["left"] == []
    assert report["exits"] == [0, 0, 0]


def test_a_full_disk_that_gets_room_again(tmp_path: Path) -> None:
    """Journal and database full: memory holds the calls, says so, and delivers when there is room."""
    report = run("diskfull.py", tmp_path, "recover")
    assert report["durability"] == "memory"
    assert report["promised"] > 10
    assert report["in_memory"] > 100
    assert report["flushed_while_full"] is False
    assert report["flushed"] is True
    assert report["durability_after"] == "process"
    assert report["lost"] == []
    assert report["lost_counted"] == {}


def test_a_full_disk_and_then_death(tmp_path: Path) -> None:
    """What was promised before the disk was full survives a death on a full disk."""
    report = run("diskfull.py", tmp_path, "die")
    assert report["promised"] > 10
    assert report["lost"] == []
    assert report["complete"]


def test_several_processes_share_a_database(tmp_path: Path) -> None:
    """Four processes write into one new file at the same time; each delivers all of its own."""
    report = run("together.py", tmp_path, 4, 1500)
    assert report["codes"] == [0, 0, 0, 0]
    assert report["acknowledged"] == report["rows"] == 6000
    assert report["lost"] == []
    assert report["pending"] == 0
    assert report["left"] == []


# --- how a program ends --------------------------------------------------------------------------


def end(folder: Path, how: str) -> tuple[subprocess.CompletedProcess[str], set[str], float]:
    """Run a program that ends in some way; returns it, the ids it recorded, and the seconds it took."""
    began = time.monotonic()
    done = subprocess.run(
        [sys.executable, str(CRASH / "exits.py"), str(folder), how],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    return done, set(done.stdout.split()), time.monotonic() - began


@pytest.mark.parametrize(
    ("how", "calls", "code"),
    [
        ("plain", 1, 0),
        ("thread", 2, 0),
        ("asyncio", 3, 0),
        ("exit_code", 1, 3),
        ("os_exit", 1, 4),
        ("atexit_before", 2, 0),
        ("atexit_after", 2, 0),
        ("first_in_atexit", 1, 0),
        ("flush_in_atexit", 2, 0),
        ("del", 2, 0),
    ],
)
def test_every_way_to_end_a_program(tmp_path: Path, how: str, calls: int, code: int) -> None:
    """However a program ends, its calls are there, it says nothing, and its exit code is its own."""
    done, told, _ = end(tmp_path, how)
    assert (done.returncode, done.stderr) == (code, "")
    assert len(told) == calls
    assert adopt(tmp_path).complete
    assert stored(tmp_path) == dict.fromkeys(told, "success")
    assert left(tmp_path) == []


def test_a_daemon_thread_records_until_the_last_moment(tmp_path: Path) -> None:
    """A thread that records while the interpreter goes down: no trace, and every call is there."""
    done, told, _ = end(tmp_path, "daemon")
    assert (done.returncode, done.stderr) == (0, "")
    assert adopt(tmp_path).complete
    assert told <= set(stored(tmp_path))


def test_a_program_ends_while_its_store_hangs(tmp_path: Path) -> None:
    """A store that never answers keeps the program for two seconds, and no longer."""
    done, told, took = end(tmp_path, "hang")
    assert (done.returncode, done.stderr) == (0, "")
    assert took < 6
    assert adopt(tmp_path).complete
    assert told == set(stored(tmp_path))


def test_a_program_ends_while_its_database_is_locked(tmp_path: Path) -> None:
    """The end of a program does not wait for a locked database; the next process delivers."""
    open_store(url_of(tmp_path)).close()
    _, _, usual = end(tmp_path, "plain")
    with_lock = sqlite3.connect(tmp_path / "usage.db", isolation_level=None)
    with_lock.execute("BEGIN IMMEDIATE")
    done, told, took = end(tmp_path, "plain")
    with_lock.execute("COMMIT")
    with_lock.close()
    assert (done.returncode, done.stderr) == (0, "")
    assert took < usual + 4  # two of them are ours, the rest is a slow machine's
    assert told.isdisjoint(stored(tmp_path))
    assert adopt(tmp_path).complete
    assert told <= set(stored(tmp_path))


# --- a model -------------------------------------------------------------------------------------


class Machine(RuleBasedStateMachine):
    """Journal, writer and adoption against a dictionary: any sequence of events ends in the same rows.

    The writer's turns are rules, so that every order of events can be reached and repeated.
    """

    calls: Bundle[str] = Bundle("calls")
    database: Path

    @initialize()
    def begin(self) -> None:
        """A folder of journals of its own; the database is shared by all runs, ids are not."""
        self.folder = Path(tempfile.mkdtemp(dir=self.database.parent))
        self.url = f"sqlite:///{self.database}"
        self.real = open_store(self.url)
        self.up = True
        self.full = False
        self.known: dict[str, Record] = {}
        self.rows: dict[str, tuple[int, str]] = {}
        """What the store must hold in the end."""
        self.unsure: set[str] = set()
        """Recorded while the disk was full: in memory only."""
        self.gone: set[str] = set()
        """Lost with the memory they were in, or because disk and queue were full."""
        self.open: dict[str, Record] = {}
        self.others: list[Writer] = []
        self.new_process()

    def new_process(self) -> None:
        """A writer whose thread never runs."""
        self.health = Health()
        self.journal = Journal(
            journal_folder(self.folder, self.url), health=self.health, header={}, segment_bytes=2000
        )
        self.writer = Writer(
            open_store=self.store,
            journal=self.journal,
            price=no_price,
            running=lambda: list(self.open.values()),
            health=self.health,
        )
        self.writer._starting.acquire()

    def store(self) -> Store:
        """The one store, or none."""
        machine = self

        class Sometimes:
            url = self.url

            def append(self, *arguments: Any) -> Any:
                if not machine.up:
                    raise StoreError("away")
                return machine.real.append(*arguments)

            def positions(self) -> dict[str, int]:
                if not machine.up:
                    raise StoreError("away")
                return machine.real.positions()

            def close(self) -> None:
                pass

        return Sometimes()  # type: ignore[return-value]

    # --- what happens ----------------------------------------------------------------------------

    @rule(target=calls, model=st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=20))
    def start(self, model: str) -> str:
        """A call begins."""
        start = started(model=model, output_tokens=1)
        call_id = str(start["id"])
        self.known[call_id] = self.open[call_id] = start
        self.writer.note_start(start)
        if self.full:
            self.unsure.add(call_id)
        return call_id

    @rule(call_id=calls, finality=st.sampled_from([PROVISIONAL, FINAL, FINAL + 1]))
    def end(self, call_id: str, finality: int) -> None:
        """A call ends, perhaps once more, perhaps in another process than it began in."""
        known = self.rows.get(call_id)
        if known is not None and known[1] == "interrupted" and finality == PROVISIONAL:
            return  # equally strong: whichever is imported first stands
        self.open.pop(call_id, None)
        status = {PROVISIONAL: "abandoned", FINAL: "success", FINAL + 1: "error"}[finality]
        before = self.writer._backlog.lost
        self.writer.submit(ended(self.known[call_id], finality, status=status))
        if self.full:
            self.unsure.add(call_id)
            if self.writer._backlog.lost > before:
                self.gone.add(call_id)
                return
        if known is None or finality > known[0]:
            self.rows[call_id] = (finality, status)

    @rule(count=st.integers(2, 5))
    def burst(self, count: int) -> None:
        """More calls than the queue has room for."""
        for _ in range(count):
            self.end(self.start("m"), FINAL)

    @rule()
    def turn(self) -> None:
        """The writer's thread has its turn."""
        self.writer._delivery.retry_at = 0.0
        self.writer._work()

    @rule()
    def flush(self) -> None:
        """Somebody flushes: true means that all of it is there."""
        flushed = self.writer.flush(0)
        assert not (flushed and not self.up and self.writer._backlog.count())
        if flushed:
            self.unsure &= set(self.open) if self.full else set()
            self.compare()

    @rule()
    def rotate(self) -> None:
        """A segment is full."""
        if self.writer._upkeep is not None:
            self.writer._upkeep._rotate()

    @rule(up=st.sampled_from([True, True, False]))
    def store_goes(self, up: bool) -> None:
        """The database goes away, or comes back."""
        self.up = up

    @rule(full=st.sampled_from([False, False, True]))
    def disk_fills(self, full: bool) -> None:
        """The journal's disk is full, or has room again."""
        self.full = full
        _journal._write = _refuse if full else os.write  # type: ignore[misc]

    @rule()
    def read(self) -> None:
        """A reader in another process imports what is pending."""
        import_pending(self.url, self.folder, open_store=self.store, price=no_price, timeout=0)

    @rule(torn=st.integers(0, 60))
    def die(self, torn: int) -> None:
        """The process is killed, perhaps in the middle of a write; another one begins."""
        self.disk_fills(full=False)
        for segment in (self.journal.current, *self.journal.retired):
            if segment is not None:
                if segment is self.journal.current and torn:
                    os.write(segment.fd, b'\x1e0123abcd {"id":"torn","finality":2,"status":"success"}'[:torn])
                segment.close()
        for call_id in self.open:
            if call_id not in self.unsure:
                self.rows.setdefault(call_id, (PROVISIONAL, "interrupted"))
        self.gone |= self.unsure  # or not: what was in memory alone may have been delivered
        self.unsure.clear()
        self.open.clear()
        self.others.append(self.writer)
        self.new_process()

    # --- what must hold --------------------------------------------------------------------------

    @invariant()
    def nothing_is_lost(self) -> None:
        """What is lost is counted, and has one reason only."""
        if hasattr(self, "health"):
            assert set(self.health.snapshot()["lost"]) <= ({"queue_full"} if self.gone else set())  # type: ignore[call-overload]
            assert self.health.snapshot()["faults"] == {}

    def compare(self) -> None:
        """Everything that has ended is in the store, in its strongest form."""
        found = self.found()
        for call_id, expected in self.rows.items():
            if call_id not in self.unsure | self.gone:
                assert found.get(call_id) == expected

    def found(self) -> dict[str, tuple[int, str]]:
        """The rows of this run."""
        connection = sqlite3.connect(self.database)
        try:
            every = connection.execute("SELECT id, finality, status FROM llm_call")
            return {
                call_id: (finality, status) for call_id, finality, status in every if call_id in self.known
            }
        finally:
            connection.close()

    def teardown(self) -> None:
        """With the store up and the last process dead, one import makes it all come true."""
        if not hasattr(self, "folder"):
            return
        self.up = True
        with contextlib.closing(self.real):
            self.settle()

    def settle(self) -> None:
        """Nobody writes any more; somebody imports."""
        self.die(torn=0)
        imported = import_pending(self.url, self.folder, open_store=self.store, price=no_price)
        assert imported.complete
        self.compare()
        assert set(self.found()) <= set(self.rows) | self.unsure | self.gone
        assert self.real.positions().keys().isdisjoint(left(self.folder))


def _refuse(descriptor: int, data: bytes) -> int:
    raise OSError(28, "No space left on device")


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Bounds small enough for a short run to reach them."""
    monkeypatch.setattr(_backlog, "MAX_RECORDS", 3)
    monkeypatch.setattr(_upkeep, "_GRACE", 0.0)
    monkeypatch.setattr(_upkeep, "_HOUSEKEEPING", 0.0)
    monkeypatch.setattr(_journal, "_REOPEN_AFTER", 0.0)
    monkeypatch.setattr(_journal, "_write", os.write)


@pytest.mark.usefixtures("small")
def test_any_sequence_of_events_ends_in_the_same_rows(tmp_path: Path) -> None:
    """Calls, flushes, rotations, outages, full disks, readers and deaths in any order: equal to the model."""
    play(tmp_path, max_examples=80)


def play(folder: Path, **options: Any) -> None:
    """Run the machine over a new database."""
    Machine.database = folder / "usage.db"
    open_store(f"sqlite:///{Machine.database}").close()
    relaxed = settings(
        stateful_step_count=30, deadline=None, suppress_health_check=list(HealthCheck), **options
    )
    run_state_machine_as_test(Machine, settings=relaxed)


def _carry_nothing(self: Journal, old: Segment, starts: list[Record]) -> None:
    old.carried = True


def _forget_the_overflow(self: Backlog, record: Record, segment: Segment | None) -> None:
    return None


def _interrupted_for_good(start: Record) -> Record:
    return {**interrupted(start), "finality": FINAL}


MUTANTS = {
    "starts are not carried into the next segment": (Journal, "carry", _carry_nothing),
    "what the queue has no room for is not read again": (Backlog, "overflow", _forget_the_overflow),
    "a living process counts as dead": (_folder, "lock", lambda descriptor: True),
    "an interruption is final": (_adoption, "interrupted", _interrupted_for_good),
}


@pytest.mark.usefixtures("small")
@pytest.mark.parametrize("mutant", MUTANTS)
def test_the_model_sees_each_of_these_mistakes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, mutant: str
) -> None:
    """A writer with a mistake in it does not pass: the model is no rubber stamp."""
    monkeypatch.setattr(*MUTANTS[mutant])
    with pytest.raises(AssertionError):
        play(
            tmp_path, max_examples=400, phases=[Phase.generate], report_multiple_bugs=False, derandomize=True
        )
