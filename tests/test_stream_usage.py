"""StreamUsage: the chunks of one stream become one Usage, whenever and however often it is sent."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from payloads import as_object, as_pydantic, cases
from test_normalize import counts_of, flat, shapes, usages
from tokentrail._normalize import StreamUsage, normalize_usage
from tokentrail._usage import MISSING, Usage


def fed(chunks: list[Any], shape: str | None = None) -> StreamUsage:
    stream = StreamUsage(shape=shape)
    for chunk in chunks:
        stream.feed(chunk)
    return stream


@pytest.mark.parametrize("form", [lambda chunk: chunk, as_object, as_pydantic])
@pytest.mark.parametrize(
    ("events", "expected"),
    [
        pytest.param(case["input"]["events"], case["expected"]["usage"], id=case["name"])
        for case in cases("stream")
    ],
)
def test_stream_cases(events: list[dict[str, Any]], expected: dict[str, Any], form: Any) -> None:
    """Every case of stream.json, its chunks as mappings, objects and pydantic models."""
    chunks = [form(event) for event in events if not any(key.startswith("_") for key in event)]
    assert counts_of(fed(chunks).usage, expected) == expected


@pytest.mark.parametrize(
    "wrap", [lambda chunk: chunk, lambda chunk: {"usage_metadata": chunk, "content": ""}]
)
@pytest.mark.parametrize("shape", [None, "langchain"])
@pytest.mark.parametrize(
    ("chunks", "expected"),
    [
        pytest.param(case["chunks"], case["expected"], id=case["name"])
        for case in cases("usage_shapes")
        if "chunks" in case
    ],
)
def test_langchain_streams(chunks: list[Any], expected: dict[str, Any], shape: str | None, wrap: Any) -> None:
    """LangChain's chunks, differences or totals, bare or in their message, end at the right counts."""
    assert counts_of(fed([wrap(chunk) for chunk in chunks], shape).usage, expected) == expected


def lc(given: int, taken: int, **details: Any) -> dict[str, Any]:
    return {"input_tokens": given, "output_tokens": taken, "total_tokens": given + taken, **details}


@pytest.mark.parametrize(
    ("chunks", "expected"),
    [
        ([lc(120, 0), lc(0, 37)], (120, 37, 157)),
        ([lc(120, 5), lc(125, 10), lc(125, 20)], (125, 20, 145)),
        ([lc(120, 10), lc(9, 5)], (129, 15, 144)),
        ([lc(120, 37), lc(120, 0)], (120, 37, 157)),
        ([lc(0, 18), lc(0, 37)], (None, 37, 37)),
        ([lc(0, 37), lc(0, 37)], (None, 37, 37)),
        ([lc(0, 1), lc(0, 1), lc(0, 1)], (None, 3, 3)),
        ([lc(120, 37), None, "x", {}, lc(0, 0)], (120, 37, 157)),
    ],
)
def test_differences_or_totals(chunks: list[Any], expected: tuple[int, ...]) -> None:
    """What else LangChain's chunks may do: prompts grow, wholes come apart, an output vanishes."""
    assert fed(chunks).usage[:3] == expected


def test_details_are_reconciled_with_their_wholes() -> None:
    """Differences add their details; running totals keep the last; a repeated prompt keeps its own once."""
    read = {"input_token_details": {"cache_read": 64}}
    added = fed(
        [
            lc(120, 10, **read, output_token_details={"reasoning": 5}),
            lc(0, 5, output_token_details={"reasoning": 2}),
        ]
    )
    assert (added.usage.cache_read_tokens, added.usage.reasoning_tokens) == (64, 7)
    running = fed([lc(120, n, **read, output_token_details={"reasoning": n}) for n in (1, 5, 21)])
    assert (running.usage.cache_read_tokens, running.usage.reasoning_tokens) == (64, 21)
    repeated = fed([lc(120, n, **read, output_token_details={"reasoning": n}) for n in (3, 1, 5)])
    assert (repeated.usage[:4], repeated.usage.reasoning_tokens) == ((120, 9, 129, 64), 9)


def test_a_wire_that_uses_langchains_words_is_not_reconciled() -> None:
    """`usage` of a response is the provider's own: its last one stands where LangChain's would be added."""
    assert fed([{"usage": lc(120, 1)}, {"usage": lc(120, 1)}]).usage[:3] == (120, 1, 121)


@pytest.mark.parametrize("form", [lambda chunk: chunk, as_object, as_pydantic])
@pytest.mark.parametrize(
    ("chunks", "expected"),
    [pytest.param(case["chunks"], case["expected"], id=case["name"]) for case in cases("more_streams")],
)
def test_events_of_every_speaker(chunks: list[Any], expected: dict[str, Any], form: Any) -> None:
    """Each provider's stream ends at the counts that its events tell together."""
    assert counts_of(fed([form(chunk) for chunk in chunks]).usage, expected) == expected


