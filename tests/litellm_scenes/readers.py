"""What callers do with a stream, or with a call that still runs, other than to wait for its end."""

from __future__ import annotations

from typing import Any, Final

from litellm_scenes.answers import CACHED, PARTS
from litellm_scenes.entries import CLAUDES, OTHERS, STREAMS, WHOLE
from litellm_scenes.providers import BEDROCK, GEMINI, OLLAMA
from litellm_scenes.scenes import UNKNOWN, Limit, Scene
from tokentrail.demo.provider import Reply

_HALF: Final = Reply(stall_after=2)
"""Nothing is sent that the reader does not read."""
_TOLD: Final = Reply(stall_after=2, usage=PARTS, usage_in="every")
_ASYNC: Final = tuple(one for one in STREAMS if one.is_async)
_CLAUDE_STREAMS: Final = tuple(one for one in CLAUDES if one.streams)
_RESPONSES: Final = tuple(one for one in OTHERS if one.name in ("responses stream", "aresponses stream"))
_TEXTS: Final = tuple(one for one in OTHERS if one.streams and one.call_type == "completion")
_WIRES: Final = tuple(one for one in (*GEMINI, *OLLAMA, *BEDROCK) if one.streams and one.is_async)
"""One each of the classes that read what is no stream of server-sent events, or another's."""
_UNWATCHED: Final = Limit(
    why="Streams of the Responses API are of another class, which mode `hooks` does not watch: one that is "
    "left stays open until its age passes `active_max_age`, and is then `abandoned`.",
    modes=("hooks",),
    entries=("responses stream", "aresponses stream"),
    ends=("abandoned",),
    by_age=True,
)
_UNREAD: Final = Limit(
    why="The stream of a text completion is made when it is first read: one that never is stays open in mode "
    "`hooks` until its age passes `active_max_age`.",
    modes=("hooks",),
    entries=tuple(one.name for one in _TEXTS),
    by_age=True,
)


def _left(name: str, title: str, read: str, end: str, **more: Any) -> Scene:
    return Scene(
        **{
            "name": f"left-{name}",
            "part": "Streams that are left, and calls that are given up",
            "title": title,
            "entries": STREAMS,
            "replies": (_HALF,),
            "read": read,
            "arguments": {"timeout": 20},
            "ends": (end,),
            **more,
        }
    )


LEFT: Final = (
    _left(
        "break",
        "`break`",
        "break",
        "abandoned",
        entries=(*STREAMS, *_RESPONSES, *_TEXTS, *_WIRES),
        limits=(_UNWATCHED,),
    ),
    _left("break-told", "`break`, after a running total was told", "break", "abandoned", replies=(_TOLD,)),
    _left("exception", "an exception in the loop", "raise", "abandoned"),
    _left("cycle", "dropped inside a cycle, for the collector to find", "cycle", "abandoned"),
    _left(
        "never",
        "never read",
        "never",
        "abandoned",
        entries=(*STREAMS, *_RESPONSES, *_TEXTS, *_WIRES),
        replies=(Reply(stall_after=0),),
        limits=(_UNWATCHED, _UNREAD),
    ),
    _left(
        "aclose",
        "`aclose()`",
        "close",
        "cancelled",
        entries=(*_ASYNC, *_RESPONSES[1:], *_WIRES),
        limits=(_UNWATCHED,),
    ),
    _left(
        "cancel",
        "the reading task is cancelled",
        "cancel",
        "cancelled",
        entries=(*_ASYNC, *_RESPONSES[1:], *_TEXTS[1:], *_WIRES),
        limits=(_UNWATCHED,),
    ),
    _left(
        "finish",
        "read to its finish reason, but not to the usage after it",
        "finish",
        "success",
        replies=(Reply(),),
        limits=(
            Limit(
                why="A usage that comes after the finish reason is not seen if nobody reads so far.",
                tokens=UNKNOWN,
            ),
        ),
    ),
    _left(
        "anthropic",
        "`break` after the first event has told the input",
        "break",
        "abandoned",
        entries=_CLAUDE_STREAMS,
        replies=(Reply(stall_after=2, usage=CACHED),),
    ),
    _left(
        "cancelled-call",
        "the task is cancelled before there is an answer",
        "cancel",
        "cancelled",
        entries=tuple(one for one in WHOLE if one.is_async),
        replies=(Reply(stall_after=0),),
        limits=(
            Limit(
                why="LiteLLM tells nobody of a cancelled call. In mode `hooks` it stays open until its age "
                "passes `active_max_age`, and is then `abandoned`.",
                modes=("hooks",),
                ends=("abandoned",),
                by_age=True,
            ),
        ),
    ),
)
