"""Recorder: the half of a tracker that doors write to."""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping
from datetime import datetime
from typing import Any, Final

from tokentrail._context import current_context
from tokentrail._fields import describe_error, is_timeout, to_columns
from tokentrail._guard import guarded
from tokentrail._health import Health
from tokentrail._live import Live, Running
from tokentrail._normalize import put_usage
from tokentrail._records import FINAL, PROVISIONAL, START, WHO, Record, new_id, now_us, to_us
from tokentrail._redact import clean_payload, clean_text
from tokentrail._settings import Settings
from tokentrail._summary import Summary
from tokentrail._tracked import Tracked
from tokentrail._writer import Writer

_CAPTURED: Final[Mapping[str, int]] = {"none": 0, "cut": 4096, "full": 16 * 1024 * 1024}
"""Characters of a payload that are kept."""
_SWEEP_NS: Final = 1_000_000_000


class Recorder:
    """Takes what doors tell, joins ends to starts, and hands each end to the writer.

    No method here raises into its caller or waits for a database.
    """

    def __init__(self, settings: Settings, health: Health, logger: logging.Logger) -> None:
        self.health_counters = health
        self._live = Live(health, max_active=settings.max_active)
        self._summary = Summary(settings.summary_interval, logger)
        self._enabled = settings.enabled
        self._max_age_ns = int(settings.active_max_age * 1e9)
        self._capture = _CAPTURED[settings.capture]
        self._swept = 0
        self._guard_start = guarded(health, "tracker.start")
        self._guard_progress = guarded(health, "tracker.progress")
        self._guard_end = guarded(health, "tracker.end")
        self._defaults: Record = {}
        who = {name: getattr(settings, name, None) for name in WHO}
        to_columns({**who, "tags": settings.tags or None}, self._defaults, health)
        self._writer: Writer = self._new_writer(settings)

    def _new_writer(self, settings: Settings) -> Writer:
        raise NotImplementedError

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
        with self._guard_start:
            fields.update(model=model, provider=provider, call_type=call_type, request_id=request_id)
            fields["is_streaming"] = bool(is_streaming)
            return self.begin(self.describe(fields, request))
        return new_id(now_us())

    def describe(self, fields: Mapping[str, Any], request: object = None) -> Record:
        """The columns of a call that begins: what settings and context say, and on top what is given."""
        columns: Record = dict(self._defaults)
        context = current_context()
        if context:
            self._take(columns, context)
        kind = columns.get("call_type", "chat")
        self._take(columns, fields)
        if columns.get("call_type", "chat") == "chat":  # all that a door can say; a context may name its own
            columns["call_type"] = kind
        if request is not None:
            self._payload(columns, "request", request)
        return columns

    def prepare(self, columns: Record) -> Record:
        """What `begin` needs to know of a call but its moment, for doors whose calls have it in common."""
        record: Record = {"source": "manual", **self._defaults, **columns, "finality": START}
        record["seen_by"] = [record["source"]]
        if "requested_model" not in record and "model" in record:
            record["requested_model"] = record["model"]
        return record

    def begin(self, columns: Record, running: Running | None = None) -> str:
        """`start` for doors that guard their hooks and clean their fields: columns in stored units.

        The context is not looked at. The mapping becomes the tracker's own; so does `running`, a new
        object in which a door keeps more of the call than the tracker does.
        """
        now, clock = time.time_ns() // 1000, time.perf_counter_ns()
        record = columns if "finality" in columns else self.prepare(columns)
        record["id"] = call_id = new_id(now)
        record["started_at"] = now
        if running is None:
            running = Running()
        running.record, running.clock = record, clock
        if not self._enabled:
            return call_id
        evicted = self._live.start(call_id, running)
        self._writer.note_start(record)
        if evicted is not None:
            self._deliver(evicted)
        if clock - self._swept > _SWEEP_NS:
            self._sweep(now, clock)
        return call_id

    def progress(
        self, call_id: str, *, usage: object = None, first_token: bool = False, **fields: Any
    ) -> None:
        """Tell what is known of a running call so far; wakes those who wait for a change."""
        if not self._enabled:
            return
        with self._guard_progress:
            columns: Record = {}
            if usage is not None:
                put_usage(columns, usage)
            if fields:
                to_columns(fields, columns, self.health_counters)
            if not self._live.progress(call_id, columns, time.perf_counter_ns(), first_token=first_token):
                self.health_counters.note("late_progress")

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
        self._end(call_id, fields.pop("status", "success"), usage, response, provisional, fields)

    def fail(self, call_id: str, error: BaseException | str, *, usage: object = None, **fields: Any) -> None:
        """Say that a call has failed; an exception that is a timeout gives the status `timeout`."""
        described = {"error_type": type(error).__name__}
        with self._guard_end:
            described = describe_error(error)
        status = fields.pop("status", None) or ("timeout" if is_timeout(error) else "error")
        provisional = bool(fields.pop("provisional", False))
        response = fields.pop("response", None)
        self._end(call_id, status, usage, response, provisional, {**described, **fields})

    def cancel(self, call_id: str, *, usage: object = None, **fields: Any) -> None:
        """Say that the caller gave a call up."""
        provisional = bool(fields.pop("provisional", False))
        self._end(call_id, "cancelled", usage, fields.pop("response", None), provisional, fields)

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
        with self._guard_end:
            record: Record = {"id": call_id, "finality": FINAL, **self._defaults}
            context = current_context()
            if context:
                self._take(record, context)
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
            if usage is not None or "usage_source" not in record:
                put_usage(record, usage)
            if "cost_nanos" in record:
                record.setdefault("cost_source", "provider")
            added = self._live.add(record)
            if added is not None:
                self._deliver(added)
        return call_id

    def track(self, *, model: str | None, provider: str | None = None, **fields: Any) -> Tracked:
        """A context manager, sync and async, around a call of your own; or a decorator of functions.

        Example:
            >>> with tracker.track(model="m") as call:
            ...     call.usage({"prompt_tokens": 3, "completion_tokens": 5})
            >>> @tracker.track(model="m")
            ... def ask(question): ...
        """
        return Tracked(lambda: self, {"model": model, "provider": provider, **fields})

    def join(self, call_id: str, source: str) -> bool:
        """Note that another door sees a running call too; False if it does not run (any more)."""
        return self._live.join(call_id, source)

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

    def end(
        self, call_id: str, columns: Record, *, response: object = None, provisional: bool = False
    ) -> None:
        """`finish` for doors that guard their hooks and clean their fields: columns in stored units.

        `status` and usage (`put_usage`) are among them. The mapping becomes the tracker's own.
        """
        if self._enabled:
            if response is not None:
                self._payload(columns, "response", response)
            finality = PROVISIONAL if provisional else FINAL
            ended = self._live.end(call_id, columns, time.time_ns() // 1000, time.perf_counter_ns(), finality)
            if ended is not None:
                self._writer.submit(ended)
                if self._live.ended >= self._summary.due:
                    self._summary.log(self._live.ended, self._live.totals)

    def _end(
        self,
        call_id: str,
        status: str,
        usage: object,
        response: object,
        provisional: bool,
        fields: dict[str, Any],
    ) -> None:
        with self._guard_end:
            columns: Record = {"status": status}
            self._take(columns, fields)
            told = columns.get("usage_source")
            put_usage(columns, usage)
            if told is not None and columns["usage_source"] == "provider":
                columns["usage_source"] = told
            if "cost_nanos" in columns:
                columns.setdefault("cost_source", "provider")
            self.end(call_id, columns, response=response, provisional=provisional)

    def _take(self, record: Record, fields: Mapping[str, Any]) -> None:
        """Fields of a call; its tags and attributes come on top of those of its context."""
        tags, attributes = record.get("tags"), record.get("attributes")
        to_columns(fields, record, self.health_counters)
        if tags and fields.get("tags"):
            record["tags"] = list(dict.fromkeys([*tags, *record["tags"]]))
        if attributes and fields.get("attributes"):
            record["attributes"] = {**attributes, **record["attributes"]}

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
        if self._live.ended >= self._summary.due:
            self._summary.log(self._live.ended, self._live.totals)

    def _sweep(self, now: int, clock: int) -> None:
        self._swept = clock
        for record in self._live.sweep(now=now, clock=clock, max_age_ns=self._max_age_ns):
            self._deliver(record)
