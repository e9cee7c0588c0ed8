"""How a model run ended, as the fields of a call's end: an answer, a broken-off one, an error."""

from __future__ import annotations

from collections.abc import Mapping
from time import perf_counter_ns
from typing import Any, Final, TypeAlias
from uuid import UUID

from tokentrail._normalize import put_usage
from tokentrail._plain import plain_counts
from tokentrail._records import Record
from tokentrail._usage import MISSING, Usage
from tokentrail.integrations import _langchain_fields as fields_of
from tokentrail.integrations._langchain_links import LIBRARY, close_link
from tokentrail.integrations._langchain_run import Run
from tokentrail.integrations._langchain_runs import Runs
from tokentrail.integrations._langchain_usage import (
    IN_INNER_CALL,
    PARTS_ONLY_IN_RAW,
    is_surely_reported,
    usage_of_error,
    usage_of_message,
)

_SLOW_READER_NS: Final = 1_000_000
"""From a millisecond between the last chunk and the end on, the time is the reader's, not the provider's."""
_RUN_PREFIXES: Final = ("lc_run--", "run-")
"""How LangChain (since 1.0, and before) begins the message ids that it makes from run ids."""


_NOTHING: Final[Mapping[str, Any]] = {}
_FROM_CACHE: Final = {"cache_hit": True, "cost_nanos": 0, "cost_source": "free"}

End: TypeAlias = tuple[Record, Any]
"""How a call ends: columns, and the answer as plain data where capture asks for it."""


def answered(runs: Runs, run: Run, response: Any) -> End:
    """The end of a run that was answered."""
    generations, output = response.generations, response.llm_output
    generation = generations[0][0] if generations and generations[0] else None
    message = getattr(generation, "message", None)
    metadata = getattr(generation, "generation_info", None) if message is None else message.response_metadata
    if metadata is None:
        metadata = _NOTHING
    if run.first is not None:
        metadata = {**metadata, **run.first}
    fields = fields_of.answer_fields(output, metadata, message)
    fields["status"] = "success"
    if run.streamed:
        fields["is_streaming"] = not _is_read_as_stream(run, generation)
        _stop_the_clock(run, fields)
    if run.provider == LIBRARY:
        _put_usage_beneath(runs, run, response, generation, message, fields)
    elif not run.streamed:
        _put_usage(runs, run, response, generation, message, fields)
    else:
        put_usage(fields, run.usage() or usage_of_message(response, generation, message, run.provider))
    return fields, fields_of.plain_answer(response) if runs.captures else None


def broken(runs: Runs, run: Run, error: BaseException, response: Any) -> End:
    """The end of a run that broke off, whichever way; with the usage so far, and without a status."""
    claimed = run.link is not None and close_link(run.link, run.call_id)
    fields = fields_of.answer_fields(None, run.first, None) if run.first else {}
    if run.provider == LIBRARY:
        fields.pop("model", None)
    if run.streamed:
        fields["is_streaming"] = True
    if isinstance(error, GeneratorExit):
        _stop_the_clock(run, fields)
    put_usage(fields, None if claimed else run.usage() or usage_of_error(error, response))
    return fields, fields_of.plain_answer(response) if runs.captures and run.streamed else None


def _is_read_as_stream(run: Run, generation: Any) -> bool:
    """Whether the integration reads a stream although the caller did not ask for one (ChatOllama)."""
    return run.provider == "ollama" and not type(generation).__name__.endswith("Chunk")


def _stop_the_clock(run: Run, fields: Record) -> None:
    """A reader who is slow, or never comes back, does not make the provider slow."""
    if run.seen and perf_counter_ns() - run.seen > _SLOW_READER_NS:
        fields["duration_us"] = (run.seen - run.clock) // 1000


def _put_usage(runs: Runs, run: Run, response: Any, generation: Any, message: Any, fields: Record) -> None:
    """The usage of an answer that did not come in pieces: it may be an old one, or another call's."""
    if message is not None:
        reported, name = message.usage_metadata, message.id
        if reported is not None and reported.get("total_cost") == 0:
            fields.update(_FROM_CACHE)
        elif name is not None and run.record["request_id"] not in name:
            other = _other_call(runs, name)
            if other is not None and other > run.call_id:
                put_usage(fields, IN_INNER_CALL)
                return
            if (
                other is not None
                and response.llm_output is None
                and "token_usage" in message.response_metadata
            ):
                fields.update(_FROM_CACHE)
        if type(reported) is dict and run.provider not in PARTS_ONLY_IN_RAW:
            counts = plain_counts(reported, "langchain")
            if counts is not None:  # with a total, it is all there is
                fields.update(counts)
                fields["usage_source"] = "provider"
                return
    put_usage(fields, usage_of_message(response, generation, message, run.provider))


def _put_usage_beneath(
    runs: Runs, run: Run, response: Any, generation: Any, message: Any, fields: Record
) -> None:
    """The usage of a call that went through LiteLLM: its own door's affair, if that has taken the call."""
    fields.pop("model", None)  # the name asked for, once more
    if fields.pop("cost_source", None):
        del fields["cost_nanos"]
    if run.link is not None and close_link(run.link, run.call_id):
        put_usage(fields, None)
        return
    if not run.streamed:
        _put_usage(runs, run, response, generation, message, fields)
        return
    usage = run.usage() or usage_of_message(response, generation, message, run.provider)
    text = getattr(generation, "text", "")
    if not usage.reported or is_surely_reported(usage, text, bool(getattr(message, "tool_calls", None))):
        put_usage(fields, usage)
    else:
        _put_doubtful(runs, usage, fields)


def _put_doubtful(runs: Runs, usage: Usage, fields: Record) -> None:
    """A usage that LiteLLM may have estimated itself."""
    runs.health.warn(
        "langchain:litellm_estimates",
        "ChatLiteLLM streams do not say whether their usage was reported or estimated by LiteLLM. "
        "tokentrail.install() (or TokentrailLogger in litellm.callbacks) lets tokentrail see the difference.",
    )
    if runs.tracker.settings.estimate_missing:
        put_usage(fields, usage)
        fields["usage_source"] = "estimated"
    else:
        put_usage(fields, MISSING)


# --- whose answer is it --------------------------------------------------------------------------


def _other_call(runs: Runs, message_id: Any) -> str | None:
    """The call that a message was made in, if it is a known one.

    LangChain's cache leaves the id of the run that filled it on a message (and, since 1.0, a `total_cost` of
    0 beside its usage). The id of a younger call (ids sort by time) is that of a model which this one asked.
    """
    if type(message_id) is not str or not message_id.startswith(_RUN_PREFIXES):
        return None
    try:
        return runs.closed(UUID(message_id.removeprefix("lc_run--").removeprefix("run-")[:36]).int)
    except ValueError:
        return None
