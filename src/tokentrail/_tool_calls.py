"""Tool calls: the half of a tracker that those write to who run a model's tools."""

from __future__ import annotations

import asyncio
import logging
import threading
import time
import traceback
from collections import OrderedDict
from datetime import datetime
from types import TracebackType
from typing import Any, Final

from tokentrail._context import current_context
from tokentrail._fields import NEIGHBOURS, describe_error, is_timeout, to_columns
from tokentrail._guard import guarded
from tokentrail._health import Health
from tokentrail._live import CLOSED_KEPT
from tokentrail._neighbours import INHERITED, TOOL_CALL
from tokentrail._recorder import Recorder
from tokentrail._records import FINAL, PROVISIONAL, START, Record, new_id, now_us
from tokentrail._redact import clean_content, clean_text
from tokentrail._settings import Settings

CONTENT_KEPT: Final = 20_000
"""Characters of arguments, results and messages that are kept, while capture is on."""
_CONTEXT: Final = (*INHERITED, "parent_id", "message_id", "tags", "attributes")


class ToolRecorder(Recorder):
    """A recorder that takes tool calls too. No method raises into its caller or waits for a database."""

    def __init__(self, settings: Settings, health: Health, logger: logging.Logger) -> None:
        self._tools = RunningTools(settings.max_active)
        self._guard_tool = guarded(health, "tracker.tool")
        super().__init__(settings, health, logger)

    def start_tool(
        self,
        name: str | None,
        *,
        arguments: object = None,
        tool_source: str | None = None,
        parent_id: str | None = None,
        message_id: str | None = None,
        tool_call_id: str | None = None,
        **fields: Any,
    ) -> str:
        """Say that a tool begins to work. If the process dies first, the tool call is `interrupted`.

        For whom it works is told by `context()`, else by its message, else by the call that asked for it.

        Args:
            name: of the tool.
            arguments: what it is given; stored only if `capture` says so, cut at 20,000 characters.
            tool_source: where it comes from: `native`, `plugin`, `mcp`, `skill` or a word of your own.
            parent_id: id of the call that asked for it.
            message_id: id of the message that it is done for.
            tool_call_id: the model's own name for this tool call.
            fields: further columns of `ToolCall`; a name that is none is kept under `attributes`.

        Returns:
            The id of the tool call.
        """
        now = now_us()
        call_id = new_id(now)
        if not self._enabled:
            return call_id
        with self._guard_tool:
            fields.update(
                tool_name=name,
                tool_source=tool_source,
                parent_id=parent_id,
                message_id=message_id,
                tool_call_id=tool_call_id,
            )
            record = self._beside(TOOL_CALL, fields)
            record.update(id=call_id, finality=START, started_at=now)
            self._keep_content(record, "arguments", arguments)
            evicted = self._tools.start(record, time.perf_counter_ns())
            self._writer.note_start(record)
            if evicted is not None:
                self._end_tool(evicted, {"status": "abandoned"}, PROVISIONAL)
        return call_id

    def finish_tool(self, tool_id: str, *, result: object = None, **fields: Any) -> None:
        """Say that a tool is done; as a success, unless `status=` says otherwise. The first end counts.

        Args:
            tool_id: what `start_tool` returned.
            result: what it gave back; stored only if `capture` says so, cut at 20,000 characters.
            fields: further columns of `ToolCall`; `duration_ms` overrides the measured one.
        """
        self._end_tool(tool_id, {"status": "success", **fields}, FINAL, result)

    def fail_tool(self, tool_id: str, error: BaseException | str, **fields: Any) -> None:
        """Say that a tool has failed; an exception that is a timeout gives the status `timeout`."""
        status = "timeout" if is_timeout(error) else "error"
        self._end_tool(tool_id, {"status": status, **self._described(error), **fields}, FINAL)

    def cancel_tool(self, tool_id: str, **fields: Any) -> None:
        """Say that the caller gave a tool up."""
        self._end_tool(tool_id, {"status": "cancelled", **fields}, FINAL)

    def track_tool(self, name: str | None, **fields: Any) -> TrackedTool:
        """A context manager, sync and async, around the work of a tool; takes what `start_tool` takes.

        Example:
            >>> with tracker.track_tool("search", arguments={"q": "weather"}) as tool:
            ...     tool.result(search("weather"))
        """
        return TrackedTool(self, {"name": name, **fields})

    def record_tool_call(
        self,
        name: str | None,
        *,
        status: str = "success",
        arguments: object = None,
        result: object = None,
        error: BaseException | str | None = None,
        started_at: datetime | None = None,
        ended_at: datetime | None = None,
        **fields: Any,
    ) -> str:
        """Record a tool call in one step, after it was made.

        Args:
            name: of the tool.
            status: one of the six; `error` or `timeout` if an `error` is given.
            arguments: see `start_tool`.
            result: see `finish_tool`.
            error: why it failed.
            started_at: default now; a naive time is UTC.
            ended_at: default `started_at` plus `duration_ms`.
            fields: as for `start_tool`; `id=` makes a repeated import harmless.

        Returns:
            The id of the tool call.
        """
        now = now_us()
        call_id = str(fields.pop("id", None) or new_id(now))
        if not self._enabled:
            return call_id
        with self._guard_tool:
            if error is not None:
                status = status if status != "success" else "timeout" if is_timeout(error) else "error"
                fields = {**self._described(error), **fields}
            fields.update(tool_name=name, status=status, started_at=started_at, ended_at=ended_at)
            record = self._beside(TOOL_CALL, fields)
            record.setdefault("started_at", now)
            record.update(id=call_id, finality=FINAL, created_at=now)
            self._keep_content(record, "arguments", arguments)
            self._keep_content(record, "result", result)
            if "ended_at" in record:
                record.setdefault("duration_us", record["ended_at"] - record["started_at"])
            else:
                record["ended_at"] = record["started_at"] + record.get("duration_us", 0)
            self._writer.submit(record)
        return call_id

    # --- for all that stands beside a call -------------------------------------------------------

    def _beside(self, kind: str, fields: dict[str, Any]) -> Record:
        """A record of a kind: defaults, context, then what was said, and the running call it belongs to."""
        known = NEIGHBOURS[kind]
        record: Record = {"kind": kind, "source": "manual"}
        record.update((name, value) for name, value in self._defaults.items() if name in known)
        context = current_context()
        inherited = {name: context[name] for name in _CONTEXT if name in context and name in known}
        for told in (inherited, fields):
            tags = record.get("tags")
            to_columns(told, record, self.health_counters, known)
            if tags and told.get("tags"):
                record["tags"] = list(dict.fromkeys([*tags, *record["tags"]]))
        parent = self._live.find(record.get("parent_id") or record.get("call_id") or "")
        if parent is not None:  # one that has ended is asked for by the store
            for name in (*INHERITED, "message_id"):
                if name in parent.record and name in known:
                    record.setdefault(name, parent.record[name])
        return record

    def _keep_content(self, record: Record, name: str, value: object) -> None:
        if value is not None and self._capture:
            record[name] = clean_content(value, CONTENT_KEPT)

    def _described(self, error: BaseException | str) -> dict[str, Any]:
        described: dict[str, Any] = {"error_type": type(error).__name__}
        with self._guard_tool:
            described = dict(describe_error(error))
            if isinstance(error, BaseException) and error.__traceback__ is not None:
                # Whole, with source lines: the program's own fault, where a call's is the provider's.
                described["stack_trace"] = clean_text("".join(traceback.format_exception(error)[-30:]))
        return described

    def _end_tool(self, tool_id: str, fields: dict[str, Any], finality: int, result: object = None) -> None:
        if not self._enabled:
            return
        with self._guard_tool:
            columns: Record = {}
            to_columns(fields, columns, self.health_counters, NEIGHBOURS[TOOL_CALL])
            self._keep_content(columns, "result", result)
            record = self._tools.end(tool_id, columns, now_us(), time.perf_counter_ns(), finality)
            if record is None:
                self.health_counters.note("duplicates")
                return
            if "tool_name" not in record:
                self.health_counters.note("orphans")
            self._writer.submit(record)

    def _sweep(self, now: int, clock: int) -> None:
        super()._sweep(now, clock)
        for tool_id in self._tools.stale(clock - self._max_age_ns):
            self._end_tool(tool_id, {"status": "abandoned"}, PROVISIONAL)

    def _starts(self) -> list[Record]:
        """Start records of everything that runs, for the journal to carry along."""
        return [*self._live.starts(), *self._tools.starts()]


