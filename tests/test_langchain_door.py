"""LangChain's door, with real LangChain models against the loopback provider: each row says what was sent."""

from __future__ import annotations

import asyncio
import contextlib
import copy
import gc
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import aclosing
from typing import Any
from uuid import uuid4

import pytest
from langchain_core.caches import InMemoryCache
from langchain_core.callbacks import BaseCallbackHandler
from langchain_core.messages import AIMessage, AIMessageChunk, HumanMessage, ToolMessage
from langchain_core.runnables import RunnableLambda, RunnableParallel
from langchain_openai import ChatOpenAI, OpenAI
from pydantic import BaseModel

import tokentrail
from langchain_models import Scripted, needs_events, usage_of
from langchain_scenarios.agents import BOB
from tokentrail import Tracker
from tokentrail.demo.provider import MISSING, FakeProvider, Reply
from tokentrail.integrations.langchain import TokentrailCallbackHandler
from tokentrail.models import LLMCall

CACHED = {
    "prompt_tokens": 10_000,
    "completion_tokens": 1_000,
    "total_tokens": 11_000,
    "prompt_tokens_details": {"cached_tokens": 4_000},
    "completion_tokens_details": {"reasoning_tokens": 400},
}
TOKENS = ("input_tokens", "output_tokens", "total_tokens")


class Ledger:
    """A tracker, a handler over it, a provider, and the rows that came of it."""

    def __init__(self, provider: FakeProvider, tracker: Tracker) -> None:
        self.provider = provider
        self.tracker = tracker
        self.handler = TokentrailCallbackHandler(tracker)
        self.config: Any = {"callbacks": [self.handler]}

    def model(self, name: str = "gpt-4o", **arguments: Any) -> ChatOpenAI:
        arguments = {"max_retries": 0, "stream_usage": True, **arguments}
        return ChatOpenAI(model=name, base_url=self.provider.url + "/v1", api_key="key", **arguments)

    @property
    def rows(self) -> list[LLMCall]:
        assert self.tracker.flush(10)
        return list(reversed(self.tracker.stats.calls(limit=1000).items))

    @property
    def row(self) -> LLMCall:
        (row,) = self.rows
        return row

    def script(self, *replies: Reply, model: str = "gpt-4o") -> None:
        self.provider.script(model, *replies)

    def holds_what_was_sent(self) -> LLMCall:
        """The one row, after its tokens were compared with what the provider sent."""
        row = self.row
        (sent,) = self.provider.sent
        assert sent.counts is not None
        total = sent.counts["input_tokens"] + sent.counts["output_tokens"]
        assert counts(row) == {**sent.counts, "total_tokens": total}
        assert row.usage_source == "provider"
        return row

    async def until_running(self) -> None:
        """Wait until a call runs and its request has reached the provider."""
        await asyncio.to_thread(self.provider.wait_for, len(self.provider.sent) or 1)
        assert self.tracker.active()

    async def until(self, condition: Callable[[], object]) -> None:
        """Let the loop run until something is so."""
        async with asyncio.timeout(10):
            while not condition():
                await asyncio.sleep(0.005)

    def no_faults(self) -> None:
        health = self.tracker.health()
        assert (health["faults"], health["lost"], health["active"]) == ({}, {}, 0)


def counts(row: LLMCall) -> dict[str, int]:
    names = (*TOKENS, "cache_read_tokens", "cache_creation_tokens", "reasoning_tokens")
    return {name: value for name in names if (value := getattr(row, name)) is not None}


async def cancel(task: asyncio.Future[Any]) -> None:
    """Cancel a task and see it through."""
    task.cancel()
    await asyncio.wait([task])
    await asyncio.sleep(0)  # one turn of the loop, for the callbacks of a task that is done


@pytest.fixture
def ledger() -> Iterator[Ledger]:
    """A ledger in memory; at the end nothing runs, nothing was lost and the door had no fault of its own."""
    with FakeProvider() as provider, Tracker("memory://") as tracker:
        ledger = Ledger(provider, tracker)
        yield ledger
        provider.release()
        assert provider.faults == []
        ledger.no_faults()


# --- plain calls ---------------------------------------------------------------------------------


def test_invoke_is_a_row_with_cache_reasoning_and_the_right_price(ledger: Ledger) -> None:
    """A plain call has the tokens that were sent, with their parts inside, and costs 0.03 dollars."""
    ledger.script(Reply(usage=CACHED, model="gpt-4o-2024-08-06"))
    answer = ledger.model(temperature=0.25, max_tokens=99).invoke("hello", config=ledger.config)
    row = ledger.holds_what_was_sent()
    assert (row.cache_read_tokens, row.reasoning_tokens, row.cost_usd) == (4_000, 400, 0.03)
    assert (row.provider, row.model, row.requested_model) == ("openai", "gpt-4o-2024-08-06", "gpt-4o")
    assert (row.status, row.call_type, row.is_streaming, row.finish_reason) == (
        "success",
        "chat",
        False,
        "stop",
    )
    assert (row.source, row.seen_by) == ("langchain", ["langchain"])
    assert row.params == {"temperature": 0.25, "max_tokens": 99}
    assert row.response_id == answer.response_metadata["id"]
    assert row.api_base == ledger.provider.url.removeprefix("http://")
    assert row.message_count == 1
    assert row.run_id == row.request_id
    assert row.duration_ms is not None


async def test_ainvoke_is_the_same_row(ledger: Ledger) -> None:
    """An asynchronous call is recorded as a synchronous one."""
    ledger.script(Reply(usage=CACHED))
    await ledger.model().ainvoke("hello", config=ledger.config)
    row = ledger.holds_what_was_sent()
    assert (row.status, row.is_streaming, row.cost_usd) == ("success", False, 0.03)