def test_langchain_message_chunks() -> None:
    """Real message chunks: usage in `usage_metadata`, and Ollama's only in its metadata."""
    messages = pytest.importorskip("langchain_core.messages")
    outputs = pytest.importorskip("langchain_core.outputs")
    silent = messages.AIMessageChunk("Hi")
    last = messages.AIMessageChunk("", usage_metadata=lc(120, 37))
    stream = StreamUsage()
    assert [stream.feed(chunk) for chunk in (silent, last)] == [False, True]
    assert stream.usage == Usage(120, 37, 157)
    wrapped = [outputs.ChatGenerationChunk(message=chunk) for chunk in (silent, last)]
    assert fed(wrapped).usage == Usage(120, 37, 157)
    ollama = messages.AIMessageChunk("", response_metadata={"prompt_eval_count": 120, "eval_count": 37})
    assert fed([silent, ollama]).usage[:3] == (120, 37, 157)


@pytest.mark.filterwarnings("ignore")
def test_litellm_chunks() -> None:
    """LiteLLM's chunks carry usage beyond their declared fields."""
    types = pytest.importorskip("litellm.types.utils")
    silent = types.ModelResponseStream(id="x", choices=[], model="m")
    last = types.ModelResponseStream(id="x", choices=[], model="m")
    last.usage = types.Usage(prompt_tokens=120, completion_tokens=37, total_tokens=157)
    stream = StreamUsage()
    assert [stream.feed(chunk) for chunk in (silent, last, silent)] == [False, True, False]
    assert stream.usage[:3] == (120, 37, 157)


def test_a_chunk_that_raises_is_passed_over() -> None:
    """A chunk of which nothing can be read counts as one without usage."""

    class Raising:
        def __getattribute__(self, name: str) -> Any:
            raise RuntimeError(name)

    stream = StreamUsage()
    assert stream.feed(Raising()) is False
    assert stream.usage is MISSING


def test_usage_is_readable_at_any_time() -> None:
    """The usage so far can be read between chunks; our own Usage is a chunk too."""
    stream = StreamUsage()
    assert stream.usage is MISSING
    assert stream.feed(Usage(10, 1, 11)) is True
    assert stream.usage == Usage(10, 1, 11)
    assert stream.feed({"usage": {"prompt_tokens": 10, "completion_tokens": 5, "total_tokens": 15}}) is True
    assert stream.usage == Usage(10, 5, 15)


def test_a_bad_count_is_forgotten_when_a_good_one_follows() -> None:
    """Flags speak of what stands in the end, not of what a later chunk put right."""
    stream = fed([{"usage": {"prompt_tokens": "abc", "completion_tokens": 5}}])
    assert stream.usage.flags == ("derived_total", "invalid:input_tokens")
    stream.feed({"usage": {"prompt_tokens": 10, "completion_tokens": 5, "total_tokens": 15}})
    assert stream.usage == Usage(10, 5, 15)


# --- properties ----------------------------------------------------------------------------------

chunks_of_any_kind = st.lists(
    usages
    | flat.map(lambda usage: {"usage": usage})
    | st.none()
    | st.text(max_size=4)
    | st.just({"choices": []}),
    max_size=6,
)


@given(chunks_of_any_kind, shapes)
@settings(max_examples=300)
def test_never_raises(chunks: list[Any], shape: str | None) -> None:
    """Any chunks give a sound Usage, at every moment."""
    stream = StreamUsage(shape=shape)
    for chunk in chunks:
        assert type(stream.feed(chunk)) is bool
        assert all(count is None or 0 <= count < 2**63 for count in stream.usage[:8])


@given(chunks_of_any_kind, st.sampled_from(["openai", "anthropic", "gemini", None]))
@settings(max_examples=300)
def test_repeating_the_last_chunk_changes_nothing(chunks: list[Any], shape: str | None) -> None:
    """A final chunk that comes twice counts once, except where chunks carry differences."""
    stream = fed(chunks, shape)
    if stream._reconciled is not None or not chunks:
        return
    before = stream.usage
    stream.feed(chunks[-1])
    assert stream._reconciled is not None or stream.usage == before


@given(st.lists(st.tuples(st.integers(1, 50), st.integers(0, 50)), min_size=1, max_size=6).map(sorted))
def test_running_totals_end_at_the_last(pairs: list[tuple[int, int]]) -> None:
    """Running usage in every chunk of an OpenAI stream means what its last one means alone."""
    payloads = [
        {"prompt_tokens": 99, "completion_tokens": taken + 1, "total_tokens": 100 + taken}
        for _, taken in pairs
    ]
    payloads.sort(key=lambda payload: payload["completion_tokens"])
    assert fed([{"choices": [], "usage": payload} for payload in payloads]).usage == normalize_usage(
        payloads[-1]
    )
