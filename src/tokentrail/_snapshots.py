"""What people see of running and recent calls: plain rows, readable as mappings and as objects."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from tokentrail._live import Running
from tokentrail._records import FIELDS, Record, iso, to_us

if TYPE_CHECKING:
    from tokentrail.models import LLMCall


class Snapshot(dict[str, Any]):
    """A row of `active()`, `recent_traces()` or `recent_errors()`; `row["model"]` and `row.model` are one."""

    def __getattr__(self, name: str) -> Any:
        try:
            return self[name]
        except KeyError:
            raise AttributeError(name) from None


def _common(record: Record, duration_us: int | None) -> dict[str, Any]:
    get = record.get
    return {
        "id": record["id"],
        "request_id": get("request_id") or record["id"],
        "provider": get("provider"),
        "model": get("model"),
        "is_streaming": bool(get("is_streaming")),
        "duration_ms": None if duration_us is None else duration_us / 1000,
        "input_tokens": get("input_tokens"),
        "output_tokens": get("output_tokens"),
        "cache_read_tokens": get("cache_read_tokens"),
        "cache_creation_tokens": get("cache_creation_tokens"),
        "tool_uses": get("tool_use_count"),
        "tool_results": get("tool_result_count"),
        "tool_calls": get("tool_call_count"),
        "organization_id": get("organization_id"),
        "project_id": get("project_id"),
        "client_id": get("client_id"),
        "user_id": get("user_id"),
        "agent_id": get("agent_id"),
        "session_id": get("session_id"),
        "call_type": get("call_type"),
    }


def running_snapshot(running: Running, clock: int) -> Snapshot:
    """A running call, as of monotonic nanoseconds `clock`."""
    return _running(running.record, (clock - running.clock) // 1000)


def journal_snapshot(record: Record, now: int) -> Snapshot:
    """A call that runs in another process, from its start in the journal; `now` is the wall clock."""
    return _running(record, now - record["started_at"])


def _running(record: Record, duration_us: int) -> Snapshot:
    provider, model = record.get("provider"), record.get("model")
    return Snapshot(
        _common(record, duration_us),
        status="running",
        requested_model=record.get("requested_model"),
        resolved_model=model,
        qualified_model=f"{provider}:{model}" if provider and model else model,
        start_time=record["started_at"] / 1_000_000,
        started_at=iso(record["started_at"]),
        request_size=record.get("request_bytes"),
        message_count=record.get("message_count"),
    )


def trace_snapshot(seq: int, record: Record) -> Snapshot:
    """An ended call with its sequence number."""
    return Snapshot(
        _common(record, record.get("duration_us")),
        seq=seq,
        ts=iso(record["ended_at"] if "ended_at" in record else record["started_at"]),
        status=record["status"],
        error=record.get("error_message"),
        error_type=record.get("error_type"),
    )


def row_snapshot(call: LLMCall) -> Snapshot:
    """A row of the store as one of `recent_traces()`; the moment of its end is its sequence number."""
    ended = to_us(call.ended_at or call.started_at)
    return Snapshot(
        _common({name: getattr(call, name) for name in FIELDS}, None),
        duration_ms=call.duration_ms,
        seq=ended,
        ts=iso(ended),
        status=call.status,
        error=call.error_message,
        error_type=call.error_type,
    )