def test_unknown_model_has_tokens_and_no_price(ledger: Ledger) -> None:
    """A model that nobody prices has exact tokens and a cost that is unknown, not 0."""
    ledger.model("nobody-knows-me").invoke("hello", config=ledger.config)
    row = ledger.holds_what_was_sent()
    assert (row.cost_usd, row.cost_source) == (None, "unpriced")


def test_context_metadata_and_tags_say_for_whom(ledger: Ledger) -> None:
    """`context()`, the run's metadata and its tags fill the who-fields; LangChain's own tags stay out."""
    chain = RunnableLambda(lambda text: text) | ledger.model()
    metadata = {"user_id": "u1", "session_id": "s1", "foo": object(), "tags": ["from-metadata"]}
    with tokentrail.context(client_id="c1", user_id="other", tags=["outer"]):
        chain.invoke("hello", config={**ledger.config, "metadata": metadata, "tags": ["mine"]})
    row = ledger.row
    assert (row.client_id, row.user_id, row.session_id) == ("c1", "u1", "s1")
    assert row.tags == ["outer", "from-metadata", "mine"]
    assert row.attributes == {}


def test_a_context_names_the_kind_of_a_chat(ledger: Ledger) -> None:
    """`call_type` of a context is kept: that it is a chat is all that LangChain can say of any."""
    with tokentrail.context(call_type="agent_step"):
        ledger.model().invoke("hello", config=ledger.config)
    assert ledger.row.call_type == "agent_step"


def test_bound_settings_belong_to_their_own_call(ledger: Ledger) -> None:
    """One model object called with other settings gives each row its own."""
    model = ledger.model(temperature=0.5)
    model.invoke("a", config=ledger.config)
    model.bind(temperature=0.1, seed=7).invoke("b", config=ledger.config)
    model.bind(model="gpt-4o-mini").invoke("c", config=ledger.config)
    model.invoke("d", config=ledger.config)
    rows = ledger.rows
    assert [row.params for row in rows] == [
        {"temperature": 0.5}, {"temperature": 0.1, "seed": 7}, {"temperature": 0.5}, {"temperature": 0.5},
    ]  # fmt: skip
    assert [row.requested_model for row in rows] == ["gpt-4o", "gpt-4o", "gpt-4o-mini", "gpt-4o"]


def test_conversation_sizes(ledger: Ledger) -> None:
    """Messages, tools called before and their results are counted; the answer's tool calls too."""
    ledger.script(
        Reply(tool_calls=[{"name": "look", "arguments": {"at": "it"}}, {"name": "go", "arguments": {}}])
    )
    called = AIMessage("", tool_calls=[{"name": "look", "args": {}, "id": "1"}])
    ledger.model().invoke(
        [HumanMessage("hi"), called, ToolMessage("seen", tool_call_id="1")], config=ledger.config
    )
    row = ledger.row
    assert (row.message_count, row.tool_use_count, row.tool_result_count, row.tool_call_count) == (3, 1, 1, 2)


def test_nothing_said_is_kept_unless_asked_for(ledger: Ledger) -> None:
    """Without capture no text of the conversation is anywhere in the row."""
    ledger.script(Reply(text="SECRET-ANSWER"))
    ledger.model().invoke("SECRET-QUESTION", config=ledger.config)
    assert "SECRET" not in repr(ledger.row.model_dump())


def test_capture_keeps_question_and_answer() -> None:
    """With `capture="full"` the request and the answer are kept, as plain data."""
    with FakeProvider() as provider, Tracker("memory://", capture="full") as tracker:
        ledger = Ledger(provider, tracker)
        ledger.script(Reply(text="THE-ANSWER"))
        ledger.model().invoke("THE-QUESTION", config=ledger.config)
        (trace,) = tracker._live.traces(1, None)
    assert "THE-QUESTION" in trace[1]["request"]
    assert "THE-ANSWER" in trace[1]["response"]


def test_messages_and_chunks_stay_as_they_are(ledger: Ledger) -> None:
    """What the caller gets is the same with and without the handler."""
    model = ledger.model()
    ledger.script(Reply(id="same", usage_in="every"))
    plain, watched = list(model.stream("hello")), list(model.stream("hello", config=ledger.config))
    for chunk in (*plain, *watched):
        chunk.id = None
    assert plain == watched


# --- streams -------------------------------------------------------------------------------------


@pytest.mark.parametrize("usage_in", ["last", "finish", "twice", "every", "asked"])
def test_stream_usage_wherever_it_comes(ledger: Ledger, usage_in: Any) -> None:
    """Usage once, twice or as a running total in each chunk: the row has what was sent, never a sum."""
    ledger.script(Reply(usage=CACHED, usage_in=usage_in, chunks=7))
    list(ledger.model().stream("hello", config=ledger.config))
    row = ledger.holds_what_was_sent()
    assert (row.is_streaming, row.status, row.model, row.finish_reason) == (True, "success", "gpt-4o", "stop")
    assert row.time_to_first_token_ms is not None
    assert row.duration_ms is not None
    assert row.time_to_first_token_ms <= row.duration_ms


@pytest.mark.parametrize("usage_in", ["last", "every"])
async def test_astream(ledger: Ledger, usage_in: Any) -> None:
    """An asynchronous stream is recorded as a synchronous one."""
    ledger.script(Reply(usage=CACHED, usage_in=usage_in))
    async for _ in ledger.model().astream("hello", config=ledger.config):
        pass
    assert ledger.holds_what_was_sent().is_streaming is True


def test_stream_without_usage_is_unknown_and_not_zero(ledger: Ledger) -> None:
    """Where no usage is asked for, tokens and cost are unknown, and the row says why."""
    ledger.script(Reply(usage_in="asked"))
    list(ledger.model(stream_usage=None).stream("hello", config=ledger.config))
    row = ledger.row
    assert (counts(row), row.usage_source, row.cost_usd) == ({}, "missing", None)
    assert (row.status, row.is_streaming) == ("success", True)


