"""LiteLLM's door: several attempts for one wish are several rows of one operation."""

from __future__ import annotations

import gc
from typing import Any

import litellm
import pytest

from litellm_rig import CLAUDE, HI, QUIET, Rig, agrees, provider, rig
from tokentrail.demo.provider import Reply

__all__ = ["provider", "rig"]
pytestmark = QUIET

TOO_LONG = {
    "type": "error",
    "error": {
        "type": "invalid_request_error",
        "message": "prompt is too long: 210000 tokens > 200000 maximum",
    },
}


def story(rows: list[Any]) -> list[tuple[Any, ...]]:
    """What happened, and that it was one operation."""
    assert len({row.operation_id for row in rows}) == 1
    assert rows[0].operation_id
    return [(row.status, row.model, row.attempt, row.attempt_kind) for row in rows]


async def test_async_retry_whose_success_litellm_loses(rig: Rig) -> None:
    """LiteLLM retries behind its own back and tells only of the failure; both attempts are rows."""
    rig.provider.script("claude-haiku-4-5", Reply(status=500), Reply())
    await litellm.acompletion(model=CLAUDE, messages=HI, num_retries=2, **rig.anthropic)
    rows = await rig.arows(2)
    assert story(rows) == [
        ("error", "claude-haiku-4-5", 1, "first"),
        ("success", "claude-haiku-4-5", 2, "retry"),
    ]
    agrees(rows[1], rig.provider.sent[1])


def test_sync_retry(rig: Rig) -> None:
    """The same without a loop."""
    rig.provider.script("claude-haiku-4-5", Reply(status=500), Reply(status=500), Reply())
    litellm.completion(model=CLAUDE, messages=HI, num_retries=3, **rig.anthropic)
    rows = rig.rows(3)
    assert [row.status for row in rows] == ["error", "error", "success"]
    assert [row.attempt_kind for row in rows] == ["first", "retry", "retry"]
    agrees(rows[2], rig.provider.sent[2])


def test_retries_that_all_fail(rig: Rig) -> None:
    """As many rows as requests, all errors."""
    rig.provider.script("claude-haiku-4-5", Reply(status=500))
    with pytest.raises(litellm.InternalServerError):
        litellm.completion(model=CLAUDE, messages=HI, num_retries=1, **rig.anthropic)
    rows = rig.rows(len(rig.provider.sent))
    assert {row.status for row in rows} == {"error"}


async def test_context_window_fallback(rig: Rig) -> None:
    """A prompt that is too long for one model goes to another, of which LiteLLM tells nothing."""
    rig.provider.script("claude-haiku-4-5", Reply(status=400, body=TOO_LONG))
    other = "anthropic/claude-sonnet-4-5"
    fallback = {CLAUDE: other}
    litellm.completion(model=CLAUDE, messages=HI, context_window_fallback_dict=fallback, **rig.anthropic)
    rows = rig.rows(2)
    assert story(rows) == [
        ("error", "claude-haiku-4-5", 1, "first"),
        ("success", "claude-sonnet-4-5", 2, "fallback"),
    ]
    await litellm.acompletion(
        model=CLAUDE, messages=HI, context_window_fallback_dict=fallback, **rig.anthropic
    )
    rows = (await rig.arows(4))[2:]
    assert [row.requested_model for row in rows] == [CLAUDE, other]


async def test_fallbacks(rig: Rig) -> None:
    """`fallbacks=[…]` keeps both models, sync and async."""
    rig.provider.script("bad", Reply(status=429))
    litellm.completion(model="openai/bad", messages=HI, fallbacks=["openai/gpt-4o"], **rig.openai)
    assert story(rig.rows(2)) == [("error", "bad", 1, "first"), ("success", "gpt-4o", 2, "fallback")]
    await litellm.acompletion(model="openai/bad", messages=HI, fallbacks=["openai/gpt-4o"], **rig.openai)
    assert story((await rig.arows(4))[2:]) == [
        ("error", "bad", 1, "first"),
        ("success", "gpt-4o", 2, "fallback"),
    ]


def router(rig: Rig, **kwargs: Any) -> litellm.Router:
    """Three groups: one that fails, one that answers, one that fails once."""
    groups = {"failing": "openai/bad", "good": "openai/gpt-4o", "flaky": "openai/flaky"}
    rig.provider.script("bad", Reply(status=429))
    rig.provider.script("flaky", Reply(status=500), Reply())
    return litellm.Router(
        model_list=[
            {"model_name": name, "litellm_params": {"model": model, **rig.openai}}
            for name, model in groups.items()
        ],
        retry_after=0,
        **kwargs,
    )


async def test_router_retry(rig: Rig) -> None:
    """The Router's retries: a row an attempt, each asked of the group."""
    await router(rig, num_retries=1).acompletion(model="flaky", messages=HI)
    rows = await rig.arows(2)
    assert story(rows) == [("error", "flaky", 1, "first"), ("success", "flaky", 2, "retry")]
    assert {row.requested_model for row in rows} == {"flaky"}


async def test_router_fallback(rig: Rig) -> None:
    """The Router's fallbacks: retries of the first group, then the other."""
    routes = router(rig, num_retries=1, fallbacks=[{"failing": ["good"]}])
    await routes.acompletion(model="failing", messages=HI)
    rows = await rig.arows(3)
    assert story(rows) == [
        ("error", "bad", 1, "first"),
        ("error", "bad", 2, "retry"),
        ("success", "gpt-4o", 3, "fallback"),
    ]
    assert [row.requested_model for row in rows] == ["failing", "failing", "good"]
    agrees(rows[2], rig.provider.sent[2])


def test_sync_router(rig: Rig) -> None:
    """The Router without a loop, and two operations that are two."""
    routes = router(rig, num_retries=0)
    routes.completion(model="good", messages=HI)
    routes.completion(model="good", messages=HI)
    rows = rig.rows(2)
    assert [row.attempt for row in rows] == [1, 1]
    assert len({row.operation_id for row in rows}) == 2


async def test_router_streams(rig: Rig) -> None:
    """Streams through the Router, read, closed and dropped."""
    routes = router(rig, num_retries=0)
    async for _ in await routes.acompletion(model="good", messages=HI, stream=True):
        pass
    stream = await routes.acompletion(model="good", messages=HI, stream=True)
    await anext(stream)
    await stream.aclose()
    stream = await routes.acompletion(model="good", messages=HI, stream=True)
    await anext(stream)
    del stream
    gc.collect()
    rows = await rig.arows(3)
    assert rows[0].status == "success"
    assert rows[1].status == "cancelled"
    assert rows[2].status in ("abandoned", "cancelled")
    agrees(rows[0], rig.provider.sent[0])


async def test_one_trace_of_two_wishes_is_two_operations(rig: Rig) -> None:
    """A caller may give one trace id to a whole conversation; a retry still belongs to its own wish."""
    router = litellm.Router(
        model_list=[{"model_name": "group", "litellm_params": {"model": CLAUDE, **rig.anthropic}}],
        num_retries=1,
        retry_after=0,
    )
    rig.provider.script("claude-haiku-4-5", Reply(), Reply(status=500), Reply())
    for _ in range(2):
        await router.acompletion("group", messages=HI, litellm_trace_id="conversation")
    rows = await rig.arows(3)
    assert [row.attempt for row in rows] == [1, 1, 2]
    assert rows[0].operation_id != rows[1].operation_id == rows[2].operation_id
