"""Those who copied OpenAI's chat endpoint, each with its own idea of usage."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any, Final

from tokentrail.demo._openai import CHAT
from tokentrail.demo._wire import Answer, Dialect, Event, counts_of, parts_of

Usage = dict[str, Any]


def _copy(
    usage: Callable[[Usage], Usage],
    *,
    counts: Callable[[Mapping[str, Any]], dict[str, int]] = counts_of,
    chunk: Callable[[dict[str, Any], int], dict[str, Any]] = lambda body, _: body,
    opening: Callable[[Answer], Iterator[Event]] = lambda _: iter(()),
    more: Mapping[str, Any] | None = None,
) -> Dialect:
    """OpenAI's chat endpoint with another usage, other chunks, chunks before all, and `more` in the whole."""

    def own(told: Usage | None) -> Usage | None:
        # A scripted usage without OpenAI's names is sent as it is.
        return usage(told) if told and "prompt_tokens" in told else told

    def whole(answer: Answer) -> dict[str, Any]:
        body = {**CHAT.whole(answer), **(more or {})}
        return {**body, "usage": own(body["usage"])} if "usage" in body else body

    def events(answer: Answer) -> Iterator[Event]:
        yield from opening(answer)
        for index, event in enumerate(CHAT.events(answer)):
            assert isinstance(event.data, dict)
            told, body = own(event.usage), dict(event.data)
            if "usage" in body:
                body["usage"] = told
            yield event._replace(data=chunk(body, index), usage=told)

    return CHAT._replace(whole=whole, events=events, counts=counts)


def _groq_usage(usage: Usage) -> Usage:
    return {**usage, "queue_time": 0.01, "prompt_time": 0.002, "completion_time": 0.5, "total_time": 0.512}


def _groq_chunk(body: dict[str, Any], index: int) -> dict[str, Any]:
    """Groq says in `x_groq` what OpenAI says in `usage`; its first chunk has an `x_groq` without one."""
    told = body.pop("usage", None)
    if index == 0 or told:
        body["x_groq"] = {"id": "req_loopback", **({"usage": told} if told else {})}
    return body


def _deepseek_usage(usage: Usage) -> Usage:
    hit = parts_of(usage, "prompt_tokens_details").get("cached_tokens", 0)
    return {
        **usage,
        "prompt_cache_hit_tokens": hit,
        "prompt_cache_miss_tokens": usage["prompt_tokens"] - hit,
    }


def _deepseek_counts(usage: Mapping[str, Any]) -> dict[str, int]:
    hit = usage.get("prompt_cache_hit_tokens")
    return {**counts_of(usage), **({} if hit is None else {"cache_read_tokens": hit})}


def _reasoning(usage: Mapping[str, Any]) -> int:
    return int(parts_of(usage, "completion_tokens_details").get("reasoning_tokens", 0))


def _xai_usage(usage: Usage) -> Usage:
    """Reasoning is beside `completion_tokens`, and inside the total."""
    reasoning = min(_reasoning(usage), usage["completion_tokens"])
    cached = parts_of(usage, "prompt_tokens_details").get("cached_tokens", 0)
    whole = usage["prompt_tokens"]
    return {
        "prompt_tokens": whole,
        "completion_tokens": usage["completion_tokens"] - reasoning,
        **({"total_tokens": usage["total_tokens"]} if "total_tokens" in usage else {}),
        "prompt_tokens_details": {
            "text_tokens": whole, "audio_tokens": 0, "image_tokens": 0, "cached_tokens": cached,
        },
        "completion_tokens_details": {
            "reasoning_tokens": reasoning, "audio_tokens": 0,
            "accepted_prediction_tokens": 0, "rejected_prediction_tokens": 0,
        },
        "num_sources_used": 0,
    }  # fmt: skip


def _xai_counts(usage: Mapping[str, Any]) -> dict[str, int]:
    counts = counts_of(usage)
    if "output_tokens" in counts:
        counts["output_tokens"] += _reasoning(usage)
    return counts


COST: Final = 0.01234
"""What OpenRouter says each of its calls cost, in dollars."""


def _openrouter_usage(usage: Usage) -> Usage:
    parts = {"audio_tokens": 0, **parts_of(usage, "prompt_tokens_details")}
    parts["cache_write_tokens"] = parts.pop("cache_creation_tokens", 0)
    return {
        **usage,
        "cost": COST,
        "is_byok": False,
        "prompt_tokens_details": parts,
        "cost_details": {
            "upstream_inference_cost": None,
            "upstream_inference_prompt_cost": 0.01,
            "upstream_inference_completions_cost": 0.00234,
        },
    }


def _openrouter_counts(usage: Mapping[str, Any]) -> dict[str, int]:
    counts = counts_of(usage)
    written = parts_of(usage, "prompt_tokens_details").get("cache_write_tokens")
    return counts if written is None else {**counts, "cache_creation_tokens": written}


def _azure_opening(answer: Answer) -> Iterator[Event]:
    """Azure first tells what its filter thinks of the prompt, in a chunk without model and choices."""
    fine = {kind: {"filtered": False, "severity": "safe"} for kind in ("hate", "sexual", "violence")}
    filtered = [{"prompt_index": 0, "content_filter_results": fine}]
    body = {"id": "", "object": "", "created": 0, "model": "", "choices": []}
    yield Event({**body, "prompt_filter_results": filtered}, counts=False)


def _as_it_is(usage: Usage) -> Usage:
    return usage


AZURE: Final = _copy(_as_it_is, opening=_azure_opening)
DEEPSEEK: Final = _copy(_deepseek_usage, counts=_deepseek_counts)
FIREWORKS: Final = _copy(_as_it_is)
GROQ: Final = _copy(_groq_usage, chunk=_groq_chunk, more={"service_tier": "on_demand"})
MISTRAL: Final = _copy(_as_it_is)
OPENROUTER: Final = _copy(_openrouter_usage, counts=_openrouter_counts, more={"system_fingerprint": None})
XAI: Final = _copy(_xai_usage, counts=_xai_counts)