def test_names_are_never_joined(ledger: Ledger) -> None:
    """A server that says its model in two finish chunks does not make a `gpt-4ogpt-4o` of it."""
    first = {"finish_reason": "stop", "model_name": "gpt-4o", "id": "x1"}
    finish = AIMessageChunk("", response_metadata=first)
    chunks = [AIMessageChunk("a"), finish, finish]
    list(Scripted(chunks=chunks).stream("hello", config=ledger.config))
    row = ledger.row
    assert (row.model, row.finish_reason, row.response_id) == ("gpt-4o", "stop", "x1")


def test_first_token_is_the_first_one_with_something_in_it(ledger: Ledger) -> None:
    """Empty chunks do not count; a piece of a tool call or reasoning does."""
    piece = {"name": "look", "args": "", "id": "1", "index": 0, "type": "tool_call_chunk"}
    empty = AIMessageChunk([{"type": "text", "text": ""}])
    for chunks, speaks in (
        ([empty, AIMessageChunk("")], False),
        ([empty, AIMessageChunk("", tool_call_chunks=[piece])], True),
        ([empty, AIMessageChunk([{"type": "thinking", "thinking": "hm"}])], True),
        ([AIMessageChunk("", additional_kwargs={"reasoning_content": "hm"})], True),
    ):
        list(Scripted(chunks=chunks).stream("hello", config=ledger.config))
        assert (ledger.rows[-1].time_to_first_token_ms is not None) is speaks
        assert ledger.rows[-1].is_streaming is True


def test_time_a_reader_takes_after_the_last_chunk_is_not_the_providers(ledger: Ledger) -> None:
    """A reader who waits before asking for one more chunk does not make the call longer."""
    stream = ledger.model().stream("hello", config=ledger.config)
    for chunk in stream:
        if chunk.chunk_position == "last":
            break
    release = threading.Event()
    release.wait(0.3)
    if list(stream):
        pytest.skip("this LangChain calls a chunk the last one that is not")
    duration = ledger.row.duration_ms
    assert duration is not None
    assert duration < 300


def test_running_figures_are_visible_while_a_stream_runs(ledger: Ledger) -> None:
    """A running stream shows up among the active calls, with the usage so far."""
    ledger.script(Reply(usage_in="every", chunks=5))
    stream = ledger.model().stream("hello", config=ledger.config)
    next(stream), next(stream)
    (running,) = ledger.tracker.active()
    assert (running["is_streaming"], running["input_tokens"]) == (True, 1311)
    list(stream)
    assert ledger.tracker.active() == []


# --- who walks away ------------------------------------------------------------------------------


def test_break_and_drop_is_abandoned_with_the_usage_so_far(ledger: Ledger) -> None:
    """A dropped stream is one abandoned row with the last running total that was read."""
    ledger.script(Reply(usage_in="every", chunks=10))
    for number, _ in enumerate(ledger.model().stream("hello", config=ledger.config)):
        if number == 3:
            break
    row = ledger.row
    assert (row.status, row.is_streaming, row.input_tokens) == ("abandoned", True, 1311)
    assert row.output_tokens is not None
    assert 0 < row.output_tokens < 277
    assert row.error_type is None


def test_kept_reference_ends_when_it_is_let_go(ledger: Ledger) -> None:
    """A stream that is kept, half read, runs on; the row comes when the last reference goes."""
    kept = ledger.model().stream("hello", config=ledger.config)
    next(kept)
    assert len(ledger.tracker.active()) == 1
    del kept
    assert ledger.row.status == "abandoned"


def test_kept_reference_ends_by_age() -> None:
    """A stream that is kept for ever ends by age, provisionally, with the usage so far."""
    with FakeProvider() as provider, Tracker("memory://", active_max_age=0.01) as tracker:
        ledger = Ledger(provider, tracker)
        ledger.script(Reply(usage_in="every"))
        kept = ledger.model().stream("hello", config=ledger.config)
        next(kept), next(kept)
        deadline = time.monotonic() + 10
        while not ledger.rows and time.monotonic() < deadline:
            pass  # each look sweeps
        row = ledger.row
        assert (row.status, row.finality, row.input_tokens) == ("abandoned", "provisional", 1311)
        list(kept)
        row = ledger.row
        assert (row.status, row.finality, row.output_tokens) == ("success", "final", 277)


def test_loop_body_that_raises_is_abandoned(ledger: Ledger) -> None:
    """An exception of the reader is no error of the provider."""

    def read() -> None:
        for _ in ledger.model().stream("hello", config=ledger.config):
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        read()
    gc.collect()
    assert (ledger.row.status, ledger.row.error_type) == ("abandoned", None)


def test_reader_who_stops_at_the_usage_chunk_has_full_usage(ledger: Ledger) -> None:
    """What was read before the reader left is kept."""
    ledger.script(Reply(usage=CACHED))
    for chunk in ledger.model().stream("hello", config=ledger.config):
        if chunk.usage_metadata:
            break
    row = ledger.row
    assert (row.status, row.input_tokens, row.cache_read_tokens) == ("abandoned", 10_000, 4_000)


def test_chain_stream_closed_early_reads_on_and_succeeds(ledger: Ledger) -> None:
    """LangChain reads a chain's model stream to its end although nobody listens: the row says so."""
    chain = ledger.model() | RunnableLambda(lambda message: message.content)
    stream = chain.stream("hello", config=ledger.config)
    next(stream)
    stream.close()
    row = ledger.row
    assert (row.status, row.finality, row.input_tokens) == ("success", "final", 1311)


