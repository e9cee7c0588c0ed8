"""Endpoints that only LiteLLM's scenes ask: images, rerank, transcription, moderation, speech."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Final

from providers.dialects import DIALECTS
from tokentrail.demo._openai import CHAT
from tokentrail.demo._wire import CREATED, Answer, Dialect, Event, responses_usage, with_usage


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


WIRES: Final[Mapping[str, Dialect]] = {
    **DIALECTS,
    "/images/generations": Dialect(_image, _no_events, False, CHAT.error),
    "/rerank": Dialect(_rerank, _no_events, False, CHAT.error),
    "/audio/transcriptions": Dialect(_transcription, _no_events, False, CHAT.error),
    "/audio/speech": Dialect(_speech, _no_events, False, CHAT.error),
    "/moderations": Dialect(_moderation, _no_events, False, CHAT.error),
}
