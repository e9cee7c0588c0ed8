"""The ledger behind a server: one place that knows whether it stands on a tracker or on a database's URL."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Hashable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, Final, TypeVar

import anyio
import anyio.to_thread

from tokentrail._health import Health
from tokentrail._journal import Follower, journal_folder
from tokentrail._pricing import Pricer
from tokentrail._query import Exact, Query
from tokentrail._records import FAILED, Record, now_us
from tokentrail._settings import Settings, load_settings
from tokentrail._snapshots import Snapshot, journal_snapshot, row_snapshot
from tokentrail._stats import Stats
from tokentrail._totals import GROUPED, MEASURED, Totals
from tokentrail._tracker import Tracker
from tokentrail._writer import import_pending
from tokentrail.stores import open_store
from tokentrail.stores._reader import open_reader, watch, within
from tokentrail.stores.base import Store, StoreReplacedError

PATIENCE: Final = 5.0
"""Seconds a question may take."""
_AT_ONCE: Final = 8
"""Questions asked at the same time; more would only wait for each other in the database."""
_FLUSHING: Final = 5.0
_RECENT: Final = 1000

OFF: Final = (
    "Recording is off: this tracker was made with enabled=False. Turn it on with TOKENTRAIL_ENABLED=true or "
    "Tracker(enabled=True)."
)

_T = TypeVar("_T")


class Ledger:
    """What a server asks and writes to.

    Args:
        source: a tracker, or the URL of a database that others write to.
        patience: seconds a question may take.
    """

    def __init__(self, source: Tracker | str, *, patience: float = PATIENCE) -> None:
        self.tracker = source if isinstance(source, Tracker) else None
        self.settings: Settings = (
            source.settings if isinstance(source, Tracker) else load_settings(database_url=source)
        )
        self._patience = patience
        self._opening = threading.Lock()
        self._writing: Tracker | None = self.tracker
        self._stats: Stats | None = None
        self._limiter: anyio.CapacityLimiter | None = None
        self._folder = None if self._lives_in_memory() else self._journals()
        self._follower = None if self._folder is None else Follower(self._folder)
        self._watch = watch(self.settings.database_url)
        self._bringing = Turns(self._flush if self.tracker is not None else self._import)
        self._importing: _Importing | None = None

    def _lives_in_memory(self) -> bool:
        return self.settings.database_url.startswith(("memory:", "sqlite:///:memory:")) or (
            self.settings.database_url == "sqlite://"
        )

    def _journals(self) -> Path:
        return journal_folder(self.settings.data_dir, self.settings.database_url)

    @property
    def is_enabled(self) -> bool:
        """Whether calls are recorded; of other programs we do not know, and say yes."""
        return self.tracker is None or self.tracker.settings.enabled

    # --- questions -------------------------------------------------------------------------------

    async def run(self, work: Callable[..., _T], *arguments: Any) -> _T:
        """Do something that waits, in a thread, for as long as we have patience.

        Raises:
            QueryTimeoutError: it took longer.
        """
        if self._limiter is None:
            self._limiter = anyio.CapacityLimiter(_AT_ONCE)
        return await anyio.to_thread.run_sync(self._patiently, work, arguments, limiter=self._limiter)

    def _patiently(self, work: Callable[..., _T], arguments: tuple[Any, ...]) -> _T:
        with within(self._patience):
            try:
                return work(*arguments)
            except StoreReplacedError:  # somebody deleted the database; a new one is open in its place
                return work(*arguments)

    @property
    def stats(self) -> Stats:
        """Questions to the store, over connections that only read.

        Raises:
            StoreError: it cannot be opened.
        """
        with self._opening:
            if self._stats is None:
                if self.tracker is not None and self._lives_in_memory():
                    self._stats = self.tracker.stats
                else:
                    self._stats = Stats(self._reader(), before_question=self._bringing.take)
            return self._stats

    def _reader(self) -> Store:
        return open_reader(self.settings.database_url, patience=self._patience)

    def _flush(self) -> None:
        if self.tracker is not None:
            self.tracker.flush(_FLUSHING)

    def _import(self) -> None:
        if self._importing is None:
            self._importing = _Importing(self.settings)
        self._importing.run()

    def state(self) -> Hashable:
        """Something else after every write that an answer could show; `None` where that is dear."""
        if self.tracker is not None and self._folder is None:
            return self.tracker.version
        if self._watch is None or self._folder is None:
            return None
        version = self._watch.version()
        if version is None:
            return None
        own = None if self.tracker is None else self.tracker.version
        return own, version, tuple(sorted(_sizes(self._folder).items()))

    # --- now -------------------------------------------------------------------------------------

    def running(self) -> list[Snapshot]:
        """The calls that run now, newest first: the tracker's, and those in the journals of others."""
        mine = [] if self.tracker is None else self.tracker.active()
        if self._follower is None:
            return mine
        known = {call["id"] for call in mine}
        now = now_us()
        others = [
            journal_snapshot(record, now)
            for record in self._follower.look()
            if record["id"] not in known and not self._is_mine(record)
        ]
        return sorted([*mine, *others], key=lambda call: (call["start_time"], call["id"]), reverse=True)

    def _is_mine(self, record: dict[str, Any]) -> bool:
        """Whether our own tracker wrote this; what it no longer knows has ended."""
        return self.tracker is not None and record.get("process_id") == str(os.getpid())

    def recent(self, what: str, since: int | None, where: Mapping[str, str]) -> list[Snapshot]:
        """Calls that ended lately (`traces`) or failed (`errors`), newest first.

        A tracker remembers them, and counts them; of other programs the store's newest are taken, and their
        `seq` is the moment of their end, in microseconds.
        """
        if self.tracker is not None:
            ring = self.tracker.recent_traces if what == "traces" else self.tracker.recent_errors
            calls = ring(_RECENT, since)
            return [call for call in calls if all(call[name] == value for name, value in where.items())]
        asked: dict[str, Any] = {name: Exact(value) for name, value in where.items()}
        if what == "errors":
            asked["status"] = list(FAILED)
        rows = self.stats.find(limit=_RECENT, **asked)
        traces = [row_snapshot(row) for row in rows]
        traces.sort(key=lambda trace: (trace["seq"], trace["id"]), reverse=True)
        return [trace for trace in traces if since is None or trace["seq"] > since]

    def running_totals(
        self, asked: Mapping[str, str | None], where: Mapping[str, str], *, include_active: bool
    ) -> dict[str, Any]:
        """Provider → model → sums: the tracker's since it was made, or those of the whole store.

        The store's also for those who see only a part of the calls: a tracker's sums are not apart by client.
        """
        if self.tracker is not None and not where:
            return self.tracker.running_totals(**asked, include_active=include_active)
        bound = {name: Exact(value) for name, value in where.items()}
        groups = self.stats.query(Query(MEASURED, by=GROUPED).where(**bound))
        mine = [call for call in self.running() if all(call[name] == value for name, value in where.items())]
        return Totals.of_groups(groups).answer(map(_record, mine), **asked, include_active=include_active)

    # --- writing ---------------------------------------------------------------------------------

    def writer(self) -> Tracker:
        """The tracker that takes what is written over HTTP; without one of our own, one is made."""
        with self._opening:
            if self._writing is None:
                self._writing = Tracker(self.settings.database_url, data_dir=self.settings.data_dir)
            return self._writing

    def close(self) -> None:
        """Let go of what we opened; a tracker that was given stays open."""
        with self._opening:
            if self._stats is not None and (self.tracker is None or self._stats is not self.tracker.stats):
                self._stats.close()
            self._stats = None
            if self._watch is not None:
                self._watch.close()
            if self._writing is not None and self._writing is not self.tracker:
                self._writing.close()
                self._writing = None
            if self._importing is not None:
                self._importing.close()
                self._importing = None