async def test_aclose_is_abandoned(ledger: Ledger) -> None:
    """An asynchronous stream that is closed early is one abandoned row."""
    async with aclosing(ledger.model().astream("hello", config=ledger.config)) as stream:  # type: ignore[type-var]
        async for _ in stream:
            break
    assert (ledger.row.status, ledger.row.is_streaming) == ("abandoned", True)


async def test_cancelled_task_in_astream(ledger: Ledger) -> None:
    """A cancelled task that reads a stream is a cancelled row."""
    ledger.script(Reply(stall_after=1))

    async def read() -> None:
        async for _ in ledger.model().astream("hello", config=ledger.config):
            pass

    task = asyncio.create_task(read())
    await ledger.until_running()
    await ledger.until(lambda: ledger.tracker.active()[0]["is_streaming"])  # see below, Python 3.11
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert (ledger.row.status, ledger.row.error_type) == ("cancelled", None)


async def test_cancelled_task_in_ainvoke(ledger: Ledger) -> None:
    """LangChain says nothing when `ainvoke` is cancelled; the row comes with the end of the task."""
    ledger.script(Reply(stall_after=0))
    task = asyncio.create_task(ledger.model().ainvoke("hello", config=ledger.config))
    await ledger.until_running()
    task.cancel()
    await asyncio.wait([task])
    await asyncio.sleep(0)  # one turn of the loop, for the callbacks of a task that is done
    assert (ledger.row.status, ledger.row.usage_source) == ("cancelled", "missing")
    del task


async def test_wait_for_and_timeout_of_the_caller(ledger: Ledger) -> None:
    """`wait_for` and `timeout` give a call up: one cancelled row each, while the task around goes on."""
    ledger.script(Reply(stall_after=0))
    model = ledger.model()
    # `pytest.raises` would keep the exception, and with it LangChain's frames.
    with contextlib.suppress(TimeoutError):
        await asyncio.wait_for(model.ainvoke("hello", config=ledger.config), 0.2)
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(0.2):
            await model.ainvoke("hello", config=ledger.config)
    await asyncio.sleep(0)  # the loop lets go of what it woke the task with
    gc.collect()
    assert [row.status for row in ledger.rows] == ["cancelled", "cancelled"]


async def test_cancelled_streaming_ainvoke_and_abatch(ledger: Ledger) -> None:
    """Neither an invoke that streams nor a batch leaves a call without its end."""
    ledger.script(Reply(stall_after=1))
    task = asyncio.ensure_future(ledger.model(streaming=True).ainvoke("a", config=ledger.config))
    # langchain-openai waits for each chunk with `asyncio.wait_for`, which in Python 3.11 swallows a
    # cancellation that comes together with the chunk (python/cpython#86296): the chunk must have been read.
    await asyncio.to_thread(ledger.provider.wait_for, 1)
    await ledger.until(lambda: ledger.tracker.active()[0]["is_streaming"])
    await cancel(task)
    task = asyncio.ensure_future(ledger.model().abatch(["b", "c"], config=ledger.config))
    await asyncio.to_thread(ledger.provider.wait_for, 3)
    await cancel(task)
    del task
    gc.collect()
    assert [row.status for row in ledger.rows] == ["cancelled"] * 3


async def test_cancelled_chain_and_task_group(ledger: Ledger) -> None:
    """A model inside a chain is cancelled with it; a sibling that fails cancels the others of its group."""
    ledger.script(Reply(stall_after=0))
    chain = ledger.model() | RunnableLambda(lambda message: message)

    async def fail() -> None:
        await ledger.until_running()
        raise RuntimeError

    async def together() -> None:
        async with asyncio.TaskGroup() as group:
            group.create_task(chain.ainvoke("hello", config=ledger.config))
            group.create_task(fail())

    with pytest.raises(ExceptionGroup):
        await together()
    assert ledger.row.status == "cancelled"


async def test_caller_whose_task_ends_after_a_stream_was_handed_on(ledger: Ledger) -> None:
    """A stream begun in one task and read on in another is one successful row."""
    stream = ledger.model().astream("hello", config=ledger.config)

    async def begin() -> None:
        await anext(stream)

    await asyncio.create_task(begin())
    async for _ in stream:
        pass
    assert (ledger.row.status, ledger.row.input_tokens) == ("success", 1311)


# --- what fails ----------------------------------------------------------------------------------


def test_429_is_one_error_row(ledger: Ledger) -> None:
    """A refused call is an error with its type, and without tokens."""
    ledger.script(Reply(status=429))
    with pytest.raises(Exception, match="429"):
        ledger.model().invoke("hello", config=ledger.config)
    row = ledger.row
    assert (row.status, row.usage_source, counts(row)) == ("error", "missing", {})
    assert "RateLimit" in str(row.error_type)
    assert "429" in str(row.error_message)
    assert str(row.stack_trace).splitlines()[-1].startswith('File "')


def test_client_timeout(ledger: Ledger) -> None:
    """A client that has waited long enough is a timeout, not an error."""
    ledger.script(Reply(stall_after=0))
    with pytest.raises(Exception, match="timed out"):
        ledger.model(timeout=0.2).invoke("hello", config=ledger.config)
    assert ledger.row.status == "timeout"


@pytest.mark.parametrize("failure", [{"cut_after": 2}, {"error_after": 2}])
def test_stream_that_breaks_off(ledger: Ledger, failure: dict[str, Any]) -> None:
    """A stream that the provider cuts off is an error, with the usage so far."""
    ledger.script(Reply(usage_in="every", **failure))
    with pytest.raises(Exception, match=r"."):
        list(ledger.model().stream("hello", config=ledger.config))
    row = ledger.row
    assert (row.status, row.is_streaming, row.input_tokens) == ("error", True, 1311)


