"""LiteLLM's door: streams, read to their end or not, against the provider's own truth."""

from __future__ import annotations

import asyncio
import contextlib
import copy
import pickle
from typing import Any

import litellm
import pytest

from litellm_rig import CACHED, CLAUDE, CLAUDE_USAGE, HI, QUIET, Rig, agrees, provider, rig
from tokentrail.demo.provider import MISSING, FakeProvider, Reply
from tokentrail.integrations.litellm import disarm

__all__ = ["provider", "rig"]
pytestmark = QUIET


def chat(rig: Rig, **kwargs: Any) -> Any:
    """A stream of the OpenAI provider."""
    return litellm.completion(model="openai/gpt-4o", messages=HI, stream=True, **rig.openai, **kwargs)


async def achat(rig: Rig, **kwargs: Any) -> Any:
    """The same, awaited."""
    return await litellm.acompletion(model="openai/gpt-4o", messages=HI, stream=True, **rig.openai, **kwargs)


# --- read to the end -----------------------------------------------------------------------------


@pytest.mark.parametrize("where", ["last", "finish", "every", "first", "twice"])
async def test_usage_wherever_it_stands(rig: Rig, where: Any) -> None:
    """Usage is read from whichever chunks it comes in, running totals are not summed."""
    rig.provider.script("gpt-4o", Reply(usage=CACHED, usage_in=where))
    list(chat(rig))
    async for _ in await achat(rig):
        pass
    for row, sent in zip(await rig.arows(2), rig.provider.sent, strict=True):
        agrees(row, sent)
        assert (row.status, row.is_streaming, row.finish_reason) == ("success", True, "stop")
        assert row.cost_usd == 0.03


@pytest.mark.parametrize("asked", [False, True])
@pytest.mark.parametrize("usage", [MISSING, None], ids=["absent", "null"])
async def test_a_stream_without_usage_is_missing(rig: Rig, usage: Any, asked: bool) -> None:
    """LiteLLM's zeros, and its estimates where usage was asked for, are no report."""
    rig.provider.script("gpt-4o", Reply(usage=usage))
    options = {"stream_options": {"include_usage": True}} if asked else {}
    list(chat(rig, **options))
    async for _ in await achat(rig, **options):
        pass
    for row in await rig.arows(2):
        assert (row.input_tokens, row.output_tokens, row.cost_usd) == (None, None, None)
        assert (row.status, row.usage_source) == ("success", "missing")


async def test_estimates_for_those_who_want_them(provider: FakeProvider) -> None:
    """With `estimate_missing`, LiteLLM's count of the texts is stored and marked, streamed or not."""
    rig = Rig(provider, estimate_missing=True)
    provider.script("gpt-4o", Reply(usage=MISSING))
    list(chat(rig))
    async for _ in await achat(rig):
        pass
    litellm.completion(model="openai/gpt-4o", messages=HI, **rig.openai)
    await litellm.acompletion(model="openai/gpt-4o", messages=HI, **rig.openai)
    said = litellm.token_counter("gpt-4o", text=Reply().text, count_response_tokens=True)
    asked = litellm.token_counter("gpt-4o", messages=HI)
    for row in await rig.arows(4):
        assert (row.usage_source, row.input_tokens, row.output_tokens) == ("estimated", asked, said)
        assert row.cost_usd > 0
        assert "hello" not in repr(row)
    summary = rig.tracker.stats.token_statistics().summary
    assert summary.estimated_total_tokens == 4 * (asked + said)
    rig.close()


