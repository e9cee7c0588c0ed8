"""LiteLLM's entry points, each asking the loopback provider."""

from __future__ import annotations

import importlib.util
import io
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

import litellm
from litellm import google_genai

from litellm_rig import CLAUDE, HI, Rig

KEY: Final = "sk-secret-canary"
PROXY: Final = ("fastapi", "backoff", "redis")
"""What LiteLLM's proxy needs, and by its imports some functions that have nothing to do with it."""
_ASKED: Final = [{"role": "user", "parts": [{"text": "hello"}]}]


@dataclass(frozen=True, kw_only=True)
class Entry:
    """One way to ask.

    Attributes:
        name: LiteLLM's function, whether it streams, and whom it asks.
        ask: asks the provider of a rig; gives what LiteLLM gives, perhaps to be awaited.
        model: the model that the provider is asked for.
        call_type: what the row says.
        provider: what the row says.
        is_async: whether what `ask` gives is to be awaited.
        streams: whether what it gives is to be read.
        needs: modules without which LiteLLM cannot do this.
        wire: whose wire it is.
        heard_as: what some versions of LiteLLM call it in their events, which are all that mode `hooks` has.
    """

    name: str
    ask: Callable[[Rig, Mapping[str, Any]], Any]
    model: str = "gpt-4o"
    call_type: str = "chat"
    provider: str = "openai"
    is_async: bool = False
    streams: bool = False
    needs: tuple[str, ...] = ()
    wire: str = "openai"
    heard_as: str | None = None

    @property
    def possible(self) -> bool:
        """Whether it can be done here."""
        return all(importlib.util.find_spec(module) for module in self.needs)


def _call(
    name: str, *, at: Callable[[Rig], Mapping[str, Any]], of: Any = litellm, **given: Any
) -> Callable[..., Any]:
    def ask(rig: Rig, more: Mapping[str, Any]) -> Any:
        return getattr(of, name)(**{**given, **at(rig), **more})

    return ask


def _openai(rig: Rig) -> Mapping[str, Any]:
    return rig.openai


def _anthropic(rig: Rig) -> Mapping[str, Any]:
    return rig.anthropic


def _bare(rig: Rig) -> Mapping[str, Any]:
    return {"api_base": rig.provider.url, "api_key": KEY}


def four(name: str, *, at: Callable[[Rig], Mapping[str, Any]], model: str, **what: Any) -> list[Entry]:
    """Sync and async, whole and streamed, of the chat models of one provider."""
    bare = what.pop("bare")
    return [
        Entry(
            name=f"{function}{' stream' if streams else ''}{name}",
            ask=_call(function, at=at, model=model, messages=HI, **({"stream": True} if streams else {})),
            model=bare,
            is_async=function.startswith("a"),
            streams=streams,
            **what,
        )
        for streams in (False, True)
        for function in ("completion", "acompletion")
    ]


def _both(
    function: str, twin: str, *, at: Callable[[Rig], Mapping[str, Any]] = _openai, **what: Any
) -> list[Entry]:
    """A function and its async twin."""
    given = what.pop("given")
    return [
        Entry(name=name, ask=_call(name, at=at, **given), is_async=name == twin, **what)
        for name in (function, twin)
    ]


def _streamed(function: str, twin: str, **what: Any) -> list[Entry]:
    """The same, whole and streamed."""
    given = what.pop("given")
    whole = _both(function, twin, given=given, **what)
    streams = [
        Entry(
            name=f"{name} stream",
            ask=_call(name, at=what.get("at", _openai), **given, stream=True),
            is_async=name == twin,
            streams=True,
            **{key: value for key, value in what.items() if key != "at"},
        )
        for name in (function, twin)
    ]
    return whole + streams


def _upload(name: str, field: str, file: str, **given: Any) -> Callable[..., Any]:
    """Ask with a file, a new one each time."""

    def ask(rig: Rig, more: Mapping[str, Any]) -> Any:
        content = io.BytesIO(b"RIFF0000WAVE")
        content.name = file
        return getattr(litellm, name)(**{field: content}, **given, **rig.openai, **more)

    return ask


CHATS: Final = tuple(four("", at=_openai, model="openai/gpt-4o", bare="gpt-4o"))
WHOLE: Final = tuple(one for one in CHATS if not one.streams)
STREAMS: Final = tuple(one for one in CHATS if one.streams)
CLAUDES: Final = tuple(
    four(
        " (Anthropic)",
        at=_anthropic,
        model=CLAUDE,
        bare="claude-haiku-4-5",
        provider="anthropic",
        wire="anthropic",
    )
)

