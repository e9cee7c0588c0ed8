"""Tracker: the street assembled. The one object that doors write to and people ask."""

from __future__ import annotations

import logging
import os
import socket
import threading
import time
import weakref
from collections.abc import Mapping
from datetime import datetime
from types import TracebackType
from typing import TYPE_CHECKING, Any, Final

from tokentrail import _health
from tokentrail._context import current_context
from tokentrail._fields import describe_error, is_timeout, to_columns
from tokentrail._health import Health
from tokentrail._journal import Journal, journal_folder
from tokentrail._live import Live, Running, put_usage
from tokentrail._normalize import normalize_usage
from tokentrail._pricing import Pricer
from tokentrail._records import FINAL, PROVISIONAL, START, WHO, Record, new_id, now_us, to_us
from tokentrail._redact import clean_payload, clean_text
from tokentrail._settings import Settings, load_settings
from tokentrail._snapshots import Snapshot, running_snapshot, trace_snapshot
from tokentrail._summary import Summary
from tokentrail._tracked import Tracked
from tokentrail._usage import MISSING, Usage
from tokentrail._writer import Writer

if TYPE_CHECKING:
    from tokentrail._stats import Stats
    from tokentrail.stores.base import Store

_CUT: Final = 4096
_FULL: Final = 16 * 1024 * 1024


