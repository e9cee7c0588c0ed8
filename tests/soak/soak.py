"""Many calls of every kind at once, then the ledger against the truth: `python tests/soak/soak.py 10000`."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import os
import sqlite3
import sys
import tempfile
import threading
import time
import warnings
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any, Final

if __name__ == "__main__":
    os.environ["LITELLM_LOCAL_MODEL_COST_MAP"] = "True"
    os.environ["LANGCHAIN_TRACING_V2"] = "false"
    sys.path.insert(0, str(Path(__file__).parents[1]))

import tokentrail
from soak.mix import Crowd, expected, jobs
from tokentrail import Tracker
from tokentrail.demo.provider import FakeProvider
from tokentrail.integrations import _langchain_runs, _litellm_shelf
from tokentrail.integrations._langchain_runs import runs_of

COUNTS: Final = ("input_tokens", "output_tokens", "cache_read_tokens", "reasoning_tokens")
WAVE: Final = 1_000
"""After so many calls the ledger is looked at, and the provider's log is begun anew, so as not to grow."""


@dataclass
class Soak:
    """What was sent and what was recorded, wave by wave.

    Attributes:
        requests: how many the provider has seen.
        tokens: what it has sent, by column.
        statuses: for how many requests each set of statuses is right.
        objects: objects of ours that were alive after each wave; `rss`: megabytes of the process then.
    """

    requests: int = 0
    tokens: Counter[str] = field(default_factory=Counter)
    statuses: Counter[frozenset[str]] = field(default_factory=Counter)
    objects: list[int] = field(default_factory=list)
    rss: list[float] = field(default_factory=list)
    seconds: float = 0.0

    def note(self, provider: FakeProvider) -> None:
        """Take what was sent in a wave."""
        for one in provider.sent:
            self.requests += 1
            self.statuses[expected(one)] += 1
            self.tokens.update({name: count for name, count in (one.counts or {}).items() if name in COUNTS})
        provider.sent.clear()


def soak(calls: int, at_once: int, folder: Path, *, seed: int = 7) -> Soak:
    """Make calls, and hold the ledger against what was sent.

    Args:
        calls: how many are asked for; retries are further requests.
        at_once: how many run at any moment.
        folder: where the ledger is kept.
        seed: decides the order.
    """
    seen, before = Soak(), {thread.ident for thread in threading.enumerate()}
    path = folder / "soak.db"
    tracker = Tracker(f"sqlite:///{path}", data_dir=folder, summary_interval=0)
    previous = tokentrail.set_tracker(tracker)
    tokentrail.install()
    began = time.monotonic()
    gc.disable()  # see `_collect`
    gc.freeze()  # what is there already need not be looked through each time
    try:
        with small_shelves(), FakeProvider() as provider, ThreadPoolExecutor(at_once, "soak") as threads:
            asyncio.run(_waves(seen, tracker, Crowd(provider, threads, at_once), provider, calls, seed))
            assert provider.faults == []
        seen.seconds = time.monotonic() - began
        _settled(tracker)
    finally:
        gc.unfreeze()
        gc.enable()
        tokentrail.uninstall()
        tokentrail.set_tracker(previous)
        tracker.close()
    _compare(seen, path)
    _nothing_is_left(before)
    return seen


@contextlib.contextmanager
def small_shelves() -> Iterator[None]:
    """Make what is remembered of calls that are over full early: what grows afterwards is a leak."""
    places = ((_litellm_shelf, "ROOM"), (_langchain_runs, "_SHELF"), (_langchain_runs, "_MODELS_KEPT"))
    before = [getattr(module, name) for module, name in places]
    for module, name in places:
        setattr(module, name, 64)
    try:
        yield
    finally:
        for (module, name), room in zip(places, before, strict=True):
            setattr(module, name, room)


