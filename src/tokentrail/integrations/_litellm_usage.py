"""What an answer of LiteLLM consumed, and what the answer itself says of it."""

from __future__ import annotations

import base64
import binascii
import json
import math
from collections.abc import Iterable, Mapping
from typing import Any, Final, TypeGuard

from tokentrail._normalize import StreamUsage, normalize_usage
from tokentrail._usage import MISSING, Usage

_UNDECIDED: Final = ("in_progress", "queued")
_USAGES: Final = ("usage", "usage_metadata", "usageMetadata")
_NO_MODEL: Final = object()
_DETAILS: Final = (
    "input_tokens_details", "output_tokens_details", "prompt_tokens_details", "completion_tokens_details",
)  # fmt: skip
_COUNTING: Final = ("usage", "oken", "eval_count", "billed_units")
"""Words of which one is in every answer that counts something."""
_READ: Final = ("cached", "cacheRead", "cache_read", "cache_hit")
_WRITTEN: Final = ("cacheWrite", "cache_creation", "cache_write")
"""Words of which one is in every answer that tells input read from a cache, or written to one."""
_RAW_LIMIT: Final = 4 << 20
"""Characters of a raw answer that are searched for its usage; longer ones are embeddings or images."""


def field(thing: object, name: str) -> Any:
    """An item of a mapping, a field of a model, an attribute of an object, or `None`.

    Pydantic takes microseconds to say that a field is not there, so its models are asked by their dicts.
    """
    if isinstance(thing, dict):
        return thing.get(name)
    extra: Any = getattr(thing, "__pydantic_extra__", _NO_MODEL)
    if extra is _NO_MODEL:
        return getattr(thing, name, None)
    own = vars(thing)
    return own[name] if name in own else extra.get(name) if extra else None


def _plain(payload: Any) -> Any:
    """A model as the dict it was made of: what the normaliser reads fastest."""
    extra: Any = getattr(payload, "__pydantic_extra__", _NO_MODEL)
    if extra is _NO_MODEL:
        return payload
    fields = {**vars(payload), **extra} if extra else vars(payload)
    return {
        name: value if type(value) is int else _plain(value)
        for name, value in fields.items()
        if value is not None
    }


# --- usage ---------------------------------------------------------------------------------------


def read_usage(payload: object) -> Usage:
    """A usage as LiteLLM hands it over; zeros everywhere are what it writes where nothing was sent."""
    payload = _plain(payload)
    usage = normalize_usage(payload, shape=_shape_of(payload))
    return _honest(usage, payload) if counts(usage) else MISSING


def _shape_of(payload: object) -> str | None:
    if field(payload, "prompt_tokens") is not None or field(payload, "completion_tokens") is not None:
        return "openai"
    if field(payload, "input_tokens") is None:
        return None
    return "anthropic" if field(payload, "total_tokens") is None else "openai_responses"


def _honest(usage: Usage, payload: object) -> Usage:
    """Without the reasoning of zero that LiteLLM writes where a provider says nothing of reasoning."""
    if usage.reasoning_tokens == 0:
        details = field(payload, "completion_tokens_details")
        if details is not None and field(details, "text_tokens") == usage.output_tokens:
            return usage._replace(reasoning_tokens=None)
    return usage


def counts(usage: Usage) -> bool:
    """Whether a usage says anything but zeros."""
    return bool(usage.input_tokens or usage.output_tokens or usage.total_tokens)


def is_made_up(payload: object) -> bool:
    """Whether a usage at the end of a Responses stream is LiteLLM's own estimate (from 1.110 on).

    Nothing marks one; but the API always tells the parts of a usage, and an estimate has none.
    """
    return all(field(payload, name) is None for name in _DETAILS)


def usage_of(response: object, raw: object) -> Usage:
    """The usage of a whole answer; `MISSING` if the provider sent none.

    LiteLLM writes 0/0/0 where a provider sent nothing, so zeros are believed only if the raw answer has them.

    Args:
        response: what LiteLLM returns.
        raw: `original_response` of the same attempt: the provider's own text, if LiteLLM kept it.
    """
    usage = read_usage(usage_in(response))
    if usage.reported:
        return MISSING if _is_guess(usage, response, raw) else _as_sent(usage, raw)
    told = usage_in_raw(raw)
    if told.reported or raw_is_json(raw):
        return told
    return MISSING


def _is_guess(usage: Usage, response: object, raw: object) -> bool:
    """Whether the usage is LiteLLM's estimate: the provider's own answer has no counts (Ollama)."""
    if raw is None:  # all that is known of Ollama's older endpoint, whose text LiteLLM counts as nothing
        return usage.output_tokens == 0 and str(field(response, "model")).startswith("ollama/")
    return _is_known(raw) and not any(word in raw for word in _COUNTING)


def _as_sent(usage: Usage, raw: object) -> Usage:
    """Without the cached input of zero that LiteLLM writes where the provider tells none (Bedrock)."""
    unread, unwritten = usage.cache_read_tokens == 0, usage.cache_creation_tokens == 0
    if not (unread or unwritten) or not _is_known(raw):
        return usage
    if unread and not any(word in raw for word in _READ):
        usage = usage._replace(cache_read_tokens=None)
    if unwritten and not any(word in raw for word in _WRITTEN):
        usage = usage._replace(cache_creation_tokens=None)
    return usage


def _is_known(raw: object) -> TypeGuard[str]:
    """Whether the provider's own answer is there to be searched."""
    return isinstance(raw, str) and len(raw) <= _RAW_LIMIT and raw_is_json(raw)


