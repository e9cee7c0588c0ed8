"""LiteLLM's door in mode `hooks`, for a LiteLLM it does not recognise: what it sees, and what it loses."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import Any

import litellm
import pytest

from litellm_rig import CACHED, CLAUDE, CLAUDE_USAGE, HI, QUIET, Rig, agrees, provider
from tokentrail.demo.provider import FakeProvider, Reply
from tokentrail.integrations import _litellm_cells
from tokentrail.integrations.litellm import MODE_VARIABLE, TokentrailLogger

__all__ = ["provider"]
pytestmark = QUIET


@pytest.fixture
def rig(provider: FakeProvider) -> Iterator[Rig]:
    """The door with its fallback forced."""
    one = Rig(provider, mode="hooks")
    assert one.logger.mode == "hooks"
    yield one
    one.close()


async def test_answers(rig: Rig) -> None:
    """Whole answers, sync and async: one row with what was sent."""
    rig.provider.script("gpt-4o", Reply(usage=CACHED))
    litellm.completion(model="openai/gpt-4o", messages=HI, **rig.openai)
    await litellm.acompletion(model="openai/gpt-4o", messages=HI, **rig.openai)
    litellm.embedding(model="openai/text-embedding-3-small", input=["a"], **rig.openai)
    rows = await rig.arows(3)
    for row, sent in zip(rows, rig.provider.sent, strict=True):
        agrees(row, sent)
    assert rig.tracker.health()["notes"]["litellm_mode:hooks"] == 1


async def test_async_answer_is_there_at_once(rig: Rig) -> None:
    """An async answer needs no event of LiteLLM's worker: it is a row before the loop runs on."""
    await litellm.acompletion(model="openai/gpt-4o", messages=HI, **rig.openai)
    assert rig.tracker.health()["ended"] == 1


async def test_streams(rig: Rig) -> None:
    """Streams, read to their end or not."""
    rig.provider.script("claude-haiku-4-5", Reply(usage=CLAUDE_USAGE))
    list(litellm.completion(model="openai/gpt-4o", messages=HI, stream=True, **rig.openai))
    async for _ in await litellm.acompletion(model=CLAUDE, messages=HI, stream=True, **rig.anthropic):
        pass
    async for _ in await litellm.acompletion(model="openai/gpt-4o", messages=HI, stream=True, **rig.openai):
        break
    await litellm.acompletion(model="openai/gpt-4o", messages=HI, stream=True, **rig.openai)
    rows = await rig.arows(4)
    assert [row.status for row in rows] == ["success", "success", "abandoned", "abandoned"]
    for row, sent in zip(rows[:2], rig.provider.sent, strict=False):
        agrees(row, sent)


async def test_responses_streams_of_which_litellm_tells_twice(rig: Rig) -> None:
    """Two events for one call of the Responses API are one row."""
    list(litellm.responses(model="openai/gpt-4o", input="hello", stream=True, **rig.openai))
    async for _ in await litellm.aresponses(model="openai/gpt-4o", input="hello", stream=True, **rig.openai):
        pass
    for row, sent in zip(await rig.arows(2), rig.provider.sent, strict=True):
        agrees(row, sent)


async def test_errors(rig: Rig) -> None:
    """Errors, sync and async."""
    rig.provider.script("gpt-4o", Reply(status=429))
    with pytest.raises(litellm.RateLimitError):
        litellm.completion(model="openai/gpt-4o", messages=HI, **rig.openai)
    with pytest.raises(litellm.RateLimitError):
        await litellm.acompletion(model="openai/gpt-4o", messages=HI, **rig.openai)
    rows = await rig.arows(2)
    assert [(row.status, row.error_type) for row in rows] == [("error", "RateLimitError")] * 2


async def test_fallbacks_and_retries(rig: Rig) -> None:
    """Attempts are rows of their own; a success that LiteLLM loses is known from what came back."""
    rig.provider.script("bad", Reply(status=429))
    await litellm.acompletion(model="openai/bad", messages=HI, fallbacks=["openai/gpt-4o"], **rig.openai)
    assert [row.status for row in await rig.arows(2)] == ["error", "success"]
    rig.provider.script("claude-haiku-4-5", Reply(status=500), Reply())
    await litellm.acompletion(model=CLAUDE, messages=HI, num_retries=2, **rig.anthropic)
    rows = (await rig.arows(4))[2:]
    assert [row.status for row in rows] == ["error", "success"]
    assert [row.finality for row in rows] == ["final", "provisional"]
    agrees(rows[1], rig.provider.sent[-1])


async def test_what_is_lost_in_this_mode(rig: Rig) -> None:
    """A cancelled call stays open: LiteLLM tells nothing of it. The age limit ends it as `abandoned`."""
    rig.provider.script("gpt-4o", Reply(stall_after=0))
    task = asyncio.create_task(litellm.acompletion(model="openai/gpt-4o", messages=HI, **rig.openai))
    await asyncio.to_thread(rig.provider.wait_for, 1)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert [call.model for call in rig.tracker.active()] == ["gpt-4o"]
    rig.tracker._max_age_ns = 0
    assert (await rig.arow()).status == "abandoned"


def test_an_unknown_decorator_is_left_alone(provider: FakeProvider, monkeypatch: pytest.MonkeyPatch) -> None:
    """If LiteLLM's decorator is not the one we know, nothing of it is touched."""
    monkeypatch.setattr(_litellm_cells, "_WRAPPERS", frozenset({"wrapper", "something_else"}))
    rig = Rig(provider)
    assert rig.logger.mode == "hooks"
    assert litellm.utils.client.__module__ == "litellm.utils"
    litellm.completion(model="openai/gpt-4o", messages=HI, **rig.openai)
    agrees(rig.row(), provider.sent[0])
    rig.close()


def test_mode_by_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """The mode can be forced from outside, for finding faults."""
    monkeypatch.setenv(MODE_VARIABLE, "hooks")
    logger: Any = TokentrailLogger()
    assert logger.mode == "hooks"
