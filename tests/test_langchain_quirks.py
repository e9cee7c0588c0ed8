"""What LangChain's integrations make of a usage, and what a row must say: their messages, our numbers."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from langchain_core.language_models.llms import BaseLLM
from langchain_core.messages import AIMessage, AIMessageChunk
from langchain_core.outputs import Generation, GenerationChunk, LLMResult

from langchain_models import Scripted, usage_of
from tokentrail import Tracker
from tokentrail.integrations.langchain import TokentrailCallbackHandler
from tokentrail.models import LLMCall


class Ledger:
    def __init__(self, tracker: Tracker) -> None:
        self.tracker = tracker
        self.config: Any = {"callbacks": [TokentrailCallbackHandler(tracker)]}

    def invoke(self, message: AIMessage, *, provider: str = "openai", output: Any = None) -> LLMCall:
        model = Scripted(answers=[message], provider=provider, llm_output=output)
        model.invoke("hello", config=self.config)
        return self.last

    def stream(self, *chunks: Any, provider: str = "openai") -> LLMCall:
        list(
            Scripted(chunks=[AIMessageChunk("word"), *chunks], provider=provider).stream(
                "x", config=self.config
            )
        )
        return self.last

    @property
    def last(self) -> LLMCall:
        assert self.tracker.flush(10)
        return self.tracker.stats.calls(limit=1).items[0]


@pytest.fixture
def ledger() -> Iterator[Ledger]:
    """A ledger in memory."""
    with Tracker("memory://") as tracker:
        yield Ledger(tracker)
        assert tracker.health()["faults"] == {}


def whole(row: LLMCall) -> tuple[int | None, int | None, int | None]:
    return row.input_tokens, row.output_tokens, row.total_tokens


def chunk(given: int, taken: int, **more: Any) -> AIMessageChunk:
    return AIMessageChunk("", usage_metadata=usage_of(given, taken, **more))


UNKNOWN = (None, None, None)

# --- invoke --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "usage",
    [
        None,
        usage_of(0, 0),
        {"input_tokens": None, "output_tokens": None, "total_tokens": None},
    ],
)
def test_nothing_reported_is_unknown(ledger: Ledger, usage: Any) -> None:
    """None, 0/0/0 and counts of None are what integrations write for "not sent": unknown, not free."""
    message = AIMessage("x")
    message.usage_metadata = usage
    row = ledger.invoke(message)
    assert (whole(row), row.usage_source, row.cost_usd) == (UNKNOWN, "missing", None)


def test_zeros_that_the_server_sent_are_told_from_none(ledger: Ledger) -> None:
    """Where the wire's own usage is at hand, its null counts stay unknown and its total stays known."""
    nulls = {"prompt_tokens": None, "completion_tokens": None, "total_tokens": None}
    row = ledger.invoke(AIMessage("x", usage_metadata=usage_of(0, 0)), output={"token_usage": nulls})
    assert whole(row) == UNKNOWN
    total = {"total_tokens": 157}
    row = ledger.invoke(AIMessage("x", usage_metadata=usage_of(0, 0, 157)), output={"token_usage": total})
    assert (row.total_tokens, row.usage_source) == (157, "provider")
    assert (row.input_tokens, row.output_tokens) == (None, None)


@pytest.mark.parametrize(
    ("usage", "right"),
    [
        (usage_of(120, 37, 0), (120, 37, 157)),  # Gemini, Mistral without a total
        (usage_of(120, 37, 136), (120, 37, 157)),  # xAI: the total that was given
        (usage_of(120, 37, 100), (120, 37, 157)),  # a total below its parts
        (usage_of("120", "37", "157"), (120, 37, 157)),  # Mistral does not check
        (usage_of(120.0, 37.0, 157.0), (120, 37, 157)),
        (usage_of(0, 37, 37), (None, 37, 37)),  # Anthropic: the input went with another event
    ],
)
def test_repaired_wholes(ledger: Ledger, usage: Any, right: Any) -> None:
    """Wrong totals and odd types are repaired by arithmetic; an input of 0 is unknown."""
    message = AIMessage("x")
    message.usage_metadata = usage
    assert whole(ledger.invoke(message)) == right


def test_flex_prefix(ledger: Ledger) -> None:
    """On OpenAI's flex and priority tiers the parts have a prefix; they are still the parts."""
    parts = {
        "input_token_details": {"flex_cache_read": 64, "flex": 56},
        "output_token_details": {"flex_reasoning": 21, "flex": 16},
    }
    row = ledger.invoke(AIMessage("x", usage_metadata=usage_of(120, 37, **parts)))
    assert (row.cache_read_tokens, row.reasoning_tokens) == (64, 21)


def test_parts_that_only_the_wire_has(ledger: Ledger) -> None:
    """langchain-mistralai drops the cached tokens; they are in its token_usage."""
    parts = {"prompt_tokens_details": {"cached_tokens": 64}}
    raw = {"prompt_tokens": 120, "completion_tokens": 37, "total_tokens": 157, **parts}
    message = AIMessage("x", usage_metadata=usage_of(120, 37))
    row = ledger.invoke(message, provider="mistral", output={"token_usage": raw})
    assert (whole(row), row.cache_read_tokens) == ((120, 37, 157), 64)


