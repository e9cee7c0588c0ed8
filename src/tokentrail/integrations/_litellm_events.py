"""LiteLLM's own events: late, sometimes lost, sometimes twice; the second witness of what frames have seen.

A later witness ends only what nobody else will end, fills only what is missing, and adds a row only for an
answer from LiteLLM's cache, of which frames see nothing. In mode `hooks`, which is for a LiteLLM whose cells
we do not recognise, these events are all there is; what they lose is lost then.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, Final

from tokentrail._tracker import Tracker
from tokentrail._usage import MISSING, Usage
from tokentrail.integrations import _litellm_streams as streams
from tokentrail.integrations._litellm_cache import HIT
from tokentrail.integrations._litellm_calls import Attempt, find, meeting, remember, remember_copies
from tokentrail.integrations._litellm_details import Details, kind_of
from tokentrail.integrations._litellm_estimates import estimate
from tokentrail.integrations._litellm_operations import NONE_YET, fields_of
from tokentrail.integrations._litellm_tokens import COST_IS_STAMPED
from tokentrail.integrations._litellm_usage import (
    answer_fields,
    field,
    is_made_up,
    read_usage,
    stated_cost,
    usage_in,
    usage_in_raw,
    usage_of,
)

_UNSENT: Final = "litellm_no_upstream_llm_call"
_PASSED: Final = "pass_through_endpoint"
_STREAMED: Final = COST_IS_STAMPED | {"anthropic_messages"}
"""Call types of whose streams LiteLLM tells the usage, or its own estimate of it."""


def started(details: Details, tracker: Tracker) -> None:
    """A request is about to be made, and no frame of ours is around it."""
    kind = kind_of(str(details.get("call_type")))
    if kind is None or details.get(_UNSENT) is True:
        return
    attempt = find(details)
    if attempt is None or not attempt.open:
        attempt = _new(details, kind, attempt)
    _begin(attempt, details, tracker)


def answered(details: Details) -> None:
    """Something came back; if it is an answer with usage, it counts until LiteLLM says more."""
    attempt = find(details)
    if attempt is None or attempt.watched or details.get("stream") is True:
        return
    usage = usage_in_raw(details.get("original_response"))
    if usage.reported:
        attempt.end("success", usage=usage, provisional=True)


def succeeded(details: Details, response: object, tracker: Tracker, *, hooks: bool, **timing: Any) -> None:
    """LiteLLM says that a call has succeeded."""
    if _is_chunk(response):
        return  # a plain function registered as callback hears of every chunk
    cached = details.get("cache_hit") is True
    with meeting():
        attempt = find(details)
        if attempt is None or (cached and not attempt.is_told(tracker)):
            kind = kind_of(str(details.get("call_type")))
            passed = details.get("call_type") == _PASSED
            if kind is None or not (cached or hooks or passed):
                return
            if not (cached or passed or details.get("custom_llm_provider")):
                return  # LiteLLM has asked through another of its functions, which told of it
            attempt = _new(details, kind, None) if attempt is None else attempt
            _begin(attempt, details, tracker, **_started_at(timing))
        elif attempt.watched:
            _fill(attempt, response)
            return
    fields = answer_fields(response)
    if cached:
        fields.update(HIT)
        usage = read_usage(usage_in(response))
    else:
        usage = _usage(details, response)
        if details.get("call_type") not in COST_IS_STAMPED and details.get("stream") is not True:
            fields.update(stated_cost(usage_in(response)))
    guess = estimate(attempt, usage, details, [response])
    fields.update(_duration(timing, cached))
    attempt.end("success", usage=usage, guess=guess, response=response, **fields)


def failed(details: Details, tracker: Tracker, *, hooks: bool, **timing: Any) -> None:
    """LiteLLM says that a call has failed."""
    if details.get(_UNSENT) is True:
        return
    attempt = find(details)
    if attempt is None:
        kind = kind_of(str(details.get("call_type")))
        if kind is None or not hooks:
            return
        attempt = _new(details, kind, None)
        _begin(attempt, details, tracker, **_started_at(timing))
    elif attempt.watched:
        return
    error = details.get("exception")
    attempt.end("error", error=error if isinstance(error, (BaseException, str)) else "LiteLLM told no reason")


def adopt_stream(stream: Any, details: Details) -> None:
    """A stream was made in mode `hooks`: watch it from here on."""
    attempt = find(details)
    if attempt is not None and not attempt.watched and attempt.open:
        attempt.watched = True
        streams.watch(stream, attempt, details)


def _new(details: Details, kind: str, before: Attempt | None) -> Attempt:
    attempt = Attempt(details, kind)
    attempt.watched = False
    attempt.tries = NONE_YET if before is None else before.tries
    remember(details, attempt)
    remember_copies(details, attempt)
    return attempt


def _begin(attempt: Attempt, details: Details, tracker: Tracker, **timing: Any) -> None:
    if attempt.is_told(tracker):
        return
    first = not attempt.calls
    fields, tries = fields_of(details, attempt.kind, None, attempt.tries if first else NONE_YET)
    if first:
        attempt.tries = tries
    attempt.begin(tracker, details, fields, **timing)


def _fill(attempt: Attempt, response: object) -> None:
    """A guess, for those who want one, where nothing was reported."""
    if attempt.usage.reported or not attempt.wants_estimate or attempt.open:
        return
    usage = read_usage(usage_in(response))
    if usage.reported:
        attempt.end("success", guess=usage)


def _usage(details: Details, response: object) -> Usage:
    call_type = details.get("call_type")
    if details.get("stream") is not True or call_type not in _STREAMED:
        return usage_of(response, details.get("original_response"))
    told = usage_in(response)
    return MISSING if _is_guess(call_type, told) else read_usage(told)


def _is_guess(call_type: object, told: object) -> bool:
    """Whether a stream's usage is LiteLLM's estimate; one of Anthropic's has always some input."""
    return is_made_up(told) if call_type in COST_IS_STAMPED else not read_usage(told).input_tokens


def _is_chunk(response: object) -> bool:
    return bool(field(response, "object") == "chat.completion.chunk")


def _started_at(timing: Mapping[str, Any]) -> dict[str, Any]:
    """LiteLLM's times are naive and local."""
    start = timing.get("start_time")
    return {"started_at": start.astimezone(UTC)} if isinstance(start, datetime) else {}


def _duration(timing: Mapping[str, Any], wanted: bool) -> dict[str, Any]:
    start, end = timing.get("start_time"), timing.get("end_time")
    if not wanted or not isinstance(start, datetime) or not isinstance(end, datetime):
        return {}
    return {"duration_ms": (end - start).total_seconds() * 1000}
