"""The way out to OpenTelemetry: ended calls as spans and metrics with the GenAI names (extra `otel`).

The names are of the semantic conventions for generative AI, which are still in development:
https://github.com/open-telemetry/semantic-conventions-genai. They are all in this module.
"""

from __future__ import annotations

import atexit
import re
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from typing import Any, Final

from tokentrail._guard import guarded
from tokentrail._records import FAILED, Record
from tokentrail._tracker import Tracker, get_tracker
from tokentrail.errors import needs

with needs("opentelemetry", extra="otel"):
    from opentelemetry import metrics, trace
    from opentelemetry.context import Context

__all__ = ["OpenTelemetryExporter"]

_TOKEN_BOUNDS: Final = tuple(4**power for power in range(14))
_SECOND_BOUNDS: Final = tuple(0.01 * 2**power for power in range(14))
_EXIT_WAIT: Final = 5.0
_REMEMBERED: Final = 10_000
"""Calls that are known to have been told, so that a late witness is no second call."""

_OPERATIONS: Final = {"completion": "text_completion", "embedding": "embeddings", "responses": "chat"}
_PROVIDERS: Final = {
    spelling: name
    for name, spellings in {
        "aws.bedrock": "bedrock bedrock_converse aws amazon_bedrock anthropic_bedrock",
        "azure.ai.inference": "azure_ai",
        "azure.ai.openai": "azure azure_openai azure_text",
        "gcp.gemini": "gemini google_genai",
        "gcp.gen_ai": "google",
        "gcp.vertex_ai": "vertex_ai vertex_ai_beta vertexai google_vertexai google_anthropic_vertex",
        "ibm.watsonx.ai": "watsonx watsonx_text ibm",
        "mistral_ai": "mistral mistralai codestral text-completion-codestral",
        "moonshot_ai": "moonshot moonshotai",
        "openai": "text-completion-openai openai_chat openai_responses",
        "x_ai": "xai",
    }.items()
    for spelling in spellings.split()
}
"""A provider as LiteLLM or LangChain spell it → as the conventions do. Others keep their name."""

_SPAN_ATTRIBUTES: Final = {
    "id": "tokentrail.call_id",
    "trace_id": "tokentrail.trace_id",
    "status": "tokentrail.status",
    "usage_source": "tokentrail.usage_source",
    "session_id": "gen_ai.conversation.id",
    "response_id": "gen_ai.response.id",
    "input_tokens": "gen_ai.usage.input_tokens",
    "output_tokens": "gen_ai.usage.output_tokens",
    "cache_read_tokens": "gen_ai.usage.cache_read.input_tokens",
    "cache_creation_tokens": "gen_ai.usage.cache_creation.input_tokens",
    "reasoning_tokens": "gen_ai.usage.reasoning.output_tokens",
    "input_audio_tokens": "gen_ai.usage.audio.input_tokens",
    "output_audio_tokens": "gen_ai.usage.audio.output_tokens",
}
"""Column → attribute, where the value is the same."""


