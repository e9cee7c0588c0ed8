"""Ended calls as OpenTelemetry sees them, through its SDK."""

from __future__ import annotations

import subprocess
import sys
import threading
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import pytest
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import SpanKind, StatusCode

from tokentrail import Tracker, _guard
from tokentrail.errors import MissingExtraError
from tokentrail.integrations.otel import OpenTelemetryExporter

ANSWERED = {
    "prompt_tokens": 1200,
    "completion_tokens": 300,
    "prompt_tokens_details": {"cached_tokens": 1000},
    "completion_tokens_details": {"reasoning_tokens": 0},
}


class Seen:
    """A tracker whose calls go to the SDK's in-memory exporters."""

    def __init__(self, tracker: Tracker) -> None:
        self.tracker = tracker
        self.exporter_of_spans = InMemorySpanExporter()
        self.threads: set[str] = set()
        provider = TracerProvider()
        provider.add_span_processor(SimpleSpanProcessor(self.exporter_of_spans))
        self._reader = InMemoryMetricReader()
        self.exporter = OpenTelemetryExporter(
            tracker, tracer_provider=provider, meter_provider=MeterProvider([self._reader])
        )
        tracker.on_stored(lambda rows: self.threads.add(threading.current_thread().name))

    def spans(self) -> list[ReadableSpan]:
        assert self.tracker.flush(30)
        return list(self.exporter_of_spans.get_finished_spans())

    def span(self) -> ReadableSpan:
        (span,) = self.spans()
        return span

    def points(self, name: str) -> list[Any]:
        assert self.tracker.flush(30)
        data = self._reader.get_metrics_data()
        if data is None:
            return []
        found = [m for r in data.resource_metrics for s in r.scope_metrics for m in s.metrics]
        return [point for metric in found if metric.name == name for point in metric.data.data_points]


@pytest.fixture
def seen() -> Iterator[Seen]:
    with Tracker("memory://otel", summary_interval=0, capture="full") as tracker:
        made = Seen(tracker)
        yield made
        made.exporter.close()


def test_a_call_is_a_span_with_the_names_of_the_conventions(seen: Seen) -> None:
    """Provider, models, tokens, times: as the row has them, under OpenTelemetry's names."""
    call_id = seen.tracker.record(
        model="gpt-4o-2024-08-06",
        requested_model="gpt-4o",
        provider="azure",
        usage=ANSWERED,
        started_at=datetime(2026, 3, 1, 12, tzinfo=UTC),
        duration_ms=1500,
        time_to_first_token_ms=250,
        is_streaming=True,
        finish_reason="stop",
        response_id="chatcmpl-1",
        session_id="s-1",
        user_id="alice",
    )
    span = seen.span()
    assert (span.name, span.kind, span.status.status_code) == (
        "chat gpt-4o",
        SpanKind.CLIENT,
        StatusCode.UNSET,
    )
    assert span.end_time is not None
    assert span.start_time == 1_772_366_400 * 10**9
    assert span.end_time - span.start_time == 1_500_000_000
    found = dict(span.attributes or {})
    assert found.pop("operation.cost") == pytest.approx(float(seen.tracker.get(call_id).cost_usd))
    assert found == {
        "gen_ai.operation.name": "chat",
        "gen_ai.provider.name": "azure.ai.openai",
        "gen_ai.request.model": "gpt-4o",
        "gen_ai.response.model": "gpt-4o-2024-08-06",
        "gen_ai.request.stream": True,
        "gen_ai.response.id": "chatcmpl-1",
        "gen_ai.response.finish_reasons": ("stop",),
        "gen_ai.response.time_to_first_chunk": 0.25,
        "gen_ai.conversation.id": "s-1",
        "gen_ai.usage.input_tokens": 1200,
        "gen_ai.usage.output_tokens": 300,
        "gen_ai.usage.cache_read.input_tokens": 1000,
        "gen_ai.usage.reasoning.output_tokens": 0,
        "tokentrail.call_id": call_id,
        "tokentrail.status": "success",
        "tokentrail.usage_source": "provider",
    }


def test_what_is_not_known_is_left_out(seen: Seen) -> None:
    """No usage, no provider: no attribute, no token metric, and no zero anywhere."""
    seen.tracker.record(model="house-model", duration_ms=10)
    attributes = seen.span().attributes or {}
    assert not [name for name in attributes if name.startswith("gen_ai.usage")]
    assert "gen_ai.provider.name" not in attributes
    assert "operation.cost" not in attributes
    assert seen.points("gen_ai.client.token.usage") == []
    assert len(seen.points("gen_ai.client.operation.duration")) == 1


def test_metrics(seen: Seen) -> None:
    """Tokens by type and seconds, in the buckets of the conventions; nobody's user or session."""
    for _ in range(2):
        seen.tracker.record(
            model="gpt-4o", provider="openai", usage=ANSWERED, duration_ms=1500, user_id="u", session_id="s"
        )
    seen.tracker.record(model="gpt-4o", provider="openai", usage=ANSWERED, duration_ms=1, cache_hit=True)
    tokens = {p.attributes["gen_ai.token.type"]: p for p in seen.points("gen_ai.client.token.usage")}
    assert {kind: (point.sum, point.count) for kind, point in tokens.items()} == {
        "input": (2400, 2),
        "output": (600, 2),
    }
    assert set(tokens["input"].attributes) == {
        "gen_ai.operation.name",
        "gen_ai.provider.name",
        "gen_ai.request.model",
        "gen_ai.response.model",
        "gen_ai.token.type",
    }
    assert tokens["input"].explicit_bounds[-1] == 67_108_864
    (duration,) = seen.points("gen_ai.client.operation.duration")
    assert (duration.count, duration.sum) == (3, pytest.approx(3.001))
    assert duration.explicit_bounds == pytest.approx((
        0.01, 0.02, 0.04, 0.08, 0.16, 0.32, 0.64, 1.28, 2.56, 5.12, 10.24, 20.48, 40.96, 81.92,
    ))  # fmt: skip


