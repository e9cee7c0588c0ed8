"""Several attempts for one wish."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from types import MappingProxyType
from typing import Any, Final

import litellm
from packaging.specifiers import SpecifierSet

from litellm_rig import HI, Rig
from litellm_scenes.answers import TOO_LONG
from litellm_scenes.entries import CLAUDES, OTHERS, STREAMS, WHOLE, Entry
from litellm_scenes.scenes import VERSION, Limit, Scene
from tokentrail.demo.provider import Reply

# --- several attempts ----------------------------------------------------------------------------

_CLAUDE_WHOLE: Final = tuple(one for one in CLAUDES if not one.streams)
_FAILS_ONCE: Final = (Reply(status=500), Reply())


def _router(rig: Rig, groups: Mapping[str, str], **kwargs: Any) -> Any:
    return litellm.Router(
        model_list=[
            {"model_name": name, "litellm_params": {"model": model, **rig.openai}}
            for name, model in groups.items()
        ],
        retry_after=0,
        **kwargs,
    )


_GROUPS: Final = {"main": "openai/gpt-4o", "spare": "openai/gpt-4o-mini"}


def _routed(
    function: str = "completion",
    groups: Mapping[str, str] = _GROUPS,
    asked: Mapping[str, Any] = MappingProxyType({"messages": HI}),
    **kwargs: Any,
) -> Any:
    """Ask a Router, with or without a loop as the entry point is."""

    def act(rig: Rig, entry: Entry) -> Any:
        ask = getattr(_router(rig, groups, **kwargs), f"a{function}" if entry.is_async else function)
        more = {"stream": True} if entry.streams else {}
        answer = ask(model="main", **asked, **more)
        if entry.is_async:
            return aread(answer, entry)
        return list(answer) if entry.streams else answer

    return act


async def aread(asked: Any, entry: Entry) -> None:
    answer = await asked
    if entry.streams:
        async for _ in answer:
            pass


def _attempts(name: str, title: str, **more: Any) -> Scene:
    return Scene(name=f"attempts-{name}", part="Several attempts for one wish", title=title, **more)


_SDK: Final = Limit(
    why="The OpenAI SDK retries by itself and tells nobody: one row, with the time of all requests.",
    ends=("success",),
    rows_of=(2,),
)
_LOST: Final = Limit(
    why="LiteLLM loses the success event of its own asynchronous retry. In mode `hooks` the row is "
    "taken from what came back, and stays provisional.",
    modes=("hooks",),
)
_UNTOLD: Final = Limit(
    why="In mode `hooks` the failed first attempt of LiteLLM's own synchronous retry or fallback is not "
    "seen: the success is the only row.",
    modes=("hooks",),
    ends=("success",),
    rows_of=(1,),
    entries=tuple(one.name for one in (*CLAUDES, *WHOLE) if not one.is_async and not one.streams),
)

ATTEMPTS: Final = (
    _attempts(
        "sdk",
        "the OpenAI SDK retries twice",
        entries=WHOLE,
        replies=(Reply(status=500, headers={"retry-after-ms": "1"}),) * 2 + (Reply(),),
        ends=("error", "error", "success"),
        arguments={"max_retries": 2},
        limits=(_SDK,),
    ),
    _attempts(
        "num-retries",
        "`num_retries`, and the second answers",
        entries=_CLAUDE_WHOLE,
        replies=_FAILS_ONCE,
        ends=("error", "success"),
        kinds=("first", "retry"),
        arguments={"num_retries": 2},
        limits=(_UNTOLD, _LOST),
    ),
    _attempts(
        "context",
        "`context_window_fallback_dict`",
        entries=WHOLE,
        replies=(Reply(status=400, body=TOO_LONG),),
        ends=("error", "success"),
        kinds=("first", "fallback"),
        arguments={"context_window_fallback_dict": {"openai/gpt-4o": "openai/gpt-4o-mini"}},
        limits=(_UNTOLD,),
    ),
    _attempts(
        "fallbacks",
        "`fallbacks=[...]`",
        entries=WHOLE,
        replies=(Reply(status=429),),
        ends=("error", "success"),
        kinds=("first", "fallback"),
        arguments={"fallbacks": ["openai/gpt-4o-mini"]},
    ),
    _attempts(
        "router",
        "a Router",
        act=_routed(num_retries=0),
        entries=WHOLE,
        kinds=("first",),
    ),
    _attempts(
        "router-stream",
        "a Router, streamed",
        act=_routed(num_retries=0),
        entries=STREAMS,
        kinds=("first",),
    ),
    _attempts(
        "router-retry",
        "a Router retries",
        act=_routed(num_retries=1),
        entries=WHOLE,
        replies=_FAILS_ONCE,
        ends=("error", "success"),
        kinds=("first", "retry"),
    ),
    _attempts(
        "router-fallback",
        "a Router falls back to another group",
        act=_routed(num_retries=0, fallbacks=[{"main": ["spare"]}]),
        entries=WHOLE,
        replies=(Reply(status=429),),
        ends=("error", "success"),
        kinds=("first", "fallback"),
    ),
    _attempts(
        "batch",
        "`batch_completion` of three",
        act=lambda rig, entry: litellm.batch_completion(
            model="openai/gpt-4o", messages=[HI, HI, HI], **rig.openai
        ),
        entries=WHOLE[:1],
        ends=("success",) * 3,
    ),
)


def _router_scenes(
    function: str,
    groups: Mapping[str, str],
    asked: Mapping[str, Any],
    *names: str,
    tries: int = 1,
    **more: Any,
) -> list[Scene]:
    """A Router asked by another function: it retries, and falls back to another group."""
    kept: dict[str, Any] = {"function": function, "groups": groups, "asked": asked}
    more["entries"] = tuple(one for one in OTHERS if one.name in names)
    failed = Reply(status=500, headers={"retry-after-ms": "1"})
    return [
        _attempts(
            f"router-{names[0]}-retry",
            "a Router retries",
            act=_routed(num_retries=1, **kept),
            replies=(*(failed,) * tries, Reply()),
            ends=("error", "success"),
            kinds=("first", "retry"),
            **more,
        ),
        _attempts(
            f"router-{names[0]}-fallback",
            "a Router falls back to another group",
            act=_routed(num_retries=0, fallbacks=[{"main": ["spare"]}], **kept),
            replies=(failed,),
            ends=("error", "success"),
            kinds=("first", "fallback"),
            **more,
        ),
    ]


_EMBEDDERS: Final = {"main": "openai/text-embedding-3-small", "spare": "openai/text-embedding-3-large"}
_TEXTS: Final = {
    "main": "text-completion-openai/gpt-3.5-turbo-instruct",
    "spare": "text-completion-openai/davinci-002",
}
_PAINTERS: Final = {"main": "openai/gpt-image-1", "spare": "openai/gpt-image-1-mini"}
_THRICE: Final = Limit(why=_SDK.why, rows_of=(2, 3))
_PAINTED: Final = 1 if SpecifierSet(">=1.109").contains(VERSION) else 3
_PAINTED_THRICE: Final = replace(_THRICE, versions="<1.109")
"""For the Router the SDK does not retry images any more."""
_ALONE: Final = (
    "A Router gives each attempt of its synchronous `image_generation` a trace of its own: "
    "they are told as first, retry and fallback, but not as one operation."
)

ROUTED: Final = (
    *_router_scenes(
        "embedding", _EMBEDDERS, {"input": ["hi"]}, "embedding", "aembedding", tries=3, limits=(_THRICE,)
    ),
    *_router_scenes("text_completion", _TEXTS, {"prompt": "hello"}, "atext_completion"),
    *_router_scenes("responses", _GROUPS, {"input": "hello"}, "aresponses", "aresponses stream"),
    *_router_scenes(
        "image_generation",
        _PAINTERS,
        {"prompt": "a cat"},
        "aimage_generation",
        tries=_PAINTED,
        limits=(_PAINTED_THRICE,),
    ),
    *_router_scenes(
        "image_generation",
        _PAINTERS,
        {"prompt": "a cat"},
        "image_generation",
        tries=_PAINTED,
        operations=2,
        limits=(replace(_PAINTED_THRICE, why=_ALONE), Limit(why=_ALONE)),
    ),
)
