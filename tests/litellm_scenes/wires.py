"""Endpoints that only LiteLLM's scenes ask: images, rerank, transcription, moderation, speech."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Final

from providers.dialects import DIALECTS
from tokentrail.demo._openai import CHAT
from tokentrail.demo._wire import (
    CREATED,
    Answer,
    Dialect,
    Event,
    counts_of,
    parts_of,
    responses_usage,
    with_usage,
)


def _no_events(answer: Answer) -> Iterator[Event]:
    raise NotImplementedError(f"nothing that {answer.model} is asked here streams")


def _image(answer: Answer) -> dict[str, Any]:
    body = {"created": CREATED, "data": [{"b64_json": "aGVsbG8="}]}
    usage = responses_usage(answer.reply)
    if usage is not None:
        del usage["output_tokens_details"]
        usage["input_tokens_details"] = {"text_tokens": usage["input_tokens"], "image_tokens": 0}
    return with_usage(body, answer.reply, usage)


def _rerank(answer: Answer) -> dict[str, Any]:
    return {
        "id": answer.id("rerank-"),
        "results": [{"index": 0, "relevance_score": 0.9}],
        "meta": {"api_version": {"version": "1"}, "billed_units": {"search_units": 1}},
    }


def _transcription_counts(usage: Mapping[str, Any]) -> dict[str, int]:
    heard = parts_of(usage, "input_token_details").get("audio_tokens")
    return counts_of(usage) if heard is None else {**counts_of(usage), "input_audio_tokens": heard}


def _transcription(answer: Answer) -> dict[str, Any]:
    usage = responses_usage(answer.reply)
    if usage is not None:
        del usage["input_tokens_details"], usage["output_tokens_details"]
        details = {"text_tokens": 0, "audio_tokens": usage["input_tokens"]}
        usage = {"type": "tokens", "input_token_details": details, **usage}
    return with_usage({"text": answer.reply.text}, answer.reply, usage)


def _moderation(answer: Answer) -> dict[str, Any]:
    result = {"flagged": False, "categories": {"violence": False}, "category_scores": {"violence": 0.01}}
    return {"id": answer.id("modr-"), "model": answer.model, "results": [result]}


def _speech(answer: Answer) -> dict[str, Any]:
    return {"sound": answer.reply.text}


def _generated(body: dict[str, Any]) -> dict[str, Any]:
    """What `/api/generate` says where `/api/chat` has a message."""
    return {
        **{name: value for name, value in body.items() if name != "message"},
        "response": body["message"]["content"],
    }


_OLLAMA: Final = DIALECTS["/api/chat"]
_GENERATE: Final = _OLLAMA._replace(
    whole=lambda answer: _generated(_OLLAMA.whole(answer)),
    events=lambda answer: (
        event._replace(data=_generated(event.data))
        for event in _OLLAMA.events(answer)
        if isinstance(event.data, dict)
    ),
)
"""Ollama's older endpoint, for texts without roles."""

WIRES: Final[Mapping[str, Dialect]] = {
    **DIALECTS,
    "/api/generate": _GENERATE,
    "/images/generations": Dialect(_image, _no_events, False, CHAT.error),
    "/rerank": Dialect(_rerank, _no_events, False, CHAT.error),
    "/images/edits": Dialect(_image, _no_events, False, CHAT.error),
    "/images/variations": Dialect(_image, _no_events, False, CHAT.error),
    "/audio/transcriptions": Dialect(
        _transcription, _no_events, False, CHAT.error, counts=_transcription_counts
    ),
    "/audio/speech": Dialect(_speech, _no_events, False, CHAT.error),
    "/moderations": Dialect(_moderation, _no_events, False, CHAT.error),
}