def test_structured_output_that_fails_after_being_paid(ledger: Ledger) -> None:
    """An answer that was paid for and cannot be parsed is an error with its tokens."""

    class Person(BaseModel):
        name: str

    ledger.script(Reply(text='{"name": "cut of', finish_reason="length", usage=CACHED))
    with pytest.raises(Exception, match="length limit"):
        ledger.model().with_structured_output(Person, method="json_schema").invoke(
            "who", config=ledger.config
        )
    row = ledger.row
    assert (row.status, row.input_tokens, row.output_tokens) == ("error", 10_000, 1_000)


@pytest.mark.filterwarnings("ignore::UserWarning:pydantic")
def test_structured_output(ledger: Ledger) -> None:
    """An answer that is parsed is one row, not one for the model and one for the parser."""

    class Person(BaseModel):
        name: str

    ledger.script(Reply(text='{"name": "Ada"}'))
    person = (
        ledger.model()
        .with_structured_output(Person, method="json_schema")
        .invoke("who", config=ledger.config)
    )
    assert person == Person(name="Ada")
    ledger.holds_what_was_sent()


def test_retry_links_its_attempts(ledger: Ledger) -> None:
    """Each attempt of `with_retry` is a row; they share an operation and are numbered."""
    ledger.script(Reply(status=500), Reply(status=500), Reply())
    model = ledger.model().with_retry(stop_after_attempt=3, wait_exponential_jitter=False)
    model.invoke("hello", config=ledger.config)
    rows = ledger.rows
    assert [(row.status, row.attempt, row.attempt_kind) for row in rows] == [
        ("error", 1, "first"), ("error", 2, "retry"), ("success", 3, "retry"),
    ]  # fmt: skip
    assert len({row.operation_id for row in rows}) == 1
    assert rows[0].operation_id is not None


def test_retry_of_a_chain(ledger: Ledger) -> None:
    """A chain that fails after its model has answered is paid for at each attempt."""
    tries: list[int] = []

    def picky(message: Any) -> Any:
        tries.append(1)
        if len(tries) < 2:
            raise ValueError
        return message

    chain = (ledger.model() | RunnableLambda(picky)).with_retry(wait_exponential_jitter=False)
    chain.invoke("hello", config=ledger.config)
    rows = ledger.rows
    assert [(row.status, row.attempt, row.attempt_kind, row.input_tokens) for row in rows] == [
        ("success", 1, "first", 1311), ("success", 2, "retry", 1311),
    ]  # fmt: skip


@pytest.mark.parametrize("inside_a_chain", [False, True])
def test_fallbacks_keep_both_models(ledger: Ledger, inside_a_chain: bool) -> None:
    """The model that failed and the one that stood in are two rows of one operation."""
    ledger.script(Reply(status=500), model="gpt-4o-mini")
    model: Any = ledger.model("gpt-4o-mini").with_fallbacks([ledger.model()])
    if inside_a_chain:
        model = RunnableLambda(lambda text: text) | model
    model.invoke("hello", config=ledger.config)
    ledger.model().invoke("afterwards", config=ledger.config)
    first, second, afterwards = ledger.rows
    assert (first.model, first.status, first.attempt, first.attempt_kind) == (
        "gpt-4o-mini",
        "error",
        1,
        "first",
    )
    assert (second.model, second.status, second.attempt, second.attempt_kind) == (
        "gpt-4o",
        "success",
        2,
        "fallback",
    )
    assert first.operation_id == second.operation_id
    assert (afterwards.operation_id, afterwards.attempt) == (None, None)


def test_fallbacks_seen_by_two_trackers(ledger: Ledger) -> None:
    """Each tracker numbers the attempts by itself."""
    ledger.script(Reply(status=500), model="gpt-4o-mini")
    with Tracker("memory://") as other:
        config: Any = {"callbacks": [ledger.handler, TokentrailCallbackHandler(other)]}
        ledger.model("gpt-4o-mini").with_fallbacks([ledger.model()]).invoke("hello", config=config)
        assert [row.attempt for row in other.stats.calls().items] == [2, 1]
    assert [row.attempt for row in ledger.rows] == [1, 2]


async def test_async_fallbacks_and_batches(ledger: Ledger) -> None:
    """Fallbacks are numbered in async code too, and never mixed up between the calls of a batch."""
    ledger.script(Reply(status=500), model="gpt-4o-mini")
    model = ledger.model("gpt-4o-mini").with_fallbacks([ledger.model()])
    await model.ainvoke("hello", config=ledger.config)
    assert [row.attempt_kind for row in ledger.rows] == ["first", "fallback"]
    await model.abatch(["a", "b"], config=ledger.config)
    assert [row.attempt_kind for row in ledger.rows[2:]] == [None] * 4


def test_generate_with_one_bad(ledger: Ledger) -> None:
    """`generate([a, bad, c])` raises at bad: a was answered, c was never sent, and each is a row."""
    ledger.script(Reply(), Reply(status=400), Reply())
    with pytest.raises(Exception, match="400"):
        ledger.model().generate([[HumanMessage(text)] for text in "abc"], callbacks=[ledger.handler])
    assert [row.status for row in ledger.rows] == ["success", "error", "cancelled"]
    assert [row.usage_source for row in ledger.rows] == ["missing"] * 3


async def test_agenerate_with_one_bad(ledger: Ledger) -> None:
    """`agenerate` sends all and ends all, so the good ones have their tokens."""
    ledger.script(Reply(), Reply(status=400), Reply())
    with pytest.raises(Exception, match="400"):
        await ledger.model().agenerate([[HumanMessage(text)] for text in "abc"], callbacks=[ledger.handler])
    rows = ledger.rows
    assert sorted(row.status for row in rows) == ["error", "success", "success"]
    assert {row.input_tokens for row in rows if row.status == "success"} == {1311}
    assert {row.finality for row in rows} == {"final"}