def test_a_failure_has_its_type_and_no_text(seen: Seen) -> None:
    """`error.type` and an error status; neither message, trace nor prompt leave the ledger."""
    call_id = seen.tracker.start(
        model="gpt-4o", provider="openai", request={"messages": [{"role": "user", "content": "my secret"}]}
    )
    seen.tracker.fail(call_id, RuntimeError("no answer to: my secret"))
    span = seen.span()
    assert span.status.status_code is StatusCode.ERROR
    assert (span.attributes or {})["error.type"] == "RuntimeError"
    assert "my secret" not in span.to_json()
    (duration,) = seen.points("gen_ai.client.operation.duration")
    assert duration.attributes["error.type"] == "RuntimeError"


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({"call_type": "embedding", "provider": "bedrock"}, ("embeddings", "aws.bedrock")),
        ({"call_type": "completion", "provider": "vertex_ai"}, ("text_completion", "gcp.vertex_ai")),
        ({"call_type": "summarization", "provider": "my-own"}, ("summarization", "my-own")),
    ],
)
def test_words_are_the_conventions_where_there_is_one(
    seen: Seen, fields: dict[str, str], expected: tuple[str, str]
) -> None:
    """Known operations and providers have OpenTelemetry's name; others keep theirs."""
    seen.tracker.record(model="m", **fields)
    found = seen.span().attributes or {}
    assert (found["gen_ai.operation.name"], found["gen_ai.provider.name"]) == expected


def test_the_callers_span_is_the_parent(seen: Seen) -> None:
    """Ids of W3C Trace Context put the call where it belongs; other ids are told as they are."""
    trace_id, span_id = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
    seen.tracker.record(model="m", trace_id=trace_id, parent_id=span_id)
    seen.tracker.record(model="m", trace_id="my trace")
    inside, alone = seen.spans()
    assert inside.parent is not None
    assert (inside.parent.trace_id, inside.parent.span_id) == (int(trace_id, 16), int(span_id, 16))
    assert alone.parent is None
    assert (alone.attributes or {})["tokentrail.trace_id"] == "my trace"


def test_a_call_is_told_once_and_never_by_its_caller(seen: Seen) -> None:
    """A stronger witness that comes later is no second call."""
    call_id = seen.tracker.start(model="m", provider="openai")
    seen.tracker.finish(call_id, usage=ANSWERED, provisional=True)
    assert len(seen.spans()) == 1
    seen.tracker.finish(call_id, usage=ANSWERED)
    seen.tracker.record(model="m")
    assert len(seen.spans()) == 2
    assert seen.threads == {"tokentrail-writer"}


def test_a_fault_is_counted_and_the_next_call_is_told(seen: Seen, monkeypatch: pytest.MonkeyPatch) -> None:
    """A provider that breaks costs the ledger nothing."""
    monkeypatch.setattr(_guard, "STRICT", False)
    broken = threading.Event()
    broken.set()
    honest = seen.exporter._tracer.start_span

    def moody(*args: Any, **kwargs: Any) -> Any:
        if broken.is_set():
            raise OSError("the collector is on fire")
        return honest(*args, **kwargs)

    monkeypatch.setattr(seen.exporter._tracer, "start_span", moody)
    seen.tracker.record(model="m")
    assert seen.spans() == []
    broken.clear()
    seen.tracker.record(model="m")
    assert len(seen.spans()) == 1
    assert seen.tracker.health()["faults"] == {"otel:OSError": 1}
    assert seen.tracker.stats.overview().calls == 2


def test_a_closed_exporter_tells_no_more(seen: Seen) -> None:
    """What was recorded before is told, what comes after is not."""
    seen.tracker.record(model="before")
    assert seen.exporter.close(30)
    seen.tracker.record(model="after")
    assert [span.name for span in seen.spans()] == ["chat before"]


def test_the_last_calls_of_a_process_are_told() -> None:
    """A script that just ends: the SDK shuts down at exit, and we are before it."""
    code = """
from opentelemetry import trace
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, ConsoleSpanExporter
from tokentrail import Tracker
from tokentrail.integrations.otel import OpenTelemetryExporter

provider = TracerProvider()
provider.add_span_processor(BatchSpanProcessor(ConsoleSpanExporter()))
trace.set_tracer_provider(provider)
tracker = Tracker("memory://")
OpenTelemetryExporter(tracker)
tracker.record(model="the-last")
"""
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60
    )
    assert "chat the-last" in done.stdout
    assert done.stderr == ""


def test_a_missing_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """The error has the line that installs it."""
    monkeypatch.delitem(sys.modules, "tokentrail.integrations.otel")
    monkeypatch.setitem(sys.modules, "opentelemetry", None)
    with pytest.raises(MissingExtraError, match=r"pip install 'tokentrail\[otel\]'"):
        __import__("tokentrail.integrations.otel")
