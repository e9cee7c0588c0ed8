"""LiteLLM's functions beside `completion`, and answers that come of no request."""

from __future__ import annotations

from typing import Any, Final

import litellm

from litellm_rig import HI, Rig
from litellm_scenes.answers import CACHED, PARTS
from litellm_scenes.entries import GOOGLES, OTHERS, UNCOUNTED, WHOLE, Entry
from litellm_scenes.scenes import AS_SENT, OLD_BRIDGE, UNKNOWN, Limit, Scene
from tokentrail.demo.provider import MISSING, Reply


def _function(name: str, title: str, **more: Any) -> Scene:
    return Scene(
        **{"name": f"function-{name}", "part": "Other functions", "title": title, "entries": OTHERS, **more}
    )


def _asks_nothing(rig: Rig, _: Entry) -> None:
    """Functions that LiteLLM decorates as it does `completion`, and others that only look like calls."""
    litellm.token_counter(model="gpt-4o", messages=HI)
    litellm.get_model_info("gpt-4o")
    litellm.file_list(custom_llm_provider="openai", **rig.openai)
    litellm.list_batches(custom_llm_provider="openai", **rig.openai)


_UNTOLD: Final = Limit(
    why="LiteLLM announces nothing of `moderation`, and tells nobody of its end; `amoderation` is seen.",
    entries=("moderation",),
    ends=(),
)
_OPEN: Final = Limit(
    why="LiteLLM tells nobody that the stream of a text completion was refused. In mode `hooks` the call "
    "stays open until its age passes `active_max_age`, and is then `abandoned`.",
    modes=("hooks",),
    entries=("text_completion stream", "atext_completion stream"),
    ends=("abandoned",),
    by_age=True,
)
_WRITTEN: Final = Limit(
    why="LiteLLM's own events leave out what a stream of the Responses API says of input written to a cache; "
    "they are all that mode `hooks` has.",
    modes=("hooks",),
    entries=("responses stream", "aresponses stream", "completion stream (Responses)"),
    tokens="cache_creation_tokens None, not 1000",
    costs=AS_SENT,
)
_GOOGLE: Final = Limit(
    why="Synchronous streams of Google's own API are of a class that mode `hooks` does not watch, and "
    "LiteLLM tells nobody of their end: they stay open until their age passes `active_max_age`.",
    modes=("hooks",),
    entries=("generate_content_stream",),
    ends=("abandoned",),
    tokens=UNKNOWN,
    by_age=True,
)
_BRIDGED: Final = tuple(one for one in OTHERS if one.name == "responses (Anthropic)")

FUNCTIONS: Final = (
    _function("plain", "a usage", entries=(*OTHERS, *GOOGLES), limits=(_GOOGLE,)),
    _function(
        "parts",
        "with cached input and reasoning",
        replies=(Reply(usage=PARTS),),
        entries=(*OTHERS, *GOOGLES),
        limits=(_GOOGLE,),
    ),
    _function(
        "cached",
        "with input read from a cache and written to one",
        replies=(Reply(usage=CACHED),),
        limits=(_WRITTEN,),
    ),
    _function(
        "absent",
        "no usage",
        replies=(Reply(usage=MISSING, usage_in="none"),),
        entries=tuple(one for one in OTHERS if one not in _BRIDGED),
        limits=(OLD_BRIDGE,),
    ),
    _function(
        "absent-fails",
        "no usage, at which LiteLLM fails although the provider has answered",
        replies=(Reply(usage=MISSING),),
        entries=_BRIDGED,
        ends=("error",),
    ),
    _function(
        "uncounted",
        "an answer without tokens",
        entries=UNCOUNTED,
        replies=(Reply(usage=MISSING),),
        limits=(_UNTOLD,),
    ),
    _function(
        "refused",
        "429",
        replies=(Reply(status=429),),
        ends=("error",),
        entries=(*OTHERS, *UNCOUNTED),
        limits=(_UNTOLD, _OPEN),
    ),
    _function(
        "nothing",
        "tokens are counted, models looked up, files and batches listed",
        entries=WHOLE[:1],
        act=_asks_nothing,
        ends=(),
    ),
)
