"""LangChain over LiteLLM with both doors open: one request is one row, whatever becomes of it."""

from __future__ import annotations

import asyncio
import gc
from collections.abc import Iterator
from contextlib import aclosing
from typing import Any

import pytest
from langchain_core.caches import InMemoryCache
from langchain_core.messages import HumanMessage
from langchain_litellm import ChatLiteLLM

import tokentrail
from litellm_rig import CACHED, QUIET
from tokentrail.demo.provider import FakeProvider, Reply
from tokentrail.models import LLMCall
from tokentrail.testing import CapturedCalls, capture_calls

pytestmark = QUIET
BOTH = ["langchain", "litellm"]


class Doors:
    """Both doors over a ledger in memory, and a provider behind them."""

    def __init__(self, provider: FakeProvider, captured: CapturedCalls) -> None:
        self.provider = provider
        self.captured = captured

    def model(self, **more: Any) -> ChatLiteLLM:
        base = f"{self.provider.url}/v1"
        return ChatLiteLLM(model="openai/gpt-4o", api_base=base, api_key="none", max_retries=0, **more)

    @property
    def rows(self) -> list[LLMCall]:
        gc.collect()
        return self.captured.calls

    @property
    def row(self) -> LLMCall:
        (row,) = self.rows
        return row


@pytest.fixture
def doors() -> Iterator[Doors]:
    """`install()` on a fresh default tracker."""
    with FakeProvider() as provider, capture_calls(summary_interval=0) as captured:
        tokentrail.install()
        yield Doors(provider, captured)
        tokentrail.uninstall()
        provider.release()
        health = captured.tracker.health()
        assert (health["faults"], health["active"]) == ({}, 0)


@pytest.mark.parametrize("usage_in", ["last", "every", "finish"])
async def test_streams_have_what_the_provider_reported(doors: Doors, usage_in: Any) -> None:
    """Cached and reasoning tokens too; the door nearer to the provider says what was consumed."""
    doors.provider.script("gpt-4o", Reply(usage=CACHED, usage_in=usage_in))
    list(doors.model().stream("hello"))
    async for _ in doors.model().astream("hello"):
        pass
    for row in doors.rows:
        assert (row.input_tokens, row.output_tokens, row.cache_read_tokens) == (10_000, 1_000, 4_000)
        assert (row.usage_source, row.cost_usd, row.is_streaming) == ("provider", 0.03, True)
        assert sorted(row.seen_by) == BOTH
    assert len(doors.rows) == 2


def test_stream_without_usage_is_unknown(doors: Doors) -> None:
    """LiteLLM's estimate, which LangChain shows as usage, is not what was consumed."""
    doors.provider.script("gpt-4o", Reply(usage_in="none"))
    (*_, last) = (chunk for chunk in doors.model().stream("hello") if chunk.usage_metadata)
    assert last.usage_metadata["input_tokens"] > 0
    row = doors.row
    assert (row.input_tokens, row.output_tokens, row.cost_usd, row.usage_source) == (
        None,
        None,
        None,
        "missing",
    )


def test_dropped_stream(doors: Doors) -> None:
    """A stream that nobody reads on is one abandoned row."""
    for _ in doors.model().stream("hello"):
        break
    assert (doors.row.status, sorted(doors.row.seen_by)) == ("abandoned", BOTH)


async def test_closed_stream(doors: Doors) -> None:
    """An asynchronous stream that is closed is one row, cancelled or abandoned, and never a success."""
    async with aclosing(doors.model().astream("hello")) as stream:  # type: ignore[type-var]
        async for _ in stream:
            break
    assert doors.row.status in ("abandoned", "cancelled")


async def test_cancelled_call(doors: Doors) -> None:
    """A cancelled task is one cancelled row."""
    doors.provider.script("gpt-4o", Reply(stall_after=0))
    task = asyncio.create_task(doors.model().ainvoke("hello"))
    await asyncio.to_thread(doors.provider.wait_for, 1)
    task.cancel()
    await asyncio.wait([task])
    await asyncio.sleep(0)
    assert doors.row.status == "cancelled"


def test_failed_call(doors: Doors) -> None:
    """A refused request is one error row with the provider's reason."""
    doors.provider.script("gpt-4o", Reply(status=429))
    with pytest.raises(Exception, match="RateLimit"):
        doors.model().invoke("hello")
    row = doors.row
    assert (row.status, sorted(row.seen_by)) == ("error", BOTH)
    assert "RateLimit" in str(row.error_type)


async def test_generate_of_several_prompts(doors: Doors) -> None:
    """All prompts of a `generate` start before the first is sent; each request still finds its own call."""
    sizes = (11, 22, 33)
    usages = [{"prompt_tokens": size, "completion_tokens": 1, "total_tokens": size + 1} for size in sizes]
    replies = [Reply(usage=usage) for usage in usages]
    prompts = [[HumanMessage(text)] for text in "abc"]
    doors.provider.script("gpt-4o", *replies)
    await asyncio.to_thread(doors.model().generate, prompts)
    assert [row.input_tokens for row in doors.rows] == [11, 22, 33]
    await doors.model().agenerate(prompts)
    rows = doors.rows
    assert len(rows) == len(doors.provider.sent) == 6
    assert all(sorted(row.seen_by) == BOTH for row in rows)


def test_batch_and_threads(doors: Doors) -> None:
    """Calls in LangChain's threads find their own rows."""
    doors.model().batch([str(number) for number in range(12)])
    rows = doors.rows
    assert len(rows) == 12
    assert all(sorted(row.seen_by) == BOTH and row.total_tokens == 1588 for row in rows)


def test_cache_hit_reaches_one_door_only(doors: Doors) -> None:
    """An answer from LangChain's cache never gets to LiteLLM; the next direct call is its own row."""
    import litellm

    model = doors.model(cache=InMemoryCache())
    model.invoke("hello")
    model.invoke("hello")
    litellm.completion(
        model="openai/gpt-4o",
        messages=[{"role": "user", "content": "x"}],
        api_base=f"{doors.provider.url}/v1",
        api_key="none",
    )
    first, hit, direct = doors.rows
    assert (sorted(first.seen_by), first.cache_hit) == (BOTH, None)
    assert (hit.seen_by, hit.cache_hit, hit.cost_usd) == (["langchain"], True, 0.0)
    assert (direct.seen_by, direct.source) == (["litellm"], "litellm")