async def test_what_is_estimated_and_what_is_not(provider: FakeProvider) -> None:
    """Other kinds of calls too; neither what was reported, nor what was refused, nor a stream that died."""
    rig = Rig(provider, estimate_missing=True)
    for model in ("text-embedding-3-small", "gpt-4o"):
        provider.script(model, Reply(usage=MISSING))
    litellm.embedding(model="openai/text-embedding-3-small", input=["hello", "you"], **rig.openai)
    litellm.responses(model="openai/gpt-4o", input="hello", **rig.openai)
    stream = await achat(rig)
    await anext(stream)
    await stream.aclose()
    assert [row.usage_source for row in await rig.arows(3)] == ["estimated"] * 3
    provider.script("gpt-4o", Reply(), Reply(status=429), Reply(usage=MISSING))
    litellm.completion(model="openai/gpt-4o", messages=HI, **rig.openai)
    with pytest.raises(litellm.RateLimitError):
        litellm.completion(model="openai/gpt-4o", messages=HI, **rig.openai)
    for _ in chat(rig):
        break
    rows = (await rig.arows(6))[3:]
    assert [row.usage_source for row in rows] == ["provider", "missing", "missing"]
    rig.close()


async def test_estimates_only_where_they_are_wanted(provider: FakeProvider) -> None:
    """Of two ledgers with one call, the one that did not ask for guesses gets none."""
    rig, plain = Rig(provider, estimate_missing=True), Rig(provider)
    litellm.callbacks = [rig.logger, plain.logger]
    provider.script("gpt-4o", Reply(usage=MISSING))
    list(chat(rig))
    assert (rig.row().usage_source, plain.row().usage_source) == ("estimated", "missing")
    plain.tracker.close(5)
    rig.close()


async def test_asking_for_usage(provider: FakeProvider) -> None:
    """With `ask_for_usage`, a provider that tells only when asked is asked, and the row says so."""
    rig = Rig(provider, ask_for_usage=True)
    provider.script("gpt-4o", Reply(usage_in="asked"))
    mine: dict[str, Any] = {"temperature": 0.5, "stream_options": {"include_obfuscation": False}}
    list(chat(rig))
    async for _ in await achat(rig, **copy.deepcopy(mine)):
        pass
    list(chat(rig, **mine))
    for row, sent in zip(await rig.arows(3), provider.sent, strict=True):
        agrees(row, sent)
        assert row.usage_flags == ["usage_asked"]
    assert mine == {"temperature": 0.5, "stream_options": {"include_obfuscation": False}}
    rig.close()


def test_asking_for_usage_knows_its_place(provider: FakeProvider) -> None:
    """Not asked: who has said what he wants, who does not stream, and who cannot be asked."""
    rig = Rig(provider, ask_for_usage=True)
    provider.script("gpt-4o", Reply(usage_in="asked"))
    list(chat(rig, stream_options={"include_usage": False}))
    list(chat(rig, stream_options={"include_usage": True}))
    litellm.completion(model="openai/gpt-4o", messages=HI, **rig.openai)
    list(litellm.completion(model=CLAUDE, messages=HI, stream=True, **rig.anthropic))
    with pytest.raises(litellm.BadRequestError):
        litellm.completion(model="what-is-this", messages=HI, stream=True)
    refused, asked, *_ = rig.rows(5)
    assert (refused.usage_source, asked.usage_source) == ("missing", "provider")
    assert not any("usage_asked" in row.usage_flags for row in rig.rows(5))
    assert "stream_options" not in provider.sent[3].body
    rig.close()


async def test_anthropic_stream(rig: Rig) -> None:
    """Anthropic's start and delta events are one usage."""
    rig.provider.script("claude-haiku-4-5", Reply(usage=CLAUDE_USAGE))
    list(litellm.completion(model=CLAUDE, messages=HI, stream=True, **rig.anthropic))
    async for _ in await litellm.acompletion(model=CLAUDE, messages=HI, stream=True, **rig.anthropic):
        pass
    for row, sent in zip(await rig.arows(2), rig.provider.sent, strict=True):
        agrees(row, sent)
        assert (row.input_tokens, row.cache_read_tokens, row.cache_creation_tokens) == (2511, 700, 500)


async def test_responses_stream(rig: Rig) -> None:
    """Streams of the Responses API, of which LiteLLM tells twice, and chat over them: one row each."""
    list(litellm.responses(model="openai/gpt-4o", input="hello", stream=True, **rig.openai))
    async for _ in await litellm.aresponses(model="openai/gpt-4o", input="hello", stream=True, **rig.openai):
        pass
    list(litellm.completion(model="openai/responses/gpt-4o", messages=HI, stream=True, **rig.openai))
    rows = await rig.arows(3)
    for row, sent in zip(rows, rig.provider.sent, strict=True):
        agrees(row, sent)
    assert [row.call_type for row in rows] == ["responses", "responses", "chat"]