# --- pieces --------------------------------------------------------------------------------------


def _record(call: Snapshot) -> Record:
    known = {name: value for name, value in call.items() if value is not None}
    return {**known, "started_at": round(call["start_time"] * 1_000_000)}


class Turns:
    """One piece of work at a time, shared by all who asked for it before it began.

    A thousand readers who ask at once cost one import (or two), and each still reads what was written before
    it asked.
    """

    def __init__(self, work: Callable[[], object]) -> None:
        self._work = work
        self._one_at_a_time = threading.Lock()
        self._begun = 0
        self._done = 0

    def take(self) -> None:
        """Return when the work has been done, from its beginning, after this was called."""
        needed = self._begun + 1
        with self._one_at_a_time:
            if self._done >= needed:
                return
            self._begun += 1
            self._work()
            self._done = self._begun


class _Importing:
    """Brings what processes have journaled into the store, for readers that have no tracker."""

    def __init__(self, settings: Settings) -> None:
        self._url = settings.database_url
        self._data_dir = settings.data_dir
        self._health = Health()
        self._pricer = Pricer(health=self._health)
        self._store: Store | None = None
        self._seen: dict[str, int] | None = None
        """Segments and their sizes when all of them were in the store."""

    def run(self) -> None:
        """Import, if there is something that was not there the last time."""
        found = _sizes(journal_folder(self._data_dir, self._url))
        if not found or found == self._seen:
            return
        done = import_pending(
            self._url,
            self._data_dir,
            open_store=self._opened,
            price=self._pricer.over(self._opened),
            health=self._health,
            timeout=_FLUSHING,
            close=False,
        )
        self._seen = found if done.complete else None

    def _opened(self) -> Store:
        if self._store is None:
            self._store = open_store(self._url)
        return self._store

    def close(self) -> None:
        """Let go of the store."""
        if self._store is not None:
            self._store.close()
            self._store = None


def _sizes(folder: Path) -> dict[str, int]:
    found = {}
    with suppress(FileNotFoundError), os.scandir(folder) as entries:
        for entry in entries:
            with suppress(FileNotFoundError):  # delivered and deleted in between
                found[entry.name] = entry.stat().st_size
    return found