class RunningTools:
    """The tool calls that have started and not ended. Every method may be called from any thread."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._lock = threading.RLock()
        self._running: OrderedDict[str, tuple[Record, int]] = OrderedDict()
        self._provisional: OrderedDict[str, tuple[Record, int]] = OrderedDict()
        self._ended: OrderedDict[str, None] = OrderedDict()

    def start(self, record: Record, clock: int) -> str | None:
        """Remember one; returns the oldest one's id if there are now too many."""
        with self._lock:
            self._running[record["id"]] = (record, clock)
            return next(iter(self._running)) if len(self._running) > self._most else None

    def end(self, tool_id: str, columns: Record, now: int, clock: int, finality: int) -> Record | None:
        """The record of an end; `None` if the tool call has ended before. An unknown one has no name."""
        with self._lock:
            if tool_id in self._ended:
                return None
            running = self._running.pop(tool_id, None) or self._provisional.pop(tool_id, None)
            if finality == FINAL or running is None:
                self._keep(self._ended, tool_id, None)
            else:
                self._keep(self._provisional, tool_id, running)
        if running is None:
            start: Record = {"kind": TOOL_CALL, "id": tool_id, "started_at": now}
        else:
            start = running[0]
            columns.setdefault("duration_us", (clock - running[1]) // 1000)
        return {**start, "ended_at": now, "created_at": now, **columns, "finality": finality}

    def stale(self, oldest: int) -> list[str]:
        """Ids of those that started before a monotonic moment."""
        with self._lock:
            return [tool_id for tool_id, (_, clock) in self._running.items() if clock < oldest]

    def starts(self) -> list[Record]:
        """Their start records, oldest first."""
        with self._lock:
            return [record for record, _ in self._running.values()]

    @staticmethod
    def _keep(shelf: OrderedDict[str, Any], tool_id: str, item: Any) -> None:
        shelf[tool_id] = item
        if len(shelf) > CLOSED_KEPT:
            shelf.popitem(last=False)

    def after_fork(self) -> None:
        """In a forked child: running tools belong to the parent."""
        self._lock = threading.RLock()
        self._running.clear()
        self._provisional.clear()


class TrackedTool:
    """One tool call inside `with tracker.track_tool(…) as tool`."""

    def __init__(self, tracker: ToolRecorder, fields: dict[str, Any]) -> None:
        self._tracker = tracker
        self._fields = fields
        self._end: dict[str, Any] = {}
        self.id = ""

    def result(self, result: object) -> None:
        """Give the result, stored only if `capture` says so."""
        self._end["result"] = result

    def set(self, **fields: Any) -> None:
        """Give further columns of the tool call."""
        self._end.update(fields)

    def __enter__(self) -> TrackedTool:
        self.id = self._tracker.start_tool(**self._fields)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if error is None:
            self._tracker.finish_tool(self.id, **self._end)
            return
        self._end.pop("result", None)
        if isinstance(error, (asyncio.CancelledError, GeneratorExit, KeyboardInterrupt)):
            self._tracker.cancel_tool(self.id, **self._end)
        else:
            self._tracker.fail_tool(self.id, error, **self._end)

    async def __aenter__(self) -> TrackedTool:
        return self.__enter__()

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.__exit__(kind, error, trace)
