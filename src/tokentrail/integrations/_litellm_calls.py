"""One physical call as LiteLLM makes it, and what each tracker calls it."""

from __future__ import annotations

import os
import re
import threading
import time
from collections.abc import Mapping
from typing import Any, Final

from tokentrail._context import Link, link
from tokentrail._fields import is_timeout
from tokentrail._health import Health
from tokentrail._redact import safe_str
from tokentrail._tracker import Tracker
from tokentrail._usage import MISSING, Usage
from tokentrail.integrations._litellm_details import Details, bare_model, is_mock, is_private
from tokentrail.integrations._litellm_operations import NONE_YET
from tokentrail.integrations._litellm_shelf import Shelf

SOURCE: Final = "litellm"
_NAMELESS: Final = frozenset((
    "model", "provider", "requested_model", "call_type", "is_streaming", "attempt", "attempt_kind",
))  # fmt: skip
_UNNAMED: Final = frozenset((
    "model", "finish_reason", "cost_usd", "cost_source", "usage_source", "provisional", "duration_ms",
    "error_type",
))  # fmt: skip
"""What may be told of the start and of the end of a call that asked not to be logged."""
_QUOTES: Final = re.compile(
    r"received_args=|Got=|Received chunk: |Original [Rr]esponse: |JSON response: |(?<!parsing )chunk: "
)
"""What LiteLLM writes before an answer that it cannot read."""

_generation = 0
"""Counts the forks that led here: a child leaves the calls of its parent alone."""


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
        self.generation = _generation
        self.private = is_private(details)
        self.mock = is_mock(details)
        self.provider: str | None = None
        self.clock: int | None = None
        """Monotonic nanoseconds of the true start, if the trackers heard of it late."""
        self.usage: Usage = MISSING
        """What the first end knew; a later witness is heard only if that was nothing."""
        self.tries = NONE_YET
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
        if outer is not None:
            fields = _beside(tracker, outer, fields)
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
        return self.generation == _generation

    def first_token(self) -> None:
        """The answer begins to arrive."""
        for tracker, call_id in self.calls if self.ours else ():
            tracker.progress(call_id, first_token=True)

    def end(
        self,
        status: str,
        *,
        usage: Usage = MISSING,
        guess: Usage = MISSING,
        error: BaseException | str | None = None,
        response: object = None,
        **fields: Any,
    ) -> None:
        """End the call in every tracker. The first end wins there; this may be said twice.

        Args:
            status: how it ended.
            usage: what the provider has reported.
            guess: what it may have been, for trackers that want to know.
            error: why it failed.
            response: the answer.
            fields: columns of `LLMCall`, in public units.
        """
        if not self.ours:
            return
        if usage.reported or guess.reported:
            self.usage = usage if usage.reported else guess
        if "model" in fields:
            fields["model"] = bare_model(fields["model"], self.provider)
        if self.private or status != "success":
            response = None
        if self.private and error is not None:
            status = "timeout" if is_timeout(error) else "error"
            fields, error = {"error_type": type(error).__name__, **fields}, None
        if self.private:
            fields = {name: value for name, value in fields.items() if name in _UNNAMED}
        if self.clock is not None:
            fields.setdefault("duration_ms", (time.perf_counter_ns() - self.clock) / 1e6)
        if error is not None:
            fields = {**_without_answer(error), **fields}
        for tracker, call_id in self.calls:
            known: dict[str, Any] = {"usage": usage, **fields}
            if guess.reported and not usage.reported and tracker.settings.estimate_missing:
                known.update(usage=guess, usage_source="estimated")
            if error is not None:
                tracker.fail(call_id, error, **known)
            else:
                tracker.finish(call_id, status=status, response=response, **known)

    def __deepcopy__(self, memo: dict[int, Any]) -> None:
        """A copy of a stream or logging object is nobody's call."""

    def __reduce__(self) -> tuple[Any, ...]:
        return (type(None), ())


def _beside(tracker: Tracker, outer: Link, fields: Mapping[str, Any]) -> dict[str, Any]:
    """A further attempt at what LangChain asked once: for the same people, of the first one's operation."""
    if fields.get("attempt", 1) > 1 and fields.get("operation_id") and tracker.closed(outer.call_id):
        first = {"operation_id": fields["operation_id"], "attempt": 1, "attempt_kind": "first"}
        tracker.finish(outer.call_id, **first)  # fills what nobody has said yet
    return {**outer.who, **fields}


def _without_answer(error: BaseException | str) -> dict[str, Any]:
    """An error's message without the answer that LiteLLM quotes when it cannot read one."""
    message = error if isinstance(error, str) else safe_str(error)
    quoted = _QUOTES.search(message)
    return {"error_message": message[: quoted.start()]} if quoted else {}


# --- recently seen: for the witnesses that come later --------------------------------------------

# By the identity of their `model_call_details`, without holding these. An identity may be reused after death,
# so the call id must agree as well; it alone would not do: callers choose it, and two calls may share one.
_SHARED: Final = "litellm_params"
"""What a flat copy of the details has in common with the original, and with no other call."""
_recent: Final[Shelf[int, tuple[object, Attempt]]] = Shelf()
_meeting = threading.RLock()


def meeting() -> threading.RLock:
    """To be held from the look whether a call is known until it is.

    Of an answer from its cache LiteLLM tells in two threads at once, and each would take it for a new call.
    Reentrant, because a finaliser or a signal handler may end a stream inside.
    """
    return _meeting


def remember(details: Details, attempt: Attempt) -> None:
    """Keep an attempt findable for later witnesses."""
    _recent.put(id(details), (details.get("litellm_call_id"), attempt))


def remember_copies(details: Details, attempt: Attempt) -> None:
    """The same for events that come with a flat copy of the details, as failures do from 1.110 on."""
    _recent.put(id(details.get(_SHARED)), (details.get("litellm_call_id"), attempt))


def find(details: Details) -> Attempt | None:
    """The last attempt that was made with these details."""
    for key in (id(details), id(details.get(_SHARED))):
        known = _recent.get(key)
        if known is not None and known[0] == details.get("litellm_call_id"):
            return known[1]
    return None


def _forked() -> None:
    global _generation, _meeting
    _generation += 1
    _meeting = threading.RLock()
    _recent.clear()


os.register_at_fork(after_in_child=_forked)