async def _waves(
    seen: Soak, tracker: Tracker, crowd: Crowd, provider: FakeProvider, calls: int, seed: int
) -> None:
    todo, collects = jobs(calls, seed), asyncio.create_task(_collect())
    while wave := list(islice(todo, WAVE)):
        await crowd.work(iter(wave))
        await _until(lambda: all(one.ended for one in list(provider.sent)))
        await _until(lambda: not tracker.active())
        seen.note(provider)
        seen.objects.append(_objects_of_ours())
        seen.rss.append(_megabytes())
        print(
            f"{seen.requests} requests, {seen.rss[-1]:.0f} MB, {seen.objects[-1]} objects of ours", flush=True
        )
    collects.cancel()
    ours = [task for task in asyncio.all_tasks() if "tokentrail" in str(task.get_coro())]
    assert ours == []


async def _collect() -> None:
    """Collect garbage here, and not wherever a thread happens to be.

    A dropped stream of LiteLLM's is part of a cycle. If the collector closes it in a thread that holds the
    lock of httpcore's connection pool, as every request does for a moment, that thread waits for itself for
    ever (encode/httpcore#990), with tokentrail or without.
    """
    while True:
        gc.collect()
        await asyncio.sleep(0.25)


async def _until(condition: Any) -> None:
    """Wait, collecting garbage, until something is so."""
    async with asyncio.timeout(60):
        while not condition():
            gc.collect()
            await asyncio.sleep(0.01)


# --- the ledger against the truth ----------------------------------------------------------------


def _settled(tracker: Tracker) -> None:
    """Nothing runs, nothing was lost, nothing is held."""
    assert tracker.flush(120)
    health = tracker.health()
    assert (health["active"], health["faults"], health["lost"]) == (0, {}, {})
    runs = runs_of(tracker)
    assert (runs.open, runs.nodes) == ({}, {})


def _compare(seen: Soak, path: Path) -> None:
    """Rows are requests, and every sum of tokens is what was sent; asked of the file itself."""
    sums = ", ".join(f"SUM({name})" for name in COUNTS)
    with contextlib.closing(sqlite3.connect(path)) as ledger:
        (rows, *told) = ledger.execute(f"SELECT COUNT(*), {sums} FROM llm_call").fetchone()
        by_status = dict(ledger.execute("SELECT status, COUNT(*) FROM llm_call GROUP BY status"))
        (unknown,) = ledger.execute(
            "SELECT COUNT(*) FROM llm_call WHERE usage_source = 'missing' AND status = 'success'"
        ).fetchone()
    assert rows == seen.requests
    assert dict(zip(COUNTS, told, strict=True)) == dict(seen.tokens)
    assert unknown == 0
    for statuses in set(seen.statuses):
        assert sum(by_status.get(one, 0) for one in statuses) >= seen.statuses[statuses]
    assert sum(by_status.values()) == sum(seen.statuses.values())


def _nothing_is_left(before: set[int | None]) -> None:
    """No thread of ours, and no hook in either library."""
    from test_install import places_of_ours

    assert places_of_ours() == []
    left = [thread.name for thread in threading.enumerate() if thread.ident not in before]
    assert [name for name in left if "tokentrail" in name or "soak" in name or "loopback" in name] == []


def _objects_of_ours() -> int:
    gc.collect()
    kinds = Counter(map(type, gc.get_objects()))
    modules = {kind: str(vars(kind).get("__module__")) for kind in kinds}
    return sum(
        count
        for kind, count in kinds.items()
        if modules[kind].startswith("tokentrail.") and "demo" not in modules[kind]
    )


def _megabytes() -> float:
    pages = int(Path("/proc/self/statm").read_text().split()[1]) if Path("/proc/self/statm").exists() else 0
    return pages * os.sysconf("SC_PAGE_SIZE") / 1e6


def flat(seen: Soak) -> None:
    """After the first quarter, neither our objects nor the process grow."""
    quarter = len(seen.objects) // 4
    assert max(seen.objects[quarter:]) - seen.objects[quarter] < 300, seen.objects
    assert seen.rss[-1] - seen.rss[quarter] < 0.1 * seen.rss[quarter], seen.rss


if __name__ == "__main__":
    warnings.simplefilter("ignore")
    count = int(sys.argv[1]) if len(sys.argv) > 1 else 10_000
    with tempfile.TemporaryDirectory() as scratch:
        done = soak(count, 50, Path(scratch))
    flat(done)
    print(f"{done.requests} requests are {done.requests} rows, in {done.seconds:.0f} s; {dict(done.tokens)}")
