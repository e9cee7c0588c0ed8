"""Tracker: the street assembled. The one object that doors write to and people ask."""

from __future__ import annotations

import logging
import os
import socket
import threading
import time
import weakref
from collections.abc import Callable
from types import TracebackType
from typing import TYPE_CHECKING, Any, BinaryIO

from tokentrail import _health
from tokentrail._budgets import Watch
from tokentrail._conversations import ConversationRecorder
from tokentrail._health import Health
from tokentrail._journal import Journal, journal_folder
from tokentrail._live import Running
from tokentrail._pricing import Pricer
from tokentrail._records import now_us
from tokentrail._settings import Settings, load_settings
from tokentrail._snapshots import Snapshot, running_snapshot, trace_snapshot
from tokentrail._spending import Spending
from tokentrail._tracked import Tracked
from tokentrail._treasurer import Listener, Treasurer
from tokentrail._writer import Writer

if TYPE_CHECKING:
    from pathlib import Path

    from tokentrail._stats import Stats
    from tokentrail._stats._users import UserData
    from tokentrail.stores.base import Store


class Tracker(Spending, ConversationRecorder):
    """Records calls and answers what they used.

    Every method is safe from any thread and any event loop, never waits for a database and never raises
    into its caller (questions excepted: those may raise `QueryError` and `StoreError`).

    Args:
        database_url: where calls are kept: `sqlite:///usage.db`, `postgresql+psycopg://…`, `memory://`;
            default `TOKENTRAIL_DATABASE_URL`, else `usage.db` in the user's data directory.
        logger: where summaries go; default the logger `tokentrail`.
        settings: any field of `Settings`, e.g. `client_id`, `user_id`, `capture`, `data_dir`.

    Raises:
        ConfigurationError: an argument is wrong. (A database that cannot be reached is no error here:
            calls wait in the journal, and `health()` says so.)

    Example:
        >>> tracker = Tracker("sqlite:///usage.db", client_id="my_app")
        >>> call_id = tracker.start(model="gpt-4o", provider="openai")
        >>> tracker.finish(call_id, usage={"prompt_tokens": 12, "completion_tokens": 8})
    """

    def __init__(
        self, database_url: str | None = None, *, logger: logging.Logger | None = None, **settings: Any
    ) -> None:
        self.settings: Settings = load_settings(database_url=database_url, **settings)
        health = Health()
        self.pricer = Pricer(health=health)
        self._watch = Watch(health)
        self._treasurer = Treasurer(self.pricer, self._watch)
        super().__init__(self.settings, health, logger or _health.logger)
        self._stats: Stats | None = None
        _trackers.add(self)

    @property
    def database_url(self) -> str:
        """The absolute URL of the store."""
        return self.settings.database_url

    def _new_writer(self, settings: Settings) -> Writer:
        url = settings.database_url
        journal = None
        if not _lives_in_memory(url):
            journal = Journal(
                journal_folder(settings.data_dir, url),
                health=self.health_counters,
                header={"process_id": str(os.getpid()), "host": socket.gethostname()},
                durability=settings.durability,
            )
        return Writer(
            open_store=self._open_store,
            journal=journal,
            price=self.pricer.price,
            running=self._starts,
            health=self.health_counters,
            guest=self._treasurer,
        )

    def _open_store(self) -> Store:
        from tokentrail.stores import open_store  # SQLAlchemy is loaded by whoever writes, not by import

        store = open_store(self.settings.database_url, recover=True)
        if store.set_aside:
            self.health_counters.warn(
                "corrupt",
                f"tokentrail: the database was damaged. It is kept as {store.set_aside}, and a new one was "
                "begun. Calls that wait in the journal are delivered to the new one.",
            )
        return store

    # --- questions about now ---------------------------------------------------------------------

    def active(self, provider: str | None = None, model: str | None = None) -> list[Snapshot]:
        """The running calls, newest first; `provider` and `model` may hold `*` and `?`."""
        self._sweep(now_us(), time.perf_counter_ns())
        clock = time.perf_counter_ns()
        matching = self._live.totals.matcher(provider, model)
        return [
            running_snapshot(running, clock) for running in self._live.active() if matching(running.record)
        ]

    def get(self, call_id: str) -> Any:
        """A call by id: a snapshot if it runs, else its row from the store, else `None`."""
        running: Running | None = self._live.find(call_id)
        if running is not None:
            return running_snapshot(running, time.perf_counter_ns())
        return self.stats.call(call_id)

    @property
    def version(self) -> int:
        """A number that grows with every change of the running calls and totals."""
        return self._live.version

    def wait_for_change(self, since: int, timeout: float | None = None) -> int:
        """Block until `version` is above `since` or `timeout` seconds are over; returns the version."""
        return self._live.wait(since, timeout)

    async def wait_for_change_async(self, since: int, timeout: float | None = None) -> int:
        """`wait_for_change` for event loops; nothing is kept of a waiter that is gone."""
        return await self._live.wait_async(since, timeout)

    def running_totals(
        self, provider: str | None = None, model: str | None = None, include_active: bool = True
    ) -> dict[str, Any]:
        """Totals since this tracker was made: provider → model → total, streaming, non_streaming.

        Args:
            provider: only these, `*` and `?` allowed, upper or lower case.
            model: likewise; a call without a model passes no such filter.
            include_active: whether running calls count (once, and in no average).
        """
        running = [entry.record for entry in self._live.active()]
        return self._live.totals.answer(
            running, provider=provider, model=model, include_active=include_active
        )

    def recent_traces(self, limit: int = 200, since: int | None = None) -> list[Snapshot]:
        """Calls that ended lately, newest first; `since` is the `seq` of the last one already seen."""
        return [trace_snapshot(seq, record) for seq, record in self._live.traces(limit, since)]

    def recent_errors(self, limit: int = 100, since: int | None = None) -> list[Snapshot]:
        """Calls that failed lately, newest first."""
        return [trace_snapshot(seq, record) for seq, record in self._live.errors(limit, since)]

    def health(self) -> dict[str, Any]:
        """How the ledger itself is doing: backlog, written, lost by reason, durability, warnings."""
        counters = self.health_counters
        return {
            "enabled": self._enabled,
            **self._writer.health(),
            **counters.snapshot(),
            "duplicates": counters.noted("duplicates"),
            "orphans": counters.noted("orphans"),
            "active": len(self._live.active()),
            "ended": self._live.ended,
        }

    # --- the store -------------------------------------------------------------------------------

    @property
    def stats(self) -> Stats:
        """Questions over this tracker's store; each flushes first, so that you read what you wrote."""
        if self._stats is None:
            from tokentrail._stats import Stats

            source = self._writer.store() if _lives_in_memory(self.database_url) else self.database_url
            self._stats = Stats(source, before_question=self.flush, running=self._live.starts)
        return self._stats

    def export_user(self, user_id: str, path: str | Path | BinaryIO, **where: Any) -> UserData:
        """Write all that is kept about a user to a file; see `Stats.export_user`."""
        return self.stats.export_user(user_id, path, **where)

    def delete_user(self, user_id: str, **where: Any) -> UserData:
        """Delete all that is kept about a user; see `Stats.delete_user`."""
        return self.stats.delete_user(user_id, **where)

    def on_stored(self, listener: Listener) -> Callable[[], None]:
        """Call `listener(records)` with ended calls, and what stands beside them, when they are in the store.

        It is called in the writer's thread: calls never wait for it, but the next ones to be stored do. What
        it raises is counted in `health()["faults"]`.

        Returns:
            What stops it.
        """
        treasurer = self._treasurer
        with _default_lock:
            treasurer.listeners = (*treasurer.listeners, listener)

        def stop() -> None:
            with _default_lock:
                treasurer.listeners = tuple(other for other in treasurer.listeners if other is not listener)

        return stop

    def flush(self, timeout: float | None = None) -> bool:
        """Wait until everything acknowledged so far is in the store; True only if it is.

        Also adopts what dead processes left behind. Without a `timeout` (seconds) it waits as long as the
        store makes progress possible.
        """
        self._sweep(now_us(), time.perf_counter_ns())
        return self._writer.flush(timeout)

    def close(self, timeout: float | None = None) -> bool:
        """Flush and stop the writer. Calls that still run may still end; the next process adopts them."""
        return self._writer.close(timeout)

    def __enter__(self) -> Tracker:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"Tracker({self.database_url.rsplit('@', 1)[-1]!r})"