# --- many at once --------------------------------------------------------------------------------


async def test_batch_abatch_and_generate(ledger: Ledger) -> None:
    """Each input of a batch is a row."""
    model = ledger.model()
    await asyncio.to_thread(model.batch, ["a", "b", "c"], config=ledger.config)
    await model.abatch(["a", "b", "c"], config=ledger.config)
    await asyncio.to_thread(
        model.generate, [[HumanMessage("a")], [HumanMessage("b")]], callbacks=[ledger.handler]
    )
    rows = ledger.rows
    assert len(rows) == len(ledger.provider.sent) == 8
    assert sum(row.total_tokens or 0 for row in rows) == 8 * 1588


def test_two_choices_are_counted_once(ledger: Ledger) -> None:
    """With n=2 each generation carries the whole usage; the row has it once, and the model's name."""
    ledger.script(Reply(n=2, model="gpt-4o-2024-08-06"))
    ledger.model(n=2).invoke("hello", config=ledger.config)
    row = ledger.holds_what_was_sent()
    assert (row.model, row.params["n"]) == ("gpt-4o-2024-08-06", 2)


def test_completion_model_and_its_batch(ledger: Ledger) -> None:
    """A completion batch is one request: its first row has all the usage, the others say where it is."""
    arguments: Any = {"base_url": ledger.provider.url + "/v1", "api_key": "key", "max_retries": 0}
    model = OpenAI(model="gpt-3.5-turbo-instruct", **arguments)
    model.invoke("hello", config=ledger.config)
    row = ledger.holds_what_was_sent()
    assert (row.call_type, row.model, row.provider) == ("completion", "gpt-3.5-turbo-instruct", "openai")
    ledger.script(Reply(n=3), model="gpt-3.5-turbo-instruct")
    model.batch(["a", "b", "c"], config=ledger.config)
    rows = ledger.rows[1:]
    assert len(ledger.provider.sent) == 2
    assert [row.input_tokens for row in rows] == [1311, None, None]
    assert ["in_first_of_batch" in row.usage_flags for row in rows] == [False, True, True]


def test_threads(ledger: Ledger) -> None:
    """One handler serves many threads at once."""
    model = ledger.model()
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda number: model.invoke(str(number), config=ledger.config), range(40)))
    assert len(ledger.rows) == 40
    assert {row.total_tokens for row in ledger.rows} == {1588}


def test_parallel_branches_and_inner_calls(ledger: Ledger) -> None:
    """Models in parallel branches and inside functions are rows of the one run that holds them."""
    model = ledger.model()
    chain = RunnableParallel(a=model, b=RunnableLambda(lambda text: model.invoke(text)))
    chain.invoke("hello", config=ledger.config)
    rows = ledger.rows
    assert len(rows) == 2
    assert len({row.run_id for row in rows}) == 1
    assert all(row.parent_id is not None and row.run_id != row.request_id for row in rows)


# --- the same event twice, the same id twice -----------------------------------------------------


@pytest.mark.parametrize("streamed", [False, True])
def test_duplicates_are_one_row(ledger: Ledger, streamed: bool) -> None:
    """The same handler twice, or two handlers over one tracker, record a call once."""
    twin = TokentrailCallbackHandler(ledger.tracker)
    config: Any = {"callbacks": [ledger.handler, ledger.handler, twin]}
    model = ledger.model(callbacks=[ledger.handler]).with_config(callbacks=[ledger.handler])
    ledger.script(Reply(usage_in="every"))
    if streamed:
        list(model.stream("hello", config=config))
    else:
        model.invoke("hello", config=config)
    ledger.holds_what_was_sent()


async def test_duplicates_in_async_code(ledger: Ledger) -> None:
    """As above, where the events come through an event loop."""
    twin = TokentrailCallbackHandler(ledger.tracker)
    config: Any = {"callbacks": [ledger.handler, ledger.handler, twin]}
    await ledger.model().with_config(callbacks=[ledger.handler]).ainvoke("hello", config=config)
    ledger.holds_what_was_sent()


def test_other_tracker_has_its_own_row(ledger: Ledger) -> None:
    """Handlers over two trackers record a call in each."""
    with Tracker("memory://") as other:
        config: Any = {"callbacks": [ledger.handler, TokentrailCallbackHandler(other)]}
        ledger.model().invoke("hello", config=config)
        assert len(other.stats.calls().items) == 1
    ledger.holds_what_was_sent()


def test_run_id_used_again_is_another_call(ledger: Ledger) -> None:
    """One config with a run id, used for two calls, makes two rows."""
    config = {**ledger.config, "run_id": uuid4()}
    model = ledger.model()
    model.invoke("a", config=config)
    model.invoke("b", config=config)
    rows = ledger.rows
    assert len(rows) == 2
    assert {row.request_id for row in rows} == {str(config["run_id"])}


def test_run_id_used_twice_at_once(ledger: Ledger) -> None:
    """Two streams with one run id that overlap are two rows."""
    config = {**ledger.config, "run_id": uuid4()}
    model = ledger.model()
    one, two = model.stream("a", config=dict(config)), model.stream("b", config=dict(config))
    next(one), next(two)
    list(one), list(two)
    rows = ledger.rows
    assert [row.status for row in rows] == ["success", "success"]
    assert [row.input_tokens for row in rows] == [1311, 1311]


def test_end_without_a_start_is_a_row(ledger: Ledger) -> None:
    """A handler that joins late, or ignores starts, still records the end, and counts it."""

    class Late(TokentrailCallbackHandler):
        ignore_chat_model = True

    late = Late(ledger.tracker)
    ledger.model().invoke("a", config={"callbacks": [late]})
    row = ledger.row
    assert (row.status, row.input_tokens, row.model) == ("success", 1311, "gpt-4o")
    ledger.script(Reply(status=429))
    with pytest.raises(Exception, match="429"):
        ledger.model().invoke("b", config={"callbacks": [late, late]})
    assert [row.status for row in ledger.rows] == ["success", "error"]
    assert ledger.tracker.health()["orphans"] == 2