class Tracker:
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
        self.health_counters = Health()
        self._logger = logger or _health.logger
        self._live = Live(self.health_counters, max_active=self.settings.max_active)
        self._summary = Summary(self.settings.summary_interval)
        self._defaults: Record = {}
        who = {name: getattr(self.settings, name, None) for name in WHO}
        to_columns({**who, "tags": self.settings.tags or None}, self._defaults, self.health_counters)
        self._enabled = self.settings.enabled
        self._max_age_ns = int(self.settings.active_max_age * 1e9)
        self._capture = {"none": 0, "cut": _CUT, "full": _FULL}[self.settings.capture]
        self._swept = 0
        self.pricer = Pricer(health=self.health_counters)
        self._writer = self._new_writer()
        self._stats: Stats | None = None
        _trackers.add(self)

    @property
    def database_url(self) -> str:
        """The absolute URL of the store."""
        return self.settings.database_url

    def _new_writer(self) -> Writer:
        url = self.settings.database_url
        journal = None
        if not _lives_in_memory(url):
            journal = Journal(
                journal_folder(self.settings.data_dir, url),
                health=self.health_counters,
                header={"process_id": str(os.getpid()), "host": socket.gethostname()},
                durability=self.settings.durability,
            )
        return Writer(
            open_store=self._open_store,
            journal=journal,
            price=self.pricer.price,
            running=self._live.starts,
            health=self.health_counters,
        )

    def _open_store(self) -> Store:
        from tokentrail.stores import open_store  # SQLAlchemy is loaded by whoever writes, not by import

        return open_store(self.settings.database_url)

    # --- the life of a call ----------------------------------------------------------------------

    def start(
        self,
        *,
        model: str | None,
        provider: str | None = None,
        call_type: str = "chat",
        is_streaming: bool = False,
        request_id: str | None = None,
        request: object = None,
        **fields: Any,
    ) -> str:
        """Say that a call begins.

        Args:
            model: the model asked for; the one that answers can be told at the end.
            provider: whose model it is.
            call_type: `chat`, `completion`, `responses`, `embedding`, `rerank`, `image`, `audio` or a word
                of your own.
            is_streaming: whether the answer comes in pieces.
            request_id: the caller's own name for the call; need not be unique.
            request: the request, stored only if `capture` says so.
            fields: columns of `LLMCall`, in public units.

        Returns:
            The id of the call: a UUIDv7 of ours.
        """
        now, clock = now_us(), time.perf_counter_ns()
        call_id = new_id(now)
        if not self._enabled:
            return call_id
        try:
            record: Record = {"id": call_id, "finality": START, "started_at": now, **self._defaults}
            context = current_context()
            if context:
                self._inherit(record, context)
            record["call_type"] = call_type
            record["is_streaming"] = bool(is_streaming)
            fields.update(model=model, provider=provider, request_id=request_id)
            self._take(record, fields)
            record.setdefault("source", "manual")
            record["seen_by"] = [record["source"]]
            if model is not None and "requested_model" not in record:
                record["requested_model"] = record["model"]
            if request is not None:
                self._payload(record, "request", request)
            evicted = self._live.start(record, clock)
            self._writer.note_start(record)
            if evicted is not None:
                self._deliver(evicted)
            if clock - self._swept > 1_000_000_000:
                self._sweep(now, clock)
        except Exception as error:
            self._fault("start", error)
        return call_id

    def progress(
        self, call_id: str, *, usage: object = None, first_token: bool = False, **fields: Any
    ) -> None:
        """Tell what is known of a running call so far; wakes those who wait for a change."""
        if not self._enabled:
            return
        try:
            columns: Record = {}
            if usage is not None:
                put_usage(columns, normalize_usage(usage))
            if fields:
                to_columns(fields, columns, self.health_counters)
            if not self._live.progress(call_id, columns, time.perf_counter_ns(), first_token=first_token):
                self.health_counters.note("late_progress")
        except Exception as error:
            self._fault("progress", error)

    def finish(
        self,
        call_id: str,
        *,
        usage: object = None,
        response: object = None,
        provisional: bool = False,
        **fields: Any,
    ) -> None:
        """Say that a call has ended; as a success, unless `status=` says otherwise.

        The first final end wins. A provisional one is replaced by it; later witnesses only fill what is
        still unknown. An id that was never started is recorded as an orphan, and counted.

        Args:
            call_id: what `start` returned.
            usage: anything `normalize_usage` takes.
            response: the answer, stored only if `capture` says so.
            provisional: whether a stronger witness may still come.
            fields: columns of `LLMCall`; `duration_ms` overrides the measured one.
        """
        self._end("finish", call_id, fields.pop("status", "success"), usage, response, provisional, fields)

    def fail(self, call_id: str, error: BaseException | str, *, usage: object = None, **fields: Any) -> None:
        """Say that a call has failed; an exception that is a timeout gives the status `timeout`."""
        try:
            described = describe_error(error)
        except Exception as fault:
            self._fault("fail", fault)
            described = {"error_type": type(error).__name__}
        status = fields.pop("status", None) or ("timeout" if is_timeout(error) else "error")
        provisional = bool(fields.pop("provisional", False))
        response = fields.pop("response", None)
        self._end("fail", call_id, status, usage, response, provisional, {**described, **fields})

    def cancel(self, call_id: str, *, usage: object = None, **fields: Any) -> None:
        """Say that the caller gave a call up."""
        provisional = bool(fields.pop("provisional", False))
        self._end("cancel", call_id, "cancelled", usage, fields.pop("response", None), provisional, fields)

    def record(
        self,
        *,
        model: str | None,
        provider: str | None = None,
        status: str = "success",
        started_at: datetime | None = None,
        ended_at: datetime | None = None,
        usage: object = None,
        **fields: Any,
    ) -> str:
        """Record a finished call in one step, e.g. for an import.

        Args:
            model: the model that answered.
            provider: whose model it is.
            status: one of the six.
            started_at: default now; a naive time is UTC.
            ended_at: default `started_at` plus `duration_ms`.
            usage: anything `normalize_usage` takes.
            fields: columns of `LLMCall`; `id=` makes a repeated import harmless.

        Returns:
            The id of the call.
        """
        now = now_us()
        begun = now if started_at is None else to_us(started_at)
        call_id = str(fields.pop("id", None) or new_id(begun))
        if not self._enabled:
            return call_id
        try:
            record: Record = {"id": call_id, "finality": FINAL, **self._defaults}
            context = current_context()
            if context:
                self._inherit(record, context)
            record.update(
                started_at=begun, created_at=now, status=status, call_type="chat", is_streaming=False
            )
            for name in ("request", "response"):
                if fields.get(name) is not None:
                    self._payload(record, name, fields.pop(name))
            to_columns({"model": model, "provider": provider, **fields}, record, self.health_counters)
            record.setdefault("source", "manual")
            record["seen_by"] = [record["source"]]
            if model is not None and "requested_model" not in record:
                record["requested_model"] = record["model"]
            self._settle_times(record, ended_at)
            self._add_usage(record, usage)
            if "cost_nanos" in record:
                record.setdefault("cost_source", "provider")
            added = self._live.add(record)
            if added is not None:
                self._deliver(added)
        except Exception as error:
            self._fault("record", error)
        return call_id

    def track(self, *, model: str | None, provider: str | None = None, **fields: Any) -> Tracked:
        """A context manager, sync and async, around a call of your own.

        Example:
            >>> with tracker.track(model="m") as call:
            ...     call.usage({"prompt_tokens": 3, "completion_tokens": 5})
        """
        return Tracked(self, {"model": model, "provider": provider, **fields})

    def join(self, call_id: str, source: str) -> None:
        """Note that another door sees a running call too."""
        if self._enabled:
            self._live.join(call_id, source)

    def warn(self, call_id: str, message: str) -> None:
        """Note that something about a call is doubtful; a warning is no error and changes no status."""
        self._live.totals.warnings += 1
        running = self._live.find(call_id)
        if running is not None:
            flags = [*running.record.get("usage_flags", ()), f"warning:{clean_text(message, 128)}"]
            self._live.progress(call_id, {"usage_flags": flags}, time.perf_counter_ns())

    def closed(self, call_id: str) -> bool:
        """Whether a final end of the call was seen lately."""
        return self._live.is_closed(call_id)

    def _end(
        self,
        where: str,
        call_id: str,
        status: str,
        usage: object,
        response: object,
        provisional: bool,
        fields: dict[str, Any],
    ) -> None:
        if not self._enabled:
            return
        now, clock = now_us(), time.perf_counter_ns()
        try:
            columns: Record = {"status": status}
            if fields:
                self._take(columns, fields)
                if "cost_nanos" in columns:
                    columns.setdefault("cost_source", "provider")
            if response is not None:
                self._payload(columns, "response", response)
            self._add_usage(columns, usage)
            finality = PROVISIONAL if provisional else FINAL
            ended = self._live.end(call_id, columns, now=now, clock=clock, finality=finality)
            if ended is not None:
                self._deliver(ended)
        except Exception as error:
            self._fault(where, error)

    @staticmethod
    def _add_usage(columns: Record, usage: object) -> None:
        normal = MISSING if usage is None else usage if type(usage) is Usage else normalize_usage(usage)
        told = columns.get("usage_source")
        put_usage(columns, normal)
        if told is not None and normal.reported:
            columns["usage_source"] = told

    def _take(self, record: Record, fields: Mapping[str, Any]) -> None:
        """Fields of a call; its tags and attributes come on top of those of its context."""
        tags, attributes = record.get("tags"), record.get("attributes")
        to_columns(fields, record, self.health_counters)
        if tags and fields.get("tags"):
            record["tags"] = list(dict.fromkeys([*tags, *record["tags"]]))
        if attributes and fields.get("attributes"):
            record["attributes"] = {**attributes, **record["attributes"]}

    def _inherit(self, record: Record, context: Mapping[str, Any]) -> None:
        self._take(record, context)

    def _payload(self, record: Record, name: str, value: object) -> None:
        if self._capture:
            text = clean_payload(value, self._capture)
            record[name] = text
            record[f"{name}_bytes"] = len(text.encode())
        elif isinstance(value, (str, bytes)):
            record[f"{name}_bytes"] = len(
                value if isinstance(value, bytes) else value.encode("utf-8", "replace")
            )

    @staticmethod
    def _settle_times(record: Record, ended_at: datetime | None) -> None:
        duration = record.get("duration_us")
        if ended_at is not None:
            record["ended_at"] = to_us(ended_at)
            record.setdefault("duration_us", record["ended_at"] - record["started_at"])
        elif duration is not None:
            record["ended_at"] = record["started_at"] + duration
        else:
            record["ended_at"] = record["started_at"]

    def _deliver(self, record: Record) -> None:
        self._writer.submit(record)
        if self._summary.interval:
            self._summary.count(record, self._logger)

    def _sweep(self, now: int, clock: int) -> None:
        self._swept = clock
        for record in self._live.sweep(now=now, clock=clock, max_age_ns=self._max_age_ns):
            self._deliver(record)

    def _fault(self, where: str, error: Exception) -> None:
        self.health_counters.fault(f"tracker.{where}", error)
        if _health.STRICT:
            raise error

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
            self._stats = Stats(source, before_question=self.flush)
        return self._stats

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


def _after_fork_in_child() -> None:
    global _default_lock
    _default_lock = threading.RLock()
    for tracker in list(_trackers):
        tracker._live.after_fork()


os.register_at_fork(after_in_child=_after_fork_in_child)