def test_counts_among_other_metadata(ledger: Ledger) -> None:
    """langchain-ollama gives up where the prompt's count is missing; the answer's count is there."""
    metadata = {"eval_count": 37, "done_reason": "stop"}
    row = ledger.invoke(AIMessage("x", response_metadata=metadata), provider="ollama")
    assert (whole(row)[:2], row.finish_reason) == ((None, 37), "stop")


def test_cost_that_the_provider_states(ledger: Ledger) -> None:
    """OpenRouter says what a call costs; LiteLLM's own table is no provider."""
    row = ledger.invoke(AIMessage("x", usage_metadata=usage_of(120, 37), response_metadata={"cost": 0.0123}))
    assert (row.cost_usd, row.cost_source) == (0.0123, "provider")
    raw = {"prompt_tokens": 120, "completion_tokens": 37, "total_tokens": 157, "cost": 0.5}
    output = {"token_usage": raw}
    row = ledger.invoke(AIMessage("x", usage_metadata=usage_of(120, 37)), output=output)
    assert (row.cost_usd, row.cost_source) == (0.5, "provider")
    metadata = {"response_cost": 99.0}
    row = ledger.invoke(
        AIMessage("x", usage_metadata=usage_of(120, 37), response_metadata=metadata), provider="litellm"
    )
    assert row.cost_source != "provider"


@pytest.mark.parametrize(
    ("metadata", "output", "model", "finish"),
    [
        ({"model_name": "m-1", "finish_reason": "stop"}, None, "m-1", "stop"),
        ({"model": "m-2", "stop_reason": "end_turn"}, None, "m-2", "end_turn"),
        ({"model_id": "m-3", "stopReason": "length"}, None, "m-3", "length"),
        ({}, {"model_name": "m-4"}, "m-4", None),
        ({"model_name": None, "finish_reason": ["odd"]}, None, "gpt-4o", None),
    ],
)
def test_names_of_the_answer(
    ledger: Ledger, metadata: Any, output: Any, model: str, finish: str | None
) -> None:
    """The model that answered and why it stopped, under each integration's own names."""
    row = ledger.invoke(AIMessage("x", response_metadata=metadata), output=output)
    assert (row.model, row.requested_model, row.finish_reason) == (model, "gpt-4o", finish)


def test_response_ids_are_the_providers(ledger: Ledger) -> None:
    """Ids that LangChain made are no response ids; those of the Responses API tell the call's type."""
    assert ledger.invoke(AIMessage("x")).response_id is None
    row = ledger.invoke(AIMessage("x", id="resp_1"))
    assert (row.response_id, row.call_type) == ("resp_1", "responses")
    assert ledger.invoke(AIMessage("x", response_metadata={"id": "gen-7"})).response_id == "gen-7"


# --- streams -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("chunks", "right"),
    [
        ([chunk(120, 37)], (120, 37, 157)),
        ([chunk(120, 0), chunk(120, 5), chunk(120, 37), chunk(120, 37)], (120, 37, 157)),  # running totals
        ([chunk(120, 37), chunk(120, 37)], (120, 37, 157)),  # the finish chunk and the last one
        ([chunk(120, 20), chunk(120, 37)], (120, 37, 157)),  # Anthropic, two deltas
        ([chunk(120, 0), chunk(0, 37)], (120, 37, 157)),  # ChatAnthropicBedrock: differences
        ([chunk(120, 24), chunk(0, 5), chunk(-10, 8)], (110, 37, 147)),  # Gemini: differences, a correction
        ([chunk(713, 1) for _ in range(5)], (713, 5, 718)),  # the prompt again, one token each
        ([chunk(0, 0), chunk(120, 37), AIMessageChunk("")], (120, 37, 157)),
        ([], UNKNOWN),
        ([chunk(0, 0)], UNKNOWN),
    ],
)
def test_usage_of_chunks_is_reconciled(ledger: Ledger, chunks: list[Any], right: Any) -> None:
    """Totals are taken, differences are added; LangChain's merge, which always adds, is not believed."""
    row = ledger.stream(*chunks)
    assert whole(row) == right
    assert row.is_streaming is True


def test_error_in_a_stream_keeps_the_usage_so_far(ledger: Ledger) -> None:
    """A stream that breaks off after a usage was reported has it."""
    with pytest.raises(ValueError, match="boom"):
        ledger.stream(chunk(120, 20), ValueError("boom sk-12345678901234567890"))
    row = ledger.last
    assert (row.status, whole(row)) == ("error", (120, 20, 140))
    assert "sk-123" not in str(row.error_message)


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (KeyboardInterrupt(), "cancelled"),
        (SystemExit(), "cancelled"),
        (TimeoutError("late"), "timeout"),
        (type("ReadTimeout", (Exception,), {})("late"), "timeout"),
        (ValueError("odd"), "error"),
    ],
)
def test_status_by_what_was_raised(ledger: Ledger, error: BaseException, status: str) -> None:
    """Who gives up is cancelled, who waits too long is a timeout, all else is an error."""
    with pytest.raises(type(error)):
        Scripted(answers=[error]).invoke("x", config=ledger.config)
    assert ledger.last.status == status