def usage_in_raw(raw: object) -> Usage:
    """The usage in the provider's own answer, if that is known as JSON text."""
    if not isinstance(raw, str) or len(raw) > _RAW_LIMIT or '"usage' not in raw:
        return MISSING
    try:
        body = json.loads(raw)
    except ValueError:
        return MISSING
    payload = body.get("usage") or body.get("usageMetadata") if isinstance(body, dict) else None
    return normalize_usage(payload) if payload else MISSING


def raw_is_json(raw: object) -> bool:
    """Whether the raw answer is there to be believed."""
    return isinstance(raw, str) and raw.lstrip()[:1] == "{"


def usage_of_chunks(chunks: Iterable[object]) -> tuple[Usage, object]:
    """The usage that a stream's chunks add up to, and the payload that told it last.

    Providers repeat running totals, send the input with the first chunk only, or zeros at the end.
    """
    told = [_plain(usage) for usage in map(usage_in, chunks) if usage is not None]
    if len(told) < 2:
        return (read_usage(told[0]), told[0]) if told else (MISSING, None)
    merged = StreamUsage(shape=_shape_of(told[-1]))
    for usage in told:
        merged.feed(usage)
    return (_honest(merged.usage, told[-1]) if counts(merged.usage) else MISSING), told[-1]


def usage_in(thing: object) -> Any:
    """The usage that a response, chunk or Responses event carries."""
    own = getattr(thing, "__dict__", None)
    if own is not None and "choices" in own:  # nearly every chunk of a stream
        usage = own.get("usage")
        return usage if usage is not None else field(thing, "usage")
    for name in _USAGES:
        usage = field(thing, name)
        if usage is not None:
            return usage
    inner = field(thing, "response")
    if inner is not None and not isinstance(inner, str):
        return field(inner, "usage")
    meta = field(thing, "meta")
    return meta if isinstance(meta, Mapping) and (meta.get("tokens") or meta.get("billed_units")) else None


def stated_cost(payload: object) -> dict[str, Any]:
    """The cost in dollars that the provider itself wrote into a usage (OpenRouter, xAI, Perplexity)."""
    cost = field(payload, "cost")
    if isinstance(cost, Mapping):
        cost = cost.get("total_cost")
    if isinstance(cost, bool) or not isinstance(cost, (int, float)) or not math.isfinite(cost) or cost < 0:
        return {}
    byok = field(payload, "is_byok")
    fields: dict[str, Any] = {"cost_usd": cost, "cost_source": "provider"}
    return {**fields, "is_byok": byok} if isinstance(byok, bool) else fields


# --- the answer itself ---------------------------------------------------------------------------


def answer_fields(answer: object) -> dict[str, Any]:
    """Id, model and end of a whole answer, or of the chunk, event or SSE text that was read last."""
    inner = field(answer, "response")
    if inner is not None and field(answer, "type") is not None:  # an event of the Responses API
        answer = inner
    fields: dict[str, Any] = {}
    response_id = field(answer, "id")
    if isinstance(response_id, str) and response_id:
        fields["response_id"] = provider_id(response_id)
    model = field(answer, "model")
    if isinstance(model, str) and model:
        fields["model"] = model
    reason = finish_reason(answer)
    if reason is not None:
        fields["finish_reason"] = reason
    calls = _tool_calls(answer)
    if calls:
        fields["tool_call_count"] = calls
    return fields


def finish_reason(answer: object) -> str | None:
    """Why an answer, chunk or event says that it ends."""
    choices = field(answer, "choices")
    if choices:
        reason = field(choices[0], "finish_reason")
        return str(reason) if reason else None
    reason = field(answer, "stop_reason")
    if reason is None and field(answer, "object") == "response":
        status = field(answer, "status")
        reason = None if status in _UNDECIDED else status
    return str(reason) if isinstance(reason, str) and reason else None


def _tool_calls(answer: object) -> int:
    choices = field(answer, "choices")
    if not choices:
        return 0
    calls = field(field(choices[0], "message"), "tool_calls")
    return len(calls) if isinstance(calls, (list, tuple)) else 0


def provider_id(response_id: str) -> str:
    """The provider's own id inside the base64 that LiteLLM makes of ids of the Responses API."""
    if not response_id.startswith("resp_") or len(response_id) < 64:
        return response_id
    try:
        text = base64.b64decode(response_id.removeprefix("resp_"), validate=True).decode()
    except (binascii.Error, ValueError):
        return response_id
    return text.rpartition("response_id:")[2] if "response_id:" in text else response_id


def has_content(chunk: object) -> bool:
    """Whether a chunk brings something of the answer: text, thoughts, a tool call, an event with a delta."""
    choices = field(chunk, "choices")
    if choices is not None:
        if not choices:
            return False
        delta = field(choices[0], "delta")
        if delta is None:
            return bool(field(choices[0], "text"))
        return any(
            field(delta, name) for name in ("content", "reasoning_content", "tool_calls", "function_call")
        )
    if isinstance(chunk, bytes):
        return b"content_block_delta" in chunk
    kind = field(chunk, "type")
    return isinstance(kind, str) and kind.endswith((".delta", "_delta"))


def text_of(chunks: Iterable[object]) -> dict[str, Any]:
    """The text that chunks add up to, for those who capture answers."""
    texts: list[str] = []
    for chunk in chunks:
        choices = field(chunk, "choices")
        text = field(field(choices[0], "delta"), "content") if choices else field(chunk, "delta")
        if isinstance(text, str):
            texts.append(text)
    return {"content": "".join(texts)}