async def test_responses_stream_over_anthropic(rig: Rig) -> None:
    """The Responses API over Anthropic's stream is one row."""
    rig.provider.script("claude-haiku-4-5", Reply(usage=CLAUDE_USAGE))
    list(litellm.responses(model=CLAUDE, input="hello", stream=True, **rig.anthropic))
    async for _ in await litellm.aresponses(model=CLAUDE, input="hello", stream=True, **rig.anthropic):
        pass
    for row, sent in zip(await rig.arows(2), rig.provider.sent, strict=True):
        agrees(row, sent)


async def test_anthropic_messages_stream(rig: Rig) -> None:
    """`/v1/messages` streams bytes; their usage is read as they pass."""
    pytest.importorskip("litellm.proxy.pass_through_endpoints.streaming_handler", exc_type=ImportError)
    rig.provider.script("claude-haiku-4-5", Reply(usage=CLAUDE_USAGE))
    stream = await litellm.anthropic_messages(
        model=CLAUDE, messages=HI, max_tokens=9, stream=True, **rig.anthropic
    )
    async for _ in stream:
        pass
    row = await rig.arow()
    agrees(row, rig.provider.sent[0])
    assert (row.status, row.finish_reason, row.is_streaming) == ("success", "end_turn", True)
    assert row.response_id.startswith("msg_")
    assert row.time_to_first_token_ms > 0


async def test_text_completion_stream(rig: Rig) -> None:
    """Text completions hide their usage from the reader; it is found in the stream below."""
    instruct = "text-completion-openai/gpt-3.5-turbo-instruct"
    list(litellm.text_completion(model=instruct, prompt="hello", stream=True, **rig.openai))
    async for _ in await litellm.atext_completion(model=instruct, prompt="hello", stream=True, **rig.openai):
        pass
    list(litellm.text_completion(model="openai/gpt-3.5-turbo", prompt="hello", stream=True, **rig.openai))
    rows = await rig.arows(3)
    for row, sent in zip(rows, rig.provider.sent, strict=True):
        agrees(row, sent)
    assert {row.call_type for row in rows} == {"completion"}


def test_time_to_first_token(rig: Rig) -> None:
    """The first token is the first piece of the answer, and comes before the end."""
    rig.provider.script("gpt-4o", Reply(pace=0.02, chunks=5))
    list(chat(rig))
    row = rig.row()
    assert 0 < row.time_to_first_token_ms < row.duration_ms - 40


def test_a_stream_stays_its_own_iterator(rig: Rig) -> None:
    """What the caller gets is what LiteLLM made."""
    stream = chat(rig)
    assert iter(stream) is stream
    assert type(stream) is litellm.CustomStreamWrapper
    list(stream)
    rig.row()


def test_streams_and_logging_objects_can_be_copied(rig: Rig) -> None:
    """What we keep on a stream survives copying and pickling, and a copy ends no call."""
    stream = chat(rig)
    token = vars(stream)["_tokentrail_token"]
    assert copy.deepcopy(token) is None
    assert pickle.loads(pickle.dumps(token)) is None
    assert copy.deepcopy(token.attempts) == [None]
    list(stream)
    agrees(rig.row(), rig.provider.sent[0])


# --- not read to the end -------------------------------------------------------------------------


async def test_break_and_drop(rig: Rig) -> None:
    """A stream that its reader leaves is `abandoned`, with the usage told so far."""
    rig.provider.script("gpt-4o", Reply(usage=CACHED, usage_in="every", chunks=50))
    for _ in chat(rig):
        break
    async for _ in await achat(rig):
        break
    for row in await rig.arows(2):
        assert (row.status, row.input_tokens, row.finish_reason) == ("abandoned", 10_000, None)
        assert 0 < row.output_tokens < 1_000


