"""One physical call as LiteLLM makes it, and what each tracker calls it."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Mapping
from typing import Any, Final

from tokentrail._context import link
from tokentrail._health import Health
from tokentrail._redact import safe_str
from tokentrail._tracker import Tracker
from tokentrail._usage import MISSING, Usage
from tokentrail.integrations._litellm_details import (
    Details,
    bare_model,
    describe,
    is_mock,
    is_private,
    metadata_of,
)

SOURCE: Final = "litellm"
_TRIES: Final = "_tokentrail_tries"
_NAMELESS: Final = frozenset((
    "model", "provider", "requested_model", "call_type", "is_streaming", "attempt", "attempt_kind",
))  # fmt: skip
_UNNAMED: Final = frozenset((
    "model", "finish_reason", "cost_usd", "cost_source", "usage_source", "provisional", "duration_ms",
    "error_type",
))  # fmt: skip
"""What may be told of the start and of the end of a call that asked not to be logged."""
_QUOTES: Final = "received_args="
_REMEMBERED: Final = 10_000

generation = 0
"""Counts the forks that led here: a child leaves the calls of its parent alone."""


def _forked() -> None:
    global generation
    generation += 1
    recent.clear()


class Attempt:
    """One attempt at one provider request: a running call in each tracker whose door saw it.

    It must hold nothing of LiteLLM's: `model_call_details` holds the stream, and a stream that is held never
    dies, so that its abandonment would never be seen.
    """

    __slots__ = (
        "calls",
        "clock",
        "generation",
        "kind",
        "mock",
        "private",
        "provider",
        "tries",
        "usage",
        "watched",
    )

    def __init__(self, details: Details, kind: str) -> None:
        self.kind = kind
        self.calls: list[tuple[Tracker, str]] = []
        self.generation = generation
        self.private = is_private(details)
        self.mock = is_mock(details)
        self.provider: str | None = None
        self.clock: int | None = None
        """Monotonic nanoseconds of the true start, if the trackers heard of it late."""
        self.usage: Usage = MISSING
        """What the first end knew; a later witness is heard only if that was nothing."""
        self.tries: Tries = NONE_YET
        self.watched = True
        """Whether a frame or stream of ours will end this; else LiteLLM's own events have to."""

    def begin(self, tracker: Tracker, details: Details, fields: Mapping[str, Any], **timing: Any) -> None:
        """Start the call in a tracker, or recognise the one that LangChain's door has started there."""
        if self.is_told(tracker):
            tracker.health_counters.note("litellm_repeated_start")
            return
        self.provider = fields.get("provider")
        outer = link.get()
        if outer is not None and not outer.claimed and tracker.join(outer.call_id, SOURCE) is not False:
            outer.claimed = True
            known = {
                name: fields[name] for name in ("provider", "request_id", "api_base") if fields.get(name)
            }
            tracker.progress(outer.call_id, **known)
            self.calls.append((tracker, outer.call_id))
            return
        if self.private:
            kept = {name: fields[name] for name in _NAMELESS if fields.get(name) is not None}
            call_id = tracker.begin({"source": SOURCE, **kept})
        else:
            if self.mock:
                fields = {**fields, "attributes": {**fields.get("attributes", {}), "mock_response": True}}
            call_id = tracker.start(source=SOURCE, request=details.get("messages"), **fields, **timing)
        self.calls.append((tracker, call_id))

    def is_told(self, tracker: Tracker) -> bool:
        """Whether a tracker has heard of the call."""
        return any(known is tracker for known, _ in self.calls)

    @property
    def health(self) -> Health:
        """The counters of the first tracker."""
        return self.calls[0][0].health_counters if self.calls else Health()

    @property
    def wants_estimate(self) -> bool:
        """Whether a guess of LiteLLM's is welcome where nothing was reported."""
        return any(tracker.settings.estimate_missing for tracker, _ in self.calls)

    @property
    def captures(self) -> bool:
        """Whether some tracker stores answers."""
        return not self.private and any(tracker.settings.capture != "none" for tracker, _ in self.calls)

    @property
    def open(self) -> bool:
        """Whether some tracker still waits for the end."""
        return any(not tracker.closed(call_id) for tracker, call_id in self.calls)

    @property
    def ours(self) -> bool:
        """Whether this process made the call, and not one that forked into it."""
        return self.generation == generation

    def first_token(self) -> None:
        """The answer begins to arrive."""
        for tracker, call_id in self.calls if self.ours else ():
            tracker.progress(call_id, first_token=True)

    def end(
        self,
        status: str,
        *,
        usage: Usage = MISSING,
        error: BaseException | str | None = None,
        response: object = None,
        **fields: Any,
    ) -> None:
        """End the call in every tracker. The first end wins there; this may be said twice."""
        if not self.ours:
            return
        if usage.reported:
            self.usage = usage
        if "model" in fields:
            fields["model"] = bare_model(fields["model"], self.provider)
        if self.private or status != "success":
            response = None
        if self.private and error is not None:
            fields, error = {"error_type": type(error).__name__, **fields}, None
        if self.private:
            fields = {name: value for name, value in fields.items() if name in _UNNAMED}
        if self.clock is not None:
            fields.setdefault("duration_ms", (time.perf_counter_ns() - self.clock) / 1e6)
        for tracker, call_id in self.calls:
            if error is not None:
                tracker.fail(call_id, error, usage=usage, **{**_without_answer(error), **fields})
            else:
                tracker.finish(call_id, status=status, usage=usage, response=response, **fields)

    def __deepcopy__(self, memo: dict[int, Any]) -> None:
        """A copy of a stream or logging object is nobody's call."""

    def __reduce__(self) -> tuple[Any, ...]:
        return (type(None), ())


