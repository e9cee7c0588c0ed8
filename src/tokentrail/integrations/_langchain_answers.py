"""How a model run ended, as the fields of a call's end: an answer, a broken-off one, an error."""

from __future__ import annotations

from collections.abc import Mapping
from time import perf_counter_ns
from typing import Any, Final
from uuid import UUID

from tokentrail._usage import MISSING, Usage
from tokentrail.integrations import _langchain_fields as fields_of
from tokentrail.integrations._langchain_links import LIBRARY, close_link
from tokentrail.integrations._langchain_runs import Run, Runs
from tokentrail.integrations._langchain_usage import (
    IN_INNER_CALL,
    first_generation,
    is_surely_reported,
    usage_of_error,
    usage_of_result,
)

_SLOW_READER_NS: Final = 1_000_000
"""From a millisecond between the last chunk and the end on, the time is the reader's, not the provider's."""
_RUN_PREFIXES: Final = ("lc_run--", "run-")
"""How LangChain (since 1.0, and before) begins the message ids that it makes from run ids."""


def answered(runs: Runs, run: Run, response: Any) -> dict[str, Any]:
    """Fields of a run that was answered."""
    claimed = run.link is not None and close_link(run.link, run.call_id)
    fields: dict[str, Any] = {}
    output = getattr(response, "llm_output", None)
    generation = first_generation(response)
    message = getattr(generation, "message", None)
    metadata = _metadata(run, message, generation)
    _name(run, metadata, output, message, fields)
    if run.streamed:
        fields["is_streaming"] = True
        if run.provider == "ollama" and not type(generation).__name__.endswith("Chunk"):
            fields["is_streaming"] = False  # its integration reads a stream, whatever the caller asked for
        _stop_the_clock(run, fields)
    if not claimed:
        fields["usage"] = _usage(runs, run, response, message, fields)
        if _is_cache_hit(runs, run, message, output):
            fields.update(cache_hit=True, cost_usd=0.0, cost_source="free")
    if runs.tracker.settings.capture != "none":
        fields["response"] = fields_of.plain_answer(response)
    return fields


def broken(runs: Runs, run: Run, error: BaseException, response: Any) -> dict[str, Any]:
    """Fields of a run that broke off, whichever way; the usage so far among them."""
    claimed = run.link is not None and close_link(run.link, run.call_id)
    fields: dict[str, Any] = {}
    if run.first:
        _name(run, run.first, None, None, fields)
    if run.streamed:
        fields["is_streaming"] = True
    if isinstance(error, GeneratorExit):
        _stop_the_clock(run, fields)
    if not claimed:
        usage = run.usage()
        fields["usage"] = usage if usage is not None else usage_of_error(error, response)
    if runs.tracker.settings.capture != "none" and run.streamed:
        fields["response"] = fields_of.plain_answer(response)
    return fields


def _metadata(run: Run, message: Any, generation: Any) -> Mapping[str, Any]:
    metadata = (
        getattr(message, "response_metadata", None) or getattr(generation, "generation_info", None) or {}
    )
    return {**metadata, **run.first} if run.first is not None else metadata


def _name(run: Run, metadata: Mapping[str, Any], output: Any, message: Any, fields: dict[str, Any]) -> None:
    fields_of.answer_fields(output, metadata, message, fields)
    if run.provider == LIBRARY:
        fields.pop("model", None)  # the name asked for, once more
        return
    cost = fields_of.stated_cost(metadata, output)
    if cost is not None:
        fields["cost_usd"], fields["cost_source"] = cost, "provider"


def _stop_the_clock(run: Run, fields: dict[str, Any]) -> None:
    """A reader who is slow, or never comes back, does not make the provider slow."""
    if run.seen and perf_counter_ns() - run.seen > _SLOW_READER_NS:
        fields["duration_ms"] = (run.seen - run.clock) / 1e6


def _usage(runs: Runs, run: Run, response: Any, message: Any, fields: dict[str, Any]) -> Usage | None:
    usage = run.usage()
    if usage is None:
        if not run.streamed and _inner_call(runs, run, message):
            return IN_INNER_CALL
        usage = usage_of_result(response, run.provider)
    if run.provider == LIBRARY and run.streamed and usage.reported:
        text = getattr(first_generation(response), "text", "")
        if not is_surely_reported(usage, text, bool(getattr(message, "tool_calls", None))):
            return _doubtful(runs, usage, fields)
    return usage


def _doubtful(runs: Runs, usage: Usage, fields: dict[str, Any]) -> Usage:
    """A usage that LiteLLM may have estimated itself."""
    runs.health.warn(
        "langchain:litellm_estimates",
        "ChatLiteLLM streams do not say whether their usage was reported or estimated by LiteLLM. "
        "tokentrail.install() (or TokentrailLogger in litellm.callbacks) lets tokentrail see the difference.",
    )
    if runs.tracker.settings.estimate_missing:
        fields["usage_source"] = "estimated"
        return usage
    return MISSING


# --- whose answer is it --------------------------------------------------------------------------


def _is_cache_hit(runs: Runs, run: Run, message: Any, output: Any) -> bool:
    """Whether LangChain's cache answered: it marks the message, or (before 1.0) leaves another run's id."""
    usage = getattr(message, "usage_metadata", None)
    if usage is not None and usage.get("total_cost") == 0:
        return True
    if output is not None or "token_usage" not in (getattr(message, "response_metadata", None) or ()):
        return False
    other = _other_call(runs, run, message)
    return other is not None and other < run.call_id


def _inner_call(runs: Runs, run: Run, message: Any) -> bool:
    """Whether a model that this model asked has made the message; then that call has its own row."""
    other = _other_call(runs, run, message)
    return other is not None and other > run.call_id


def _other_call(runs: Runs, run: Run, message: Any) -> str | None:
    """The call that a message was made in, if it is a known one and not this one; ids sort by time."""
    name = getattr(message, "id", None)
    if type(name) is not str or run.request_id in name or not name.startswith(_RUN_PREFIXES):
        return None
    text = name.removeprefix("lc_run--").removeprefix("run-")[:36]
    try:
        return runs.closed(UUID(text).int)
    except ValueError:
        return None
