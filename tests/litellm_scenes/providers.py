"""`completion` over the wires of other providers, each with its own idea of a usage."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final

from litellm_rig import Rig
from litellm_scenes.answers import CACHED, PARTS, USAGE
from litellm_scenes.entries import CLAUDES, KEY, Entry, four
from litellm_scenes.scenes import AS_SENT, UNKNOWN, UNTOLD_CLAUDE, Limit, Scene
from tokentrail.demo.provider import MISSING, Reply


def _at(path: str = "", **more: Any) -> Callable[[Rig], Mapping[str, Any]]:
    def at(rig: Rig) -> Mapping[str, Any]:
        return {"api_base": f"{rig.provider.url}{path}", "api_key": KEY, "max_retries": 0, **more}

    return at


def _aws(rig: Rig) -> Mapping[str, Any]:
    return {
        "aws_bedrock_runtime_endpoint": rig.provider.url,
        "aws_access_key_id": KEY,
        "aws_secret_access_key": KEY,
        "aws_region_name": "us-east-1",
    }


def _asked(whom: str, at: Callable[[Rig], Mapping[str, Any]], model: str, provider: str) -> tuple[Entry, ...]:
    bare = model.removeprefix(f"{provider}/").removeprefix("converse/")
    return tuple(four(f" ({whom})", at=at, model=model, bare=bare, provider=provider))


_HAIKU: Final = "anthropic.claude-haiku-4-5-20251001-v1:0"

GEMINI: Final = _asked("Gemini", _at(), "gemini/gemini-2.5-flash", "gemini")
OLLAMA: Final = _asked("Ollama", _at(), "ollama_chat/llama3.1", "ollama_chat")
OLLAMA_TEXT: Final = _asked("Ollama, as text", _at(), "ollama/llama3.1", "ollama")
MISTRAL: Final = _asked("Mistral", _at("/mistral"), "mistral/mistral-small-latest", "mistral")
COHERE: Final = _asked("Cohere", _at("/v2/chat"), "cohere_chat/command-r-plus", "cohere_chat")
BEDROCK: Final = _asked("Bedrock", _aws, f"bedrock/converse/{_HAIKU}", "bedrock")
AZURE: Final = _asked("Azure", _at(api_version="2024-10-21"), "azure/loopback", "azure")
OPENROUTER: Final = _asked("OpenRouter", _at("/openrouter"), "openrouter/openai/gpt-4o", "openrouter")
DEEPSEEK: Final = _asked("DeepSeek", _at("/deepseek"), "deepseek/deepseek-chat", "deepseek")
XAI: Final = _asked("xAI", _at("/xai"), "xai/grok-4", "xai")
GROQ: Final = _asked("Groq", _at("/groq/openai/v1"), "groq/llama-3.3-70b-versatile", "groq")

PROVIDERS: Final = (
    *CLAUDES, *GEMINI, *OLLAMA, *OLLAMA_TEXT, *MISTRAL, *COHERE, *BEDROCK, *AZURE, *OPENROUTER, *DEEPSEEK,
    *XAI, *GROQ,
)  # fmt: skip


def _whole(entries: tuple[Entry, ...]) -> tuple[Entry, ...]:
    return tuple(one for one in entries if not one.streams)


def _streams(entries: tuple[Entry, ...]) -> tuple[Entry, ...]:
    return tuple(one for one in entries if one.streams)


def _names(entries: tuple[Entry, ...]) -> tuple[str, ...]:
    return tuple(one.name for one in entries)


_COHERE_STREAM: Final = Limit(
    why="LiteLLM cannot read Cohere's stream: it fails at the first line, long before the usage.",
    entries=_names(_streams(COHERE)),
    ends=("error",),
    tokens=UNKNOWN,
)
_COHERE_CACHED: Final = Limit(
    why="LiteLLM drops what Cohere says of cached input.",
    entries=_names(_whole(COHERE)),
    tokens="cache_read_tokens None, not 4000",
    costs=AS_SENT,
)
_GROQ_STREAM: Final = Limit(
    why="Groq tells the usage of a stream in `x_groq`, which LiteLLM drops.",
    entries=_names(_streams(GROQ)),
    tokens=UNKNOWN,
)


def _bedrock_stream(*parts: str) -> Limit:
    return Limit(
        why="LiteLLM writes a cached input of 0 where Bedrock's stream tells none.",
        entries=_names(_streams(BEDROCK)),
        tokens=", ".join(f"{part} 0, not None" for part in parts),
        costs=AS_SENT,
    )


_FAILS: Final = (*_whole(CLAUDES), *_whole(GEMINI), *COHERE, *_whole(BEDROCK))
"""Where LiteLLM cannot do without a usage."""


def _wire(name: str, title: str, usage: Any, **more: Any) -> Scene:
    return Scene(
        **{
            "name": f"wire-{name}",
            "part": "Other providers",
            "title": title,
            "entries": PROVIDERS,
            "replies": (Reply(usage=usage),),
            "limits": (_COHERE_STREAM, _GROQ_STREAM),
            **more,
        }
    )


WIRED: Final = (
    _wire(
        "plain",
        "a usage",
        USAGE,
        limits=(_COHERE_STREAM, _GROQ_STREAM, _bedrock_stream("cache_read_tokens", "cache_creation_tokens")),
    ),
    _wire(
        "parts",
        "with cached input and reasoning, where the wire has them",
        PARTS,
        limits=(_COHERE_STREAM, _GROQ_STREAM, _COHERE_CACHED, _bedrock_stream("cache_creation_tokens")),
    ),
    _wire(
        "cached",
        "with input read from a cache and written to one, where the wire has it",
        CACHED,
        limits=(_COHERE_STREAM, _GROQ_STREAM, _COHERE_CACHED),
    ),
    _wire(
        "absent",
        "no usage",
        MISSING,
        replies=(Reply(usage=MISSING, usage_in="none"),),
        entries=tuple(one for one in PROVIDERS if one not in _FAILS),
        limits=(UNTOLD_CLAUDE,),
    ),
    _wire(
        "absent-fails",
        "no usage, at which LiteLLM fails although the provider has answered",
        MISSING,
        entries=_FAILS,
        ends=("error",),
        limits=(),
    ),
    _wire("refused", "429", MISSING, replies=(Reply(status=429),), ends=("error",), limits=()),
)