OTHERS: Final = (
    *_streamed(
        "text_completion",
        "atext_completion",
        call_type="completion",
        model="gpt-3.5-turbo-instruct",
        provider="text-completion-openai",
        given={"model": "text-completion-openai/gpt-3.5-turbo-instruct", "prompt": "hello"},
    ),
    *_both(
        "embedding",
        "aembedding",
        call_type="embedding",
        model="text-embedding-3-small",
        given={"model": "openai/text-embedding-3-small", "input": ["hello", "you"]},
    ),
    *_streamed(
        "responses",
        "aresponses",
        call_type="responses",
        given={"model": "openai/gpt-4o", "input": "hello"},
    ),
    Entry(
        name="anthropic_messages",
        is_async=True,
        model="claude-haiku-4-5",
        provider="anthropic",
        wire="anthropic",
        ask=_call("anthropic_messages", at=_anthropic, model=CLAUDE, messages=HI, max_tokens=9),
    ),
    Entry(
        name="anthropic_messages stream",
        is_async=True,
        streams=True,
        model="claude-haiku-4-5",
        provider="anthropic",
        wire="anthropic",
        needs=PROXY,
        ask=_call("anthropic_messages", at=_anthropic, model=CLAUDE, messages=HI, max_tokens=9, stream=True),
    ),
    Entry(
        name="anthropic_messages (OpenAI)",
        is_async=True,
        ask=_call("anthropic_messages", at=_openai, model="openai/gpt-4o", messages=HI, max_tokens=9),
    ),
    Entry(
        name="completion (Responses)",
        heard_as="responses",
        ask=_call("completion", at=_openai, model="openai/responses/gpt-4o", messages=HI),
    ),
    Entry(
        name="completion stream (Responses)",
        heard_as="responses",
        streams=True,
        ask=_call("completion", at=_openai, model="openai/responses/gpt-4o", messages=HI, stream=True),
    ),
    Entry(
        name="responses (Anthropic)",
        call_type="responses",
        model="claude-haiku-4-5",
        provider="anthropic",
        wire="anthropic",
        ask=_call("responses", at=_anthropic, model=CLAUDE, input="hello"),
    ),
    Entry(
        name="responses stream (Anthropic)",
        call_type="responses",
        model="claude-haiku-4-5",
        provider="anthropic",
        wire="anthropic",
        streams=True,
        ask=_call("responses", at=_anthropic, model=CLAUDE, input="hello", stream=True),
    ),
    *_both(
        "image_generation",
        "aimage_generation",
        call_type="image",
        model="gpt-image-1",
        given={"model": "openai/gpt-image-1", "prompt": "a cat"},
    ),
    *(
        Entry(
            name=name,
            is_async=name[0] == "a",
            call_type="audio",
            model="gpt-4o-transcribe",
            ask=_upload(name, "file", "hello.wav", model="openai/gpt-4o-transcribe"),
        )
        for name in ("transcription", "atranscription")
    ),
    *(
        Entry(
            name=name,
            is_async=name[0] == "a",
            call_type="image",
            model="gpt-image-1",
            ask=_upload(name, "image", "cat.png", model="openai/gpt-image-1", prompt="a hat"),
        )
        for name in ("image_edit", "aimage_edit")
    ),
)
"""Further functions whose answers tell a usage in tokens."""

GOOGLES: Final = tuple(
    Entry(
        name=f"{name}{'' if whom == 'Gemini' else f' ({whom})'}",
        is_async=name[0] == "a",
        streams=name.endswith("_stream"),
        needs=PROXY,
        ask=_call(name, of=google_genai, at=at, model=f"{provider}/{model}", contents=_ASKED),
        model=model,
        provider=provider,
    )
    for whom, at, provider, model in (
        ("Gemini", _bare, "gemini", "gemini-2.5-flash"),
        ("OpenAI", _openai, "openai", "gpt-4o"),
    )
    for name in (
        "generate_content",
        "agenerate_content",
        "generate_content_stream",
        "agenerate_content_stream",
    )
    # LiteLLM gives an async generator to who asks OpenAI this way without awaiting.
    if (whom, name) != ("OpenAI", "generate_content_stream")
)
"""Google's own API, as LiteLLM has it."""

UNCOUNTED: Final = (
    *_both(
        "rerank",
        "arerank",
        at=lambda rig: {"api_base": f"{rig.provider.url}/v2/rerank", "api_key": KEY},
        call_type="rerank",
        model="rerank-v3.5",
        provider="cohere",
        given={"model": "cohere/rerank-v3.5", "query": "hello", "documents": ["hi", "bye"]},
    ),
    *_both(
        "speech",
        "aspeech",
        call_type="audio",
        model="tts-1",
        given={"model": "openai/tts-1", "input": "hello", "voice": "alloy"},
    ),
    *_both(
        "moderation",
        "amoderation",
        call_type="moderation",
        model="omni-moderation-latest",
        given={"model": "openai/omni-moderation-latest", "input": "hello"},
    ),
    *(
        Entry(
            name=name,
            is_async=name[0] == "a",
            call_type="image",
            model="",  # which LiteLLM does not send
            ask=_upload(name, "image", "cat.png", model="dall-e-2", custom_llm_provider="openai"),
        )
        for name in ("image_variation", "aimage_variation")
    ),
)
"""Functions whose answers tell no tokens."""