# --- caches --------------------------------------------------------------------------------------


@pytest.mark.parametrize("streaming", [False, True])
def test_cache_hit_costs_nothing(ledger: Ledger, streaming: bool) -> None:
    """An answer from LangChain's cache is a row with the tokens of the answer and no cost."""
    model = ledger.model(cache=InMemoryCache(), streaming=streaming)
    for _ in range(3):
        model.invoke("hello", config=ledger.config)
    assert len(ledger.provider.sent) == 1
    rows = ledger.rows
    assert [row.cache_hit for row in rows] == [None, True, True]
    assert [(row.cost_usd, row.cost_source) for row in rows[1:]] == [(0.0, "free")] * 2
    assert [row.input_tokens for row in rows] == [1311] * 3
    assert rows[0].cost_usd


def test_cache_hit_without_usage(ledger: Ledger) -> None:
    """A hit whose first answer had no usage has none either; it is unknown, not 0."""
    ledger.script(Reply(usage=MISSING))
    model = ledger.model(cache=InMemoryCache())
    model.invoke("hello", config=ledger.config)
    model.invoke("hello", config=ledger.config)
    first, hit = ledger.rows
    assert (first.cache_hit, hit.cache_hit) == (None, True)
    assert (counts(first), counts(hit)) == ({}, {})


def test_one_message_object_returned_twice_is_no_cache_hit(ledger: Ledger) -> None:
    """A model that hands out the same message object was asked each time."""
    model = Scripted(answers=[AIMessage("same", usage_metadata=usage_of(120, 37))])
    model.invoke("a", config=ledger.config)
    model.invoke("b", config=ledger.config)
    assert [(row.cache_hit, row.input_tokens) for row in ledger.rows] == [(None, 120)] * 2


def test_model_that_asks_another_model_does_not_count_twice(ledger: Ledger) -> None:
    """A model that passes on another's answer names the row that has the usage."""
    inner = ledger.model(callbacks=[ledger.handler])

    class Router(Scripted):
        def _answer(self) -> AIMessage:
            return inner.invoke("inner")

    Router().invoke("outer", config=ledger.config)
    rows = sorted(ledger.rows, key=lambda row: row.started_at)
    assert [row.input_tokens for row in rows] == [None, 1311]
    assert "in_inner_call" in rows[0].usage_flags


# --- agents, graphs, events ----------------------------------------------------------------------


def look(at: str) -> str:
    """Look at something."""
    return f"nothing at {at}"


def agent_of(ledger: Ledger) -> Any:
    from langchain.agents import create_agent

    ledger.script(Reply(tool_calls=[{"name": "look", "arguments": {"at": "it"}}]), Reply())
    return create_agent(ledger.model(), tools=[look], name="bob")


THREAD = {"configurable": {"thread_id": "t1", "user_id": "not copied by LangGraph"}}


@pytest.mark.parametrize("how", ["invoke", "stream", "ainvoke", "astream"])
async def test_agent(ledger: Ledger, how: str) -> None:
    """Each model call of an agent is a row with the agent, the node and the thread it belongs to."""
    agent, question, config = agent_of(ledger), {"messages": "hello"}, {**ledger.config, **THREAD}
    if how == "invoke":
        await asyncio.to_thread(agent.invoke, question, config=config)
    elif how == "stream":
        await asyncio.to_thread(lambda: list(agent.stream(question, config=config)))
    elif how == "ainvoke":
        await agent.ainvoke(question, config=config)
    else:
        async for _ in agent.astream(question, config=config):
            pass
    rows = ledger.rows
    assert [(row.agent_id, row.step_id, row.session_id) for row in rows] == [(BOB, "model", "t1")] * 2
    assert [row.tool_call_count for row in rows] == [1, None]
    assert [row.message_count for row in rows] == [1, 3]
    assert len({row.run_id for row in rows}) == 1
    assert sum(row.total_tokens or 0 for row in rows) == 2 * 1588
    assert all(row.tags == [] and row.attributes == {} for row in rows)


@pytest.mark.parametrize("usage", [True, False])
def test_graph_that_streams_messages(ledger: Ledger, usage: bool) -> None:
    """`stream_mode="messages"` turns the model's invoke into a stream; unasked usage is unknown then."""
    agent_of(ledger)
    from langchain.agents import create_agent

    ledger.script(Reply(usage_in="asked"))
    agent = create_agent(ledger.model(stream_usage=usage), tools=[])
    for _ in agent.stream({"messages": "hello"}, config=ledger.config, stream_mode="messages"):
        pass
    row = ledger.row
    assert (row.is_streaming, row.status) == (True, "success")
    assert row.input_tokens == (1311 if usage else None)
    assert row.usage_source == ("provider" if usage else "missing")


async def test_agent_stream_closed_early(ledger: Ledger) -> None:
    """LangGraph cancels the model without a word when its stream is closed: the row comes all the same."""
    agent = agent_of(ledger)
    ledger.script(Reply(stall_after=2))
    stream = agent.astream({"messages": "hello"}, config=ledger.config, stream_mode="messages")
    await anext(stream)
    await stream.aclose()
    gc.collect()
    assert ledger.row.status in ("cancelled", "abandoned")


async def test_agent_cancelled(ledger: Ledger) -> None:
    """A cancelled agent is a cancelled model call."""
    agent = agent_of(ledger)
    ledger.script(Reply(stall_after=0))
    task = asyncio.create_task(agent.ainvoke({"messages": "hello"}, config=ledger.config))
    await ledger.until_running()
    task.cancel()
    await asyncio.wait([task])
    gc.collect()
    assert ledger.row.status == "cancelled"