class OpenTelemetryExporter:
    """Tells OpenTelemetry of every call that has reached the store: one span, and the GenAI histograms.

    It works in the writer's thread, when the rows are safe; no call waits for it. What is not known is left
    out, and so are the texts of messages and errors. A call is told once, as it first reached the store.
    Faults are counted in `tracker.health()["faults"]`, under `otel`.

    Args:
        tracker: whose calls; default the shared one, as it is now.
        tracer_provider: where spans go; default OpenTelemetry's global one.
        meter_provider: where metrics go; default OpenTelemetry's global one.

    Example:
        >>> exporter = OpenTelemetryExporter(tracker)       # after the SDK's providers are set
        >>> exporter.close()                                # at the end; also done when the process exits
    """

    def __init__(
        self,
        tracker: Tracker | None = None,
        *,
        tracer_provider: trace.TracerProvider | None = None,
        meter_provider: metrics.MeterProvider | None = None,
    ) -> None:
        self._tracker = get_tracker() if tracker is None else tracker
        self._told: OrderedDict[str, None] = OrderedDict()
        self._tracer = trace.get_tracer("tokentrail", tracer_provider=tracer_provider)
        meter = metrics.get_meter("tokentrail", meter_provider=meter_provider)
        self._tokens = meter.create_histogram(
            "gen_ai.client.token.usage",
            unit="{token}",
            description="Number of input and output tokens used.",
            explicit_bucket_boundaries_advisory=_TOKEN_BOUNDS,
        )
        self._durations = meter.create_histogram(
            "gen_ai.client.operation.duration",
            unit="s",
            description="GenAI operation duration.",
            explicit_bucket_boundaries_advisory=_SECOND_BOUNDS,
        )
        self._stop = self._tracker.on_stored(self._tell)
        # The SDK shuts down at exit too; whoever registered later goes first.
        atexit.register(self.close, _EXIT_WAIT)

    def close(self, timeout: float | None = None) -> bool:
        """Tell what is recorded so far, then stop. The providers are left as they are.

        Args:
            timeout: seconds to wait for the store; default as long as it makes progress possible.

        Returns:
            Whether everything recorded was told.
        """
        atexit.unregister(self.close)
        told = self._tracker.flush(timeout)
        self._stop()
        return told

    def _tell(self, rows: Sequence[Record]) -> None:
        for row in rows:
            if "kind" not in row and row["id"] not in self._told:
                self._remember(row["id"])
                with guarded(self._tracker.health_counters, "otel"):
                    common = _common(row)
                    self._trace(row, common)
                    self._measure(row, common)

    def _remember(self, call_id: str) -> None:
        self._told[call_id] = None
        if len(self._told) > _REMEMBERED:
            self._told.popitem(last=False)

    def _trace(self, row: Record, common: Mapping[str, str]) -> None:
        operation, model = common["gen_ai.operation.name"], common.get("gen_ai.request.model")
        span = self._tracer.start_span(
            operation if model is None else f"{operation} {model}",
            context=_parent(row),
            kind=trace.SpanKind.CLIENT,
            attributes={**common, **_details(row)},
            start_time=row["started_at"] * 1000,
        )
        if "error.type" in common:
            span.set_status(trace.StatusCode.ERROR)
        span.end(_end_us(row) * 1000)

    def _measure(self, row: Record, common: Mapping[str, str]) -> None:
        duration = row.get("duration_us")
        if duration is not None:
            self._durations.record(duration / 1_000_000, common)
        if row.get("cache_hit"):
            return  # those tokens nobody bills, and billed ones are what the histogram is of
        of_tokens = {key: value for key, value in common.items() if key != "error.type"}
        for kind in ("input", "output"):
            count = row.get(f"{kind}_tokens")
            if count is not None:
                self._tokens.record(count, {**of_tokens, "gen_ai.token.type": kind})


def _common(row: Record) -> dict[str, str]:
    """The attributes of spans and metrics alike: few values, none of them of a user."""
    call_type, provider, answered = row.get("call_type"), row.get("provider"), row.get("model")
    asked = row.get("requested_model")
    known = {
        "gen_ai.operation.name": _OPERATIONS.get(call_type, call_type) if call_type else "chat",
        "gen_ai.provider.name": _PROVIDERS.get(provider, provider) if provider else None,
        "gen_ai.request.model": answered if asked is None else asked,
        "gen_ai.response.model": answered,
        "error.type": _error_type(row),
    }
    return {key: value for key, value in known.items() if value is not None}


def _error_type(row: Record) -> str | None:
    if row.get("status") not in FAILED:
        return None
    otherwise: str = "timeout" if row["status"] == "timeout" else "_OTHER"
    found: str | None = row.get("error_type")
    return otherwise if found is None else found


def _details(row: Record) -> dict[str, Any]:
    """What a span has beyond `_common`."""
    found = {name: row[column] for column, name in _SPAN_ATTRIBUTES.items() if row.get(column) is not None}
    if row.get("finish_reason") is not None:
        found["gen_ai.response.finish_reasons"] = [row["finish_reason"]]
    if row.get("is_streaming"):
        found["gen_ai.request.stream"] = True
    if row.get("time_to_first_token_us") is not None:
        found["gen_ai.response.time_to_first_chunk"] = row["time_to_first_token_us"] / 1_000_000
    if row.get("cost_nanos") is not None:
        found["operation.cost"] = row["cost_nanos"] / 1_000_000_000
    return found


def _end_us(row: Record) -> int:
    """By the monotonic clock if it was there, for the wall clock may have been set meanwhile."""
    started, ended, duration = row["started_at"], row.get("ended_at"), row.get("duration_us")
    if duration is not None:
        return int(started + duration)
    return int(started if ended is None else max(started, ended))


def _parent(row: Record) -> Context:
    """The caller's span, if the call was told its ids in the form of W3C Trace Context; else none."""
    trace_id, span_id = row.get("trace_id"), row.get("parent_id")
    if not (_is_hex(trace_id, 32) and _is_hex(span_id, 16)):
        return Context()
    above = trace.SpanContext(
        trace_id=int(trace_id, 16),  # type: ignore[arg-type]
        span_id=int(span_id, 16),  # type: ignore[arg-type]
        is_remote=True,
        trace_flags=trace.TraceFlags(trace.TraceFlags.SAMPLED),
    )
    return trace.set_span_in_context(trace.NonRecordingSpan(above), Context())


def _is_hex(text: object, digits: int) -> bool:
    return isinstance(text, str) and re.fullmatch(rf"[0-9a-fA-F]{{{digits}}}", text) is not None