async def test_exception_in_the_loop(rig: Rig) -> None:
    """A reader that fails leaves an abandoned stream; the exception is its own."""

    def read() -> None:
        for _ in chat(rig):
            raise ZeroDivisionError

    async def aread() -> None:
        async for _ in await achat(rig):
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        read()
    with pytest.raises(ZeroDivisionError):
        await aread()
    assert [row.status for row in await rig.arows(2)] == ["abandoned"] * 2


async def test_never_read(rig: Rig) -> None:
    """A stream that nobody reads is abandoned when it is dropped; what it cost is unknown."""
    chat(rig)
    await achat(rig)
    rows = await rig.arows(2)
    assert [(row.status, row.usage_source) for row in rows] == [("abandoned", "missing")] * 2


async def test_aclose_is_cancelled(rig: Rig) -> None:
    """A reader that closes its stream says so."""
    stream = await achat(rig)
    await anext(stream)
    await stream.aclose()
    assert (await rig.arow()).status == "cancelled"


async def test_stopping_at_the_finish_reason_is_success(rig: Rig) -> None:
    """Whoever has read the finish reason has the answer; the usage chunk after it was never read."""
    for chunk in chat(rig):
        if chunk.choices[0].finish_reason:
            break
    async for chunk in await achat(rig):
        if chunk.choices[0].finish_reason:
            break
    rows = await rig.arows(2)
    assert [row.status for row in rows] == ["success"] * 2
    assert [row.usage_source for row in rows] == ["missing"] * 2


async def test_task_cancelled_mid_stream(rig: Rig) -> None:
    """A cancelled reader is `cancelled`."""
    rig.provider.script("gpt-4o", Reply(stall_after=2))
    reading = asyncio.Event()

    async def read() -> None:
        async for _ in await achat(rig):
            reading.set()

    task = asyncio.create_task(read())
    await reading.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert (await rig.arow()).status == "cancelled"


async def test_aresponses_abandoned(rig: Rig) -> None:
    """An abandoned stream of the Responses API, of which LiteLLM says nothing."""
    rig.provider.script("gpt-4o", Reply(chunks=50))
    async for _ in await litellm.aresponses(model="openai/gpt-4o", input="hi", stream=True, **rig.openai):
        break
    assert (await rig.arow()).status == "abandoned"


# --- broken --------------------------------------------------------------------------------------


async def test_cut_stream(rig: Rig) -> None:
    """A connection that breaks is an error, sync and async, with no invented counts."""
    rig.provider.script("gpt-4o", Reply(cut_after=2, usage_in="last"))
    with pytest.raises(litellm.exceptions.MidStreamFallbackError):
        list(chat(rig))
    stream = await achat(rig)
    with pytest.raises(litellm.exceptions.MidStreamFallbackError):
        async for _ in stream:
            pass
    for row in await rig.arows(2):
        assert (row.status, row.usage_source) == ("error", "missing")
        assert row.error_type != "MidStreamFallbackError"


async def test_cut_after_usage_keeps_the_usage(rig: Rig) -> None:
    """What was told before the cut is kept; LiteLLM says 0/0/0 of it."""
    rig.provider.script("gpt-4o", Reply(cut_after=2, usage=CACHED, usage_in="first"))
    with pytest.raises(litellm.exceptions.MidStreamFallbackError):
        list(chat(rig))
    row = rig.row()
    assert row.status == "error"
    agrees(row, rig.provider.sent[0])


async def test_error_event_in_the_stream(rig: Rig) -> None:
    """An error that the provider writes into its stream is an error."""
    rig.provider.script("gpt-4o", Reply(error_after=2))
    with pytest.raises(litellm.exceptions.MidStreamFallbackError):
        list(chat(rig))
    stream = await achat(rig)
    with pytest.raises(litellm.exceptions.MidStreamFallbackError):
        async for _ in stream:
            pass
    assert [row.status for row in await rig.arows(2)] == ["error"] * 2


