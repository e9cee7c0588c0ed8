"""Answers from LiteLLM's own cache: no function behind the decorator runs, and events often stay away.

LiteLLM looks in its cache through two methods of one class. A look that finds an answer is a call that cost
nothing. If the class is not as we know it, nothing is wrapped, and only LiteLLM's events tell of hits.
"""

from __future__ import annotations

import functools
import inspect
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

from tokentrail._guard import guarded
from tokentrail.integrations import _litellm_streams as streams
from tokentrail.integrations._litellm_calls import Attempt, find, meeting, remember
from tokentrail.integrations._litellm_details import Details, kind_of
from tokentrail.integrations._litellm_frames import Doors
from tokentrail.integrations._litellm_operations import NONE_YET, fields_of
from tokentrail.integrations._litellm_patches import replace
from tokentrail.integrations._litellm_usage import answer_fields, read_usage, usage_in

HIT: dict[str, Any] = {"cache_hit": True, "cost_usd": 0.0, "cost_source": "free"}
"""What every answer from a cache has in common."""


def watch_cache(handler: Any, doors: Doors) -> None:
    """Wrap the looks of LiteLLM's caching handler."""
    if not isinstance(handler, type):
        return
    looks: dict[str, Callable[..., Any]] = {"sync_get_cache": _sync, "async_get_cache": _async}
    for name, wrap in looks.items():
        look = vars(handler).get(name)
        if inspect.isfunction(look):
            replace(handler, name, wrap(look, doors))


def _sync(look: Callable[..., Any], doors: Doors) -> Callable[..., Any]:
    @functools.wraps(look)
    def sync_get_cache(*args: Any, **kwargs: Any) -> Any:
        clock = time.perf_counter_ns()
        found = look(*args, **kwargs)
        _looked(doors, found, kwargs, clock)
        return found

    return sync_get_cache


def _async(look: Callable[..., Any], doors: Doors) -> Callable[..., Any]:
    @functools.wraps(look)
    async def async_get_cache(*args: Any, **kwargs: Any) -> Any:
        clock = time.perf_counter_ns()
        found = await look(*args, **kwargs)
        _looked(doors, found, kwargs, clock)
        return found

    return async_get_cache


def _looked(doors: Doors, found: Any, kwargs: dict[str, Any], clock: int) -> None:
    if found is None:
        return
    with guarded(doors.health, "litellm.cache"):
        answer = getattr(found, "cached_result", None)
        if getattr(found, "final_embedding_cached_response", None) is not None:
            whole = getattr(found, "embedding_all_elements_cache_hit", False)
            answer = found.final_embedding_cached_response if whole else None
        details = getattr(kwargs.get("logging_obj"), "model_call_details", None)
        # A stream from the cache is told of by its events when it was read.
        if answer is not None and isinstance(details, dict) and not streams.is_stream(answer):
            _hit(doors, details, kwargs, answer, clock)


def _hit(doors: Doors, details: Details, kwargs: dict[str, Any], answer: object, clock: int) -> None:
    kind = kind_of(str(kwargs.get("call_type")))
    if kind is None:
        return
    with meeting():
        if find(details) is not None:
            return
        model = kwargs.get("model")
        fields, _ = fields_of(details, kind, model if isinstance(model, str) else None, NONE_YET)
        attempt = Attempt(details, kind)
        attempt.clock = clock
        remember(details, attempt)
        elapsed = timedelta(microseconds=(time.perf_counter_ns() - clock) / 1000)
        for tracker in doors.trackers():
            attempt.begin(tracker, details, fields, started_at=datetime.now(UTC) - elapsed)
    usage = read_usage(usage_in(answer))
    attempt.end("success", usage=usage, response=answer, **{**answer_fields(answer), **HIT})