async def test_astream_events(ledger: Ledger) -> None:
    """`astream_events` makes a stream of an invoke; it is one row."""
    async for _ in ledger.model().astream_events("hello", config=ledger.config, version="v2"):
        pass
    assert ledger.holds_what_was_sent().is_streaming is True


@needs_events
@pytest.mark.filterwarnings("ignore::langchain_core._api.LangChainBetaWarning")
def test_stream_events_v3(ledger: Ledger) -> None:
    """The new event protocol gives tokens and events for one call; it is one row."""
    ledger.script(Reply(usage=CACHED))
    list(ledger.model().stream_events("hello", config=ledger.config, version="v3"))
    row = ledger.holds_what_was_sent()
    assert (row.is_streaming, row.status, row.finish_reason) == (True, "success", "stop")


@needs_events
@pytest.mark.filterwarnings("ignore::langchain_core._api.LangChainBetaWarning")
def test_stream_events_v3_given_up(ledger: Ledger) -> None:
    """LangChain never says that such a stream was given up; the row comes when its objects are gone."""
    stream = ledger.model().stream_events("hello", config=ledger.config, version="v3")
    next(iter(stream))
    assert len(ledger.tracker.active()) == 1
    del stream
    gc.collect()
    assert (ledger.row.status, ledger.row.is_streaming) == ("abandoned", True)


def test_graph_interrupt_is_no_error(ledger: Ledger) -> None:
    """A graph that pauses for a human fails nothing; resumed, its model is called, and paid for, again."""
    from langgraph.checkpoint.memory import InMemorySaver
    from langgraph.graph import START, MessagesState, StateGraph
    from langgraph.types import Command, interrupt

    def ask(state: MessagesState) -> Any:
        answer = ledger.model().invoke(state["messages"])
        interrupt("go on?")
        return {"messages": [answer]}

    graph: Any = StateGraph(MessagesState)
    graph.add_node("ask", ask)
    graph.add_edge(START, "ask")
    app = graph.compile(checkpointer=InMemorySaver())
    config = {**ledger.config, **THREAD}
    app.invoke({"messages": "hello"}, config=config)
    app.invoke(Command(resume=True), config=config)
    assert [(row.status, row.step_id) for row in ledger.rows] == [("success", "ask")] * 2


# --- beside others -------------------------------------------------------------------------------


class Rude(BaseCallbackHandler):
    """A handler that raises where it is told to, into the caller."""

    raise_error = True
    run_inline = True

    def __init__(self, hook: str) -> None:
        setattr(self, hook, self._raise)

    def _raise(self, *args: Any, **kwargs: Any) -> None:
        raise RuntimeError("rude")


@pytest.mark.parametrize("hook", ["on_chat_model_start", "on_llm_end"])
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_rude_handlers_leave_no_call_open(ledger: Ledger, hook: str) -> None:
    """A handler that stops LangChain between start and end leaves our row without its end, not for long."""
    for callbacks in ([ledger.handler, Rude(hook)], [Rude(hook), ledger.handler]):
        with pytest.raises(RuntimeError, match="rude"):
            ledger.model().invoke("hello", config={"callbacks": callbacks})
    gc.collect()
    started = [row for row in ledger.rows if row.status != "success"]
    assert {row.status for row in started} <= {"abandoned"}
    assert len(ledger.rows) == (1 if hook == "on_chat_model_start" else 2)


def test_copies_are_the_handler_itself(ledger: Ledger) -> None:
    """A config may be copied, deeply too, without a second handler coming of it."""
    config = copy.deepcopy(ledger.config)
    assert config["callbacks"][0] is ledger.handler is copy.copy(ledger.handler)
    assert {ledger.handler: 1}[ledger.handler] == 1


def test_default_tracker_that_changes(ledger: Ledger) -> None:
    """A handler without a tracker follows the default; a call ends where it began."""
    handler = TokentrailCallbackHandler()
    config: Any = {"callbacks": [handler]}
    previous = tokentrail.set_tracker(ledger.tracker)
    try:
        begun = ledger.model().stream("hello", config=config)
        next(begun)
        with Tracker("memory://") as other:
            tokentrail.set_tracker(other)
            ledger.model().invoke("other", config=config)
            list(begun)
            assert len(other.stats.calls().items) == 1
    finally:
        tokentrail.set_tracker(previous)
    assert (ledger.row.status, ledger.row.is_streaming) == ("success", True)


def test_disabled_tracker_records_nothing() -> None:
    """With `enabled=False` calls work and leave nothing."""
    with FakeProvider() as provider, Tracker("memory://", enabled=False) as tracker:
        ledger = Ledger(provider, tracker)
        ledger.model().invoke("hello", config=ledger.config)
        list(ledger.model().stream("hello", config=ledger.config))
        assert ledger.rows == []
        ledger.no_faults()


def test_nothing_is_left_behind(ledger: Ledger) -> None:
    """After a thousand calls of every kind the door holds no run, no chain and no message."""
    model = Scripted(answers=[AIMessage("x", usage_metadata=usage_of(1, 1))], chunks=[AIMessageChunk("x")])
    chain = RunnableLambda(lambda text: text) | model
    for number in range(400):
        chain.invoke("hello", config=ledger.config)
        list(model.stream("hello", config=ledger.config))
        stream = model.stream("hello", config=ledger.config)
        next(stream)
        if number % 2:
            del stream
    from tokentrail.integrations._langchain_runs import runs_of

    stream = None
    runs = runs_of(ledger.tracker)
    assert (runs.open, runs.nodes) == ({}, {})
    assert len(ledger.rows) == 1000
    assert ledger.tracker.health()["ended"] == 1200
