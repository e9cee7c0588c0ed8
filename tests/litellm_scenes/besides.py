"""Who asks, who listens, and what is wanted."""

from __future__ import annotations

import functools
import re
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any, Final

import litellm

from litellm_rig import Rig
from litellm_scenes.calls import aread
from litellm_scenes.entries import CHATS, OTHERS, UNCOUNTED, Entry
from litellm_scenes.providers import GEMINI, OLLAMA, OLLAMA_TEXT
from litellm_scenes.scenes import ESTIMATED, OLD_BRIDGE, UNKNOWN, Limit, Scene
from tokentrail.demo.provider import MISSING, Reply
from tokentrail.integrations.litellm import TokentrailLogger, disarm


def _equal(found: object, wanted: object) -> None:
    assert found == wanted, f"{found}, not {wanted}"


WHO: Final[Mapping[str, Any]] = {
    "user": "u1",
    "litellm_session_id": "s1",
    "metadata": {"tags": ["beta", "eu"], "feature": "search", "agent_id": "a1"},
}


def _identified(rows: list[Any]) -> None:
    for row in rows:
        _equal((row.user_id, row.session_id, row.agent_id, row.tags), ("u1", "s1", "a1", ["beta", "eu"]))
        _equal(row.attributes.get("feature"), "search")


def _nameless(rows: list[Any]) -> None:
    for row in rows:
        assert not {"u1", "s1", "search"} & set(re.findall(r"\w+", repr(row))), row


def _listed(*, again: bool = False, plain: bool = False) -> Any:
    """Ask with further callbacks beside the rig's own."""

    def heard(*_: Any) -> None: ...

    async def aheard(*_: Any) -> None: ...

    def act(rig: Rig, entry: Entry) -> Any:
        mode: Any = rig.logger.mode
        second = TokentrailLogger(rig.tracker, mode=mode)
        litellm.callbacks = [rig.logger, rig.logger, second] if again else [rig.logger]
        litellm.success_callback = [rig.logger, second.log_success_event] if again else []
        litellm.input_callback = [second] if again else []
        if plain:
            litellm.success_callback = [heard, aheard]
            litellm.failure_callback = [heard]
        return entry_result(rig, entry)

    return act


def _rivalled(*, first: bool) -> Any:
    """Ask while another library wraps LiteLLM's functions and streams, before our door is there or after."""

    def act(rig: Rig, entry: Entry) -> Any:
        if first:
            disarm()
        undo = _rival()
        if first:
            litellm.callbacks = [TokentrailLogger(rig.tracker, mode=rig.logger.mode)]
        if entry.is_async:
            return _arivalled(rig, entry, undo, first)
        try:
            return entry_result(rig, entry)
        finally:
            _leave(rig, undo, first)

    return act


async def _arivalled(rig: Rig, entry: Entry, undo: Callable[[], None], first: bool) -> None:
    try:
        await entry_result(rig, entry)
    finally:
        _leave(rig, undo, first)


def _rival() -> Callable[[], None]:
    """Wrap what others wrap; gives what takes the wraps off."""
    places = [(litellm, name) for name in ("completion", "acompletion")]
    places += [(litellm.CustomStreamWrapper, name) for name in ("__next__", "__anext__")]
    known = [(home, name, getattr(home, name)) for home, name in places]
    for home, name, original in known:
        setattr(home, name, functools.wraps(original)(lambda *args, _of=original, **more: _of(*args, **more)))

    def undo() -> None:
        for home, name, original in known:
            setattr(home, name, original)

    return undo


def _leave(rig: Rig, undo: Callable[[], None], first: bool) -> None:
    if first:
        assert disarm() == 0
    undo()
    if first:
        litellm.callbacks = [rig.logger]
        TokentrailLogger(rig.tracker, mode=rig.logger.mode)  # arms the door again


def entry_result(rig: Rig, entry: Entry) -> Any:
    """Ask, and read to the end."""
    answer = entry.ask(rig, {})
    if entry.is_async:
        return aread(answer, entry)
    return list(answer) if entry.streams else answer


def _beside(name: str, title: str, **more: Any) -> Scene:
    return Scene(name=name, part="Who asks, who listens, and what is wanted", title=title, **more)


_GUESSED: Final = (
    *CHATS,
    *(
        one
        for one in OTHERS
        if one.call_type in ("chat", "completion", "responses", "embedding")
        and one.name != "responses (Anthropic)"
    ),
    *OLLAMA,
    *OLLAMA_TEXT,
    *(one for one in GEMINI if one.streams),
)

_USERLESS: Final = ("anthropic_messages", "image_variation", "aimage_variation", "moderation")
"""Functions that take no `user`, or of which nothing is told."""
_TOLD: Final = (
    *CHATS,
    *(one for one in (*OTHERS, *UNCOUNTED) if not one.name.startswith(_USERLESS)),
)
_UNLOGGED: Final = Limit(
    why="LiteLLM has no events for a call that asks not to be logged. Mode `hooks` knows of it by what came "
    "back, which LiteLLM does not keep of these: they stay open until their age passes `active_max_age`.",
    modes=("hooks",),
    entries=("embedding", "responses stream", "aresponses stream", "image_edit"),
    ends=("abandoned",),
    tokens=UNKNOWN,
    by_age=True,
)
_UNCOUNTED: Final = replace(_UNLOGGED, entries=("rerank", "speech"), tokens=None)
_STRIPPED: Final = Limit(
    why="Where the Responses API is asked of Anthropic, and in Anthropic's own API, LiteLLM keeps little of "
    "the caller's metadata; mode `hooks` has only that.",
    modes=("hooks",),
    entries=(
        "responses (Anthropic)",
        "responses stream (Anthropic)",
        "anthropic_messages",
        "anthropic_messages stream",
    ),
    unchecked=True,
)

BESIDES: Final = (
    _beside(
        "who",
        "user, session, tags and labels",
        entries=_TOLD,
        arguments=WHO,
        check=_identified,
        limits=(_STRIPPED,),
    ),
    _beside(
        "who-metadata",
        "the same, with the user in the metadata",
        entries=tuple(one for one in OTHERS if one.name.startswith("anthropic_messages")),
        arguments={
            "litellm_session_id": "s1",
            "metadata": {"user_id": "u1", "tags": ["beta", "eu"], "feature": "search", "agent_id": "a1"},
        },
        check=_identified,
        limits=(_STRIPPED,),
    ),
    _beside(
        "no-log",
        "`no-log`",
        entries=_TOLD,
        arguments={**WHO, "no-log": True},
        check=_nameless,
        limits=(_UNLOGGED, _UNCOUNTED),
    ),
    _beside(
        "rival-after", "another library wraps functions and streams after us", act=_rivalled(first=False)
    ),
    _beside("rival-before", "another library has wrapped functions and streams", act=_rivalled(first=True)),
    _beside(
        "listed-thrice",
        "the logger thrice, another of the same tracker, a bound method",
        act=_listed(again=True),
    ),
    _beside("listed-plain", "beside plain functions, sync and async", act=_listed(plain=True)),
    _beside(
        "estimate",
        "no usage, and `estimate_missing` is set",
        entries=_GUESSED,
        replies=(Reply(usage=MISSING, usage_in="none"),),
        settings={"estimate_missing": True},
        tokens=ESTIMATED,
        costs=ESTIMATED,
        limits=(OLD_BRIDGE,),
    ),
    _beside(
        "estimate-reported",
        "a usage, and `estimate_missing` is set",
        entries=_GUESSED,
        settings={"estimate_missing": True},
    ),
)
