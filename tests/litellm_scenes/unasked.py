"""Answers that no provider gave: from LiteLLM's cache, or made up by LiteLLM for a test."""

from __future__ import annotations

import asyncio
import time
from typing import Any, Final

import litellm

from litellm_rig import Rig
from litellm_scenes.entries import CHATS, OTHERS, Entry
from litellm_scenes.providers import GEMINI, OLLAMA
from litellm_scenes.scenes import AS_SENT, FREE, MADE_UP, Limit, Scene

_PATIENCE: Final = 10.0


def _cached(rig: Rig, entry: Entry) -> Any:
    """Ask twice; the second time LiteLLM has the answer."""
    litellm.cache = litellm.Cache(type="local")
    return _acached(rig, entry) if entry.is_async else _scached(rig, entry)


def _scached(rig: Rig, entry: Entry) -> None:
    try:
        for _ in range(2):
            answer = entry.ask(rig, {"caching": True})
            if entry.streams:
                list(answer)
            deadline = time.monotonic() + _PATIENCE
            while not litellm.cache.cache.cache_dict and time.monotonic() < deadline:
                time.sleep(0.01)
    finally:
        litellm.cache = None


async def _acached(rig: Rig, entry: Entry) -> None:
    try:
        for _ in range(2):
            answer = await entry.ask(rig, {"caching": True})
            if entry.streams:
                async for _chunk in answer:
                    pass
            deadline = time.monotonic() + _PATIENCE
            while not litellm.cache.cache.cache_dict and time.monotonic() < deadline:
                await asyncio.sleep(0.01)
    finally:
        litellm.cache = None


def _own(name: str, title: str, **more: Any) -> Scene:
    return Scene(name=f"unasked-{name}", part="Answers that no provider gave", title=title, **more)


_CACHED: Final = (
    *CHATS,
    *GEMINI,
    *OLLAMA,
    *(
        one
        for one in OTHERS
        if one.name.removeprefix("a") in ("text_completion", "embedding", "responses", "responses stream")
    ),
)
_MOCKED: Final = (
    *CHATS,
    *(
        one
        for one in OTHERS
        if one.name.removeprefix("a") in ("text_completion", "embedding", "responses", "image_generation")
    ),
)

_UNSAID: Final = (
    "Mode `hooks` is not told that something was made up, unless it is an answer of `completion`."
)
_MADE_UP_HOOKS: Final = (
    Limit(
        why=_UNSAID,
        modes=("hooks",),
        entries=("embedding", "aembedding"),
        tokens="input_tokens 10, not None",
        costs="$0.000000, not None",
    ),
    Limit(
        why=_UNSAID,
        modes=("hooks",),
        entries=("image_generation", "aimage_generation"),
        tokens=AS_SENT,
    ),
    Limit(
        why="Of a made-up answer of the Responses API LiteLLM does not say whom it stands for; mode `hooks` "
        "takes that for one of LiteLLM's functions asking through another, and has no row.",
        modes=("hooks",),
        entries=("responses", "aresponses"),
        ends=(),
    ),
)

_OLD_CACHE: Final = (
    Limit(
        why="LiteLLM before 1.103 puts a reasoning of 0 into its cache where a stream told none.",
        entries=tuple(one.name for one in (*CHATS, *GEMINI, *OLLAMA) if one.streams),
        tokens=(AS_SENT, "reasoning_tokens 0, not None"),
        costs=(AS_SENT, FREE),
        versions="<1.103",
    ),
    Limit(
        why="LiteLLM before 1.103 does not say that `aresponses` has streamed an answer from its cache.",
        modes=("inline",),
        entries=("aresponses stream",),
        costs=AS_SENT,
        versions="<1.103",
    ),
)

UNASKED: Final = (
    _own(
        "cache",
        "asked twice, with LiteLLM's cache",
        entries=_CACHED,
        act=_cached,
        ends=("success", "success"),
        costs=(AS_SENT, FREE),
        rows_of=(0, 0),
        limits=_OLD_CACHE,
    ),
    _own(
        "mock",
        "`mock_response`",
        entries=_MOCKED,
        arguments={"mock_response": "hey"},
        rows_of=(None,),
        tokens=MADE_UP,
        costs=MADE_UP,
        limits=_MADE_UP_HOOKS,
    ),
    _own(
        "mock-error",
        "`mock_response` of an error",
        arguments={"mock_response": "litellm.RateLimitError"},
        ends=("error",),
        rows_of=(None,),
        tokens=MADE_UP,
        costs=MADE_UP,
    ),
)