def _without_answer(error: BaseException | str) -> dict[str, Any]:
    """An error's message without the answer that LiteLLM quotes when it cannot read one."""
    message, quoted, _ = (error if isinstance(error, str) else safe_str(error)).partition(_QUOTES)
    return {"error_message": message} if quoted else {}


# --- operations: attempts that serve one wish ----------------------------------------------------

Tries = tuple[int, str | None]
"""Attempts so far, and the model of the last."""
NONE_YET: Final[Tries] = (0, None)
_routed: Final[dict[Any, Tries]] = {}
"""Attempts of the Router's operations, by trace id."""


def fields_of(
    details: Details, kind: str, requested: str | None, tries: Tries
) -> tuple[dict[str, Any], Tries]:
    """The fields of a call at its start, its place among the attempts of one operation included.

    Args:
        details: LiteLLM's `model_call_details`.
        kind: the `call_type`.
        requested: the model as the caller wrote it, if that is known.
        tries: the attempts before, as this function returned them.
    """
    fields = describe(details, kind, requested)
    model: str | None = fields.get("requested_model")
    trace = details.get("litellm_trace_id") or details.get("litellm_call_id")
    metadata = metadata_of(details)
    routed = "model_group" in metadata and isinstance(trace, str)
    if routed:  # the Router makes a new logging object for each attempt, and one trace id for all of them
        tries = _routed.get(trace, NONE_YET) if metadata.get("previous_models") else NONE_YET
    made, previous = tries
    if not is_private(details):
        fields["operation_id"] = trace if isinstance(trace, str) else None
    fields["attempt"] = made + 1
    fields["attempt_kind"] = "first" if not made else "retry" if previous in (None, model) else "fallback"
    if routed:
        _routed.pop(trace, None)
        _routed[trace] = (made + 1, model)
        if len(_routed) > _REMEMBERED:
            del _routed[next(iter(_routed))]
    return fields, (made + 1, model)


def tries_of(logging: Any) -> Tries:
    """The attempts that were made under a logging object."""
    tries: Tries = getattr(logging, _TRIES, NONE_YET)
    return tries


def note_tries(logging: Any, tries: Tries) -> None:
    """Remember them there: plain data, because LiteLLM copies and pickles that object."""
    setattr(logging, _TRIES, tries)


# --- recently seen: for the witnesses that come later --------------------------------------------


class Recent:
    """Attempts by the identity of their `model_call_details`, without holding these.

    An identity may be reused after death, so the call id must agree as well; it alone would not do, because
    callers choose it and two calls may share one.
    """

    def __init__(self) -> None:
        self._lock = threading.RLock()
        self._attempts: dict[int, tuple[object, Attempt]] = {}

    def remember(self, details: Details, attempt: Attempt) -> None:
        """Keep an attempt findable."""
        with self._lock:
            self._attempts.pop(id(details), None)
            self._attempts[id(details)] = (details.get("litellm_call_id"), attempt)
            if len(self._attempts) > _REMEMBERED:
                del self._attempts[next(iter(self._attempts))]

    def find(self, details: Details) -> Attempt | None:
        """The last attempt that was made with these details."""
        known = self._attempts.get(id(details))
        if known is None or known[0] != details.get("litellm_call_id"):
            return None
        return known[1]

    def clear(self) -> None:
        """Forget everything, and any lock that a vanished thread may hold."""
        self._lock = threading.RLock()
        self._attempts = {}


recent: Final = Recent()
os.register_at_fork(after_in_child=_forked)