def _lives_in_memory(url: str) -> bool:
    return url.startswith("memory:") or url in ("sqlite://", "sqlite:///:memory:")


# --- the shared default --------------------------------------------------------------------------

_trackers: weakref.WeakSet[Tracker] = weakref.WeakSet()
_default: Tracker | None = None
_default_lock = threading.RLock()


def get_tracker() -> Tracker:
    """The one shared default tracker, made from the environment when first asked for."""
    global _default
    with _default_lock:
        if _default is None:
            _default = Tracker()
        return _default


def set_tracker(tracker: Tracker | None) -> Tracker | None:
    """Replace the shared default; `None` forgets it. Returns the one before."""
    global _default
    with _default_lock:
        previous, _default = _default, tracker
        return previous


def track(*, model: str | None, provider: str | None = None, **fields: Any) -> Tracked:
    """`Tracker.track` on the shared default, as it is when the call begins.

    Example:
        >>> @tokentrail.track(model="my-model", call_type="summarization")
        ... def summarize(text): ...
    """
    return Tracked(get_tracker, {"model": model, "provider": provider, **fields})


def _after_fork_in_child() -> None:
    global _default_lock
    _default_lock = threading.RLock()
    for tracker in list(_trackers):
        tracker._live.after_fork()
        tracker._tools.after_fork()


os.register_at_fork(after_in_child=_after_fork_in_child)