def test_empty_stream_is_an_error(ledger: Ledger) -> None:
    """A provider that answers with nothing has failed."""
    with pytest.raises(ValueError, match="No generation"):
        list(Scripted(chunks=[]).stream("x", config=ledger.config))
    assert ledger.last.status == "error"


def test_ollama_reads_a_stream_whatever_was_asked(ledger: Ledger) -> None:
    """ChatOllama gives tokens for a plain invoke; the caller did not stream."""

    class Ollama(Scripted):
        def _generate(self, messages: Any, stop: Any = None, run_manager: Any = None, **kwargs: Any) -> Any:
            for piece in self._stream(messages):
                run_manager.on_llm_new_token(piece.text, chunk=piece)
            return super()._generate(messages)

    pieces = [AIMessageChunk("a"), AIMessageChunk("b")]
    model = Ollama(provider="ollama", answers=[AIMessage("ab")], chunks=pieces)
    model.invoke("x", config=ledger.config)
    assert (ledger.last.is_streaming, ledger.last.time_to_first_token_ms is not None) == (False, True)
    list(model.stream("x", config=ledger.config))
    assert ledger.last.is_streaming is True


# --- completion models ---------------------------------------------------------------------------


class Completion(BaseLLM):
    """A completion model with counts in its generation info, as langchain-ollama has them."""

    @property
    def _llm_type(self) -> str:
        return "completion"

    def _generate(self, prompts: Any, stop: Any = None, run_manager: Any = None, **kwargs: Any) -> LLMResult:
        info = {"prompt_eval_count": 120, "eval_count": 37, "model": "llama3", "done_reason": "stop"}
        return LLMResult(generations=[[Generation(text="x", generation_info=info)] for _ in prompts])

    def _stream(
        self, prompt: str, stop: Any = None, run_manager: Any = None, **kwargs: Any
    ) -> Iterator[GenerationChunk]:
        for info in (None, {"prompt_eval_count": 120, "eval_count": 37, "model": "llama3"}):
            piece = GenerationChunk(text="x", generation_info=info)
            if run_manager:
                run_manager.on_llm_new_token("x", chunk=piece)
            yield piece


@pytest.mark.parametrize("streamed", [False, True])
def test_completion_model(ledger: Ledger, streamed: bool) -> None:
    """A completion model's counts are found in its generation info."""
    model = Completion()
    if streamed:
        list(model.stream("x", config=ledger.config))
    else:
        model.invoke("x", config=ledger.config)
    row = ledger.last
    assert (row.call_type, row.is_streaming, row.model) == ("completion", streamed, "llama3")
    assert whole(row) == (120, 37, 157)


# --- LiteLLM beneath, without its own door --------------------------------------------------------


def test_litellm_names_the_provider_before_the_model(ledger: Ledger) -> None:
    """ChatLiteLLM's provider stands before the model's name; LiteLLM itself is none."""
    answer = AIMessage("x", usage_metadata=usage_of(120, 37))
    model = Scripted(answers=[answer], provider="litellm", model="openai/gpt-4o")
    model.invoke("x", config=ledger.config)
    row = ledger.last
    assert (row.provider, row.model, row.requested_model) == ("openai", "gpt-4o", "openai/gpt-4o")
    assert row.usage_source == "provider"


@pytest.mark.parametrize(
    ("usage", "text", "is_reported"),
    [
        (usage_of(8, 6), "Hello from somewhere.", False),
        (usage_of(1311, 277), "Hello from somewhere.", True),  # more tokens than the text has bytes
        (usage_of(8, 6, input_token_details={"cache_read": 0}), "Hello from somewhere.", True),
        (usage_of(8, 6, output_token_details={"reasoning": 0}), "Hello from somewhere.", False),
        (usage_of(8, 6, output_token_details={"reasoning": 4}), "Hello from somewhere.", True),
    ],
)
def test_litellm_estimates_are_no_reports(usage: Any, text: str, is_reported: bool) -> None:
    """A usage in ChatLiteLLM's stream that LiteLLM may have estimated itself is not taken for a report."""
    for estimates in (False, True):
        with Tracker("memory://", estimate_missing=estimates) as tracker:
            last = AIMessageChunk("", usage_metadata=usage)
            row = Ledger(tracker).stream(AIMessageChunk(text), last, provider="litellm")
            warned = tracker.health()["warnings"]
        if is_reported:
            assert whole(row)[:2] == (usage["input_tokens"], usage["output_tokens"])
            assert row.usage_source == "provider"
        else:
            assert any("ChatLiteLLM" in warning for warning in warned)
            assert (whole(row) == UNKNOWN) is not estimates
            assert row.usage_source == ("estimated" if estimates else "missing")
