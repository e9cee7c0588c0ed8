"""Where LangChain hides the usage of an answer, of a failed answer and of a chunk."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Final

from tokentrail._normalize import normalize_usage
from tokentrail._usage import MISSING, Usage

IN_FIRST_OF_BATCH: Final = Usage(flags=("missing_usage", "in_first_of_batch"))
"""Several prompts went out in one request; its usage is with the first of them."""
IN_INNER_CALL: Final = Usage(flags=("missing_usage", "in_inner_call"))
"""A model that asked another model; the usage is with the inner call."""

_RAW: Final = ("token_usage", "usage", "usage_metadata", "amazon-bedrock-invocationMetrics", "token_count")
"""Names under which integrations keep what the wire said."""
_COUNTED_BARE: Final = ("eval_count", "prompt_eval_count", "input_token_count", "generated_token_count")
"""Counts that lie among other metadata without a name around them (Ollama, watsonx)."""
PARTS_ONLY_IN_RAW: Final = frozenset(("mistral", "mistralai"))
"""Providers whose integration drops the cached tokens from `usage_metadata` (langchain-mistralai 1.1)."""
_OWN_TOTAL: Final = frozenset(("total_mismatch", "derived_total", "missing_usage"))
"""Flags of a usage that has no total of its own to prove its parts."""
_TOKEN_BYTES: Final = 4
"""A character has at most four bytes, and a tokeniser makes at least a byte of text into a token."""


def usage_of_message(response: Any, generation: Any, message: Any, provider: str | None) -> Usage:
    """The usage of an `LLMResult`, from its first generation only: each of n repeats the whole."""
    reported = None if message is None else message.usage_metadata
    usage = MISSING if reported is None else normalize_usage(reported, shape="langchain")
    doubtful = usage[9] and "total_mismatch" in usage[9]
    if usage[2] and provider not in PARTS_ONLY_IN_RAW and not doubtful:
        return usage  # with a total, it is all there is
    raw = _raw_usage(response, generation, message, provider)
    if raw is None:
        return usage
    if doubtful:  # ChatXAI adds reasoning to an output that may have it already; the wire's total tells
        return raw if _OWN_TOTAL.isdisjoint(raw.flags) else usage
    return _fill_parts(usage, raw) if usage.total_tokens else raw


def first_generation(response: Any) -> Any:
    """The first generation of an `LLMResult`, or `None`."""
    prompts = response.generations if response is not None else None
    return prompts[0][0] if prompts and prompts[0] else None


def _raw_usage(response: Any, generation: Any, message: Any, provider: str | None) -> Usage | None:
    """What the integration kept of the wire; says more where LangChain's own form lost something."""
    if provider == "litellm":
        return None  # LiteLLM writes 0/0/0 into both where nothing was reported
    output = getattr(response, "llm_output", None)
    for holder in (output, getattr(generation, "generation_info", None), _metadata_of(message)):
        found = _raw_of(holder)
        if found is not None:
            usage = normalize_usage(found)
            if usage.reported:
                return usage
    if message is None and isinstance(output, Mapping) and output.get("token_usage") == {}:
        return IN_FIRST_OF_BATCH
    return None


def _raw_of(holder: Any) -> Any:
    if not isinstance(holder, Mapping):
        return None
    for name in _RAW:
        if holder.get(name):
            return holder[name]
    return holder if any(name in holder for name in _COUNTED_BARE) else None


def _metadata_of(message: Any) -> Any:
    return getattr(message, "response_metadata", None)


def _fill_parts(usage: Usage, raw: Usage) -> Usage:
    """Parts that only the wire's own usage has; its wholes are not taken."""
    if raw.input_tokens != usage.input_tokens:
        return usage
    missing = {
        name: getattr(raw, name)
        for name in ("cache_read_tokens", "cache_creation_tokens", "reasoning_tokens")
        if getattr(usage, name) is None
    }
    return usage._replace(**missing)


def usage_of_chunk(generation_info: Any) -> Any:
    """The usage in a chunk of a completion model, as it lies there, or `None`."""
    return _raw_of(generation_info)


def usage_of_error(error: BaseException, response: Any) -> Usage | None:
    """What a failed call has still used up: from its answer, the HTTP body, or the exception itself."""
    for generation in _generations(response):
        message = getattr(generation, "message", None)
        metadata = _metadata_of(message)
        for payload in (getattr(message, "usage_metadata", None), _body_usage(metadata)):
            if payload is not None:
                usage = normalize_usage(payload)
                if usage.reported:
                    return usage
    completion = getattr(error, "completion", None)
    usage = MISSING if completion is None else normalize_usage(getattr(completion, "usage", None))
    return usage if usage.reported else None


def _generations(response: Any) -> Iterator[Any]:
    for prompt in getattr(response, "generations", None) or ():
        yield from prompt


def _body_usage(metadata: Any) -> Any:
    body = metadata.get("body") if isinstance(metadata, Mapping) else None
    return body.get("usage") if isinstance(body, Mapping) else None


def is_surely_reported(usage: Usage, text: str, has_tool_calls: bool) -> bool:
    """Whether a usage that came through LiteLLM's stream cannot be LiteLLM's own estimate.

    Where a server reports nothing, LiteLLM counts the texts itself and gives the result in the same form.
    Such an estimate knows nothing of caches, reasoning or audio, and never has more tokens than bytes.
    """
    known_parts = (usage.cache_read_tokens, usage.cache_creation_tokens, usage.input_audio_tokens)
    if any(part is not None for part in known_parts) or usage.reasoning_tokens or usage.output_audio_tokens:
        return True
    taken = usage.output_tokens
    return taken is not None and not has_tool_calls and taken > len(text) * _TOKEN_BYTES