def test_stalled_stream_is_a_timeout(rig: Rig) -> None:
    """A stream that falls silent for too long is a `timeout`."""
    rig.provider.script("gpt-4o", Reply(stall_after=2))
    with pytest.raises((litellm.exceptions.MidStreamFallbackError, litellm.Timeout)):
        list(chat(rig, timeout=0.3))
    assert rig.row().status == "timeout"


def test_a_stream_that_just_ends_was_truncated(rig: Rig) -> None:
    """No finish reason and no usage: the answer is not whole, although LiteLLM raised nothing until 1.110."""
    part = 'data: {"id":"c","object":"chat.completion.chunk","created":1,"model":"gpt-4o","choices":[{"index":0,"delta":{"content":"hel"},"finish_reason":null}]}\n\n'  # noqa: E501
    rig.provider.script(
        "gpt-4o", Reply(body=part + "data: [DONE]\n\n", headers={"content-type": "text/event-stream"})
    )
    with contextlib.suppress(litellm.exceptions.MidStreamFallbackError):
        list(chat(rig))
    row = rig.row()
    assert row.status == "error"
    assert row.error_type in ("StreamTruncated", "APIConnectionError")


# --- and afterwards ------------------------------------------------------------------------------


def test_a_stream_that_outlives_the_door(rig: Rig) -> None:
    """A stream that is being read when the door is taken out still ends in the ledger."""
    stream = chat(rig)
    next(stream)
    assert disarm() == 1
    list(stream)
    agrees(rig.row(), rig.provider.sent[0])
    assert "__tokentrail" not in repr(vars(litellm.CustomStreamWrapper))
    assert litellm.CustomStreamWrapper.__next__.__module__ == "litellm.litellm_core_utils.streaming_handler"
    assert not hasattr(litellm.CustomStreamWrapper.__next__, "__wrapped__")


async def test_anthropic_messages_left_half_read(rig: Rig) -> None:
    """A byte stream that is dropped is abandoned, with the input that its first event told."""
    pytest.importorskip("litellm.proxy.pass_through_endpoints.streaming_handler", exc_type=ImportError)
    rig.provider.script("claude-haiku-4-5", Reply(usage=CLAUDE_USAGE, chunks=50, pace=0.01))
    stream = await litellm.anthropic_messages(
        model=CLAUDE, messages=HI, max_tokens=9, stream=True, **rig.anthropic
    )
    async for chunk in stream:
        if b"content_block_delta" in chunk:
            break
    del stream
    row = await rig.arow()
    assert (row.status, row.cache_read_tokens) == ("abandoned", 700)


async def test_mocked_stream(rig: Rig) -> None:
    """A stream that LiteLLM makes up is a success, marked, and was not truncated."""
    list(litellm.completion(model="openai/gpt-4o", messages=HI, stream=True, mock_response="hey you"))
    stream = await litellm.acompletion(model="openai/gpt-4o", messages=HI, stream=True, mock_response="hey")
    async for _ in stream:
        pass
    rows = await rig.arows(2)
    assert [(row.status, row.attributes) for row in rows] == [("success", {"mock_response": True})] * 2


def test_provider_of_ones_own(rig: Rig) -> None:
    """A provider written by the user, whole and streamed, is recorded like any other."""

    class Mine(litellm.CustomLLM):
        def completion(self, *args: Any, **kwargs: Any) -> Any:
            return litellm.completion(model="openai/gpt-4o", messages=HI, mock_response="hey")

        def streaming(self, *args: Any, **kwargs: Any) -> Any:
            usage = {"prompt_tokens": 5, "completion_tokens": 2, "total_tokens": 7}
            part = {"index": 0, "tool_use": None, "is_finished": False, "finish_reason": "", "usage": None}
            yield {**part, "text": "hey"}
            yield {**part, "text": "", "is_finished": True, "finish_reason": "stop", "usage": usage}

    litellm.custom_provider_map = [{"provider": "mine", "custom_handler": Mine()}]
    try:
        list(litellm.completion(model="mine/model", messages=HI, stream=True))
    finally:
        litellm.custom_provider_map = []
    row = rig.row()
    assert (row.status, row.provider, row.total_tokens, row.finish_reason) == ("success", "mine", 7, "stop")
