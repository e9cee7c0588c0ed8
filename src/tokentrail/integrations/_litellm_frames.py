"""Frames: one run of a function behind LiteLLM's decorator, and the life of the attempt made inside it.

    enter ──log_pre_api_call──► open
    open ── returns a value ──► success          open ── raises ──► error, timeout, cancelled
    open ── returns a stream ──► watched by `_litellm_streams` from then on
    open ── returns a coroutine ──► handed to the frame around it, which awaits that
    enter ── returns or raises, no attempt seen here or inside ──► one row anyway

A frame forgets all it knows when it is left. Tasks and event loops made meanwhile keep a copy of the context,
and with it the frame, for as long as they live; if the frame kept the stream, that would never die.
"""

from __future__ import annotations

import contextlib
import inspect
import time
from collections.abc import Iterable
from contextvars import ContextVar, Token
from datetime import UTC, datetime, timedelta
from typing import Any, Final, Protocol

from tokentrail._guard import guarded
from tokentrail._health import Health
from tokentrail._tracker import Tracker
from tokentrail._usage import ASKED
from tokentrail.integrations import _litellm_streams as streams
from tokentrail.integrations._litellm_calls import Attempt, remember
from tokentrail.integrations._litellm_details import Details, add_metadata
from tokentrail.integrations._litellm_estimates import estimate
from tokentrail.integrations._litellm_operations import NONE_YET, fields_of, note_tries, tries_of
from tokentrail.integrations._litellm_tokens import COST_IS_STAMPED
from tokentrail.integrations._litellm_usage import (
    answer_fields,
    raw_is_json,
    stated_cost,
    usage_in_raw,
    usage_of,
)

_RAW: Final = "original_response"


class Doors(Protocol):
    """The doors that are registered with LiteLLM."""

    @property
    def health(self) -> Health:
        """Where faults of ours are counted when no door is at hand."""

    @property
    def ask_for_usage(self) -> bool:
        """Whether requests may be changed so that their streams carry usage."""

    def trackers(self) -> Iterable[Tracker]:
        """The trackers of the doors that LiteLLM knows now."""

    def takes_stream_options(self, model: str, provider: str | None) -> bool:
        """Whether the provider of a model understands `stream_options`."""


_inside: ContextVar[Frame | None] = ContextVar("tokentrail_litellm_frame", default=None)
_by_details: Final[dict[int, Frame]] = {}
"""The innermost running frame of each `model_call_details`: LiteLLM's hook may run in another thread."""


@guarded(lambda doors: doors.health, "litellm.enter")
def enter(doors: Doors, kind: str, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Frame | None:
    """Note that a function of LiteLLM's begins; `None` if there is nothing to go by."""
    logging = kwargs.get("litellm_logging_obj")
    details = getattr(logging, "model_call_details", None)
    if not isinstance(details, dict):
        return None
    model = kwargs.get("model", args[0] if args else None)
    frame = Frame(doors, kind, model, logging, details)
    if frame.below is None:
        frame.metadata = kwargs.get("metadata")
    if kwargs.get("stream") is True and doors.ask_for_usage:
        frame.asked = _ask_for_usage(kind, model, kwargs, doors)
    frame.mock = kwargs.get("mock_response") is not None
    return frame


def opened(details: Details, tracker: Tracker) -> bool:
    """`log_pre_api_call`: a request is about to be made. False if no frame of ours is around it."""
    frame = _living(_by_details.get(id(details)))
    if frame is None:
        return False
    if frame.below is not None and frame.below.details is None:
        return True  # whoever was to await this was cancelled: nothing will be sent
    holder: Frame | None = frame
    while holder is not None and holder.attempt is None:  # a function inside has handed its attempt over
        holder = _living(holder.below)
    (holder or frame).open(tracker)
    return True


def answered(details: Details) -> None:
    """`log_post_api_call`: something came back. LiteLLM may put an error in its place before it raises."""
    frame = _living(_by_details.get(id(details)))
    raw = details.get(_RAW)
    if frame is not None and raw_is_json(raw) and raw is not frame.before:
        frame.raw = raw


class Frame:
    """One run of one of LiteLLM's functions."""

    __slots__ = (
        "around", "asked", "attempt", "before", "below", "clock", "details", "doors", "fields", "kind",
        "logging", "metadata", "mock", "model", "raw", "seen", "token",
    )  # fmt: skip

    def __init__(self, doors: Doors, kind: str, model: object, logging: Any, details: Details) -> None:
        self.doors = doors
        self.logging: Any = logging
        self.details: Details | None = details
        self.attempt: Attempt | None = None
        self.fields: dict[str, Any] | None = None
        self.seen = False
        """Whether an attempt was made here or in a frame inside."""
        self.clock = time.perf_counter_ns()
        self.mock = False
        self.asked = False
        """Whether we have changed the request so that its stream tells the usage."""
        self.raw: object = None
        """The provider's own answer, if it is known."""
        self.before = details.get(_RAW)
        """That of an earlier attempt under the same logging object: not ours."""
        below = _living(_by_details.get(id(details)))
        self.below = below
        """The frame around this one for the same logging object, as `acompletion` is around `completion`."""
        self.around = below if below is not None else _living(_inside.get())
        self.kind: str = kind if below is None else below.kind
        self.model = _as_asked(model, below)
        self.metadata: object = None if below is None else below.metadata
        """The caller's own, which LiteLLM loses where one of its functions asks through another."""
        _by_details[id(details)] = self
        self.token: Token[Frame | None] | None = _inside.set(self)

    @guarded(lambda frame: frame.doors.health, "litellm.returned")
    def returned(self, result: object) -> None:
        """The function has returned."""
        details, raw = self.details, self._raw_answer()
        if inspect.isawaitable(result) or (streams.is_opaque(result) and _living(self.below) is not None):
            self._hand_over()
            return
        attempt = self._leave(alone=True)
        if attempt is None or details is None:
            return
        if streams.is_stream(result):
            streams.watch(result, attempt, details)
        else:
            _succeeded(attempt, result, raw, details)

    @guarded(lambda frame: frame.doors.health, "litellm.raised")
    def raised(self, error: BaseException) -> None:
        """The function has raised; the exception is the caller's and goes on."""
        raw = self._raw_answer()
        attempt = self._leave(alone=True)
        if attempt is None:
            return
        if isinstance(error, Exception):
            attempt.end("error", error=error, usage=usage_in_raw(raw))
        else:
            attempt.end("cancelled")

    def open(self, tracker: Tracker, **timing: Any) -> None:
        """Start the attempt in a tracker."""
        details = self.details
        if details is None:
            return
        if self.attempt is None:
            self.attempt = Attempt(details, self.kind)
            self.attempt.mock = self.attempt.mock or self.mock
            self.fields, tries = fields_of(details, self.kind, self.model, tries_of(self.logging))
            add_metadata(self.fields, details, self.metadata)
            if self.asked:
                self.fields["usage_flags"] = [ASKED]
            note_tries(self.logging, tries)
            remember(details, self.attempt)
            frame: Frame | None = self
            while frame is not None:
                frame.seen = True
                frame = frame.around
        self.attempt.begin(tracker, details, self.fields or {}, **timing)

    def _hand_over(self) -> None:
        """The frame around awaits what was returned here, and so sees the end of the attempt."""
        below, fields, raw = self.below, self.fields, self.raw
        attempt = self._leave()
        if attempt is None:
            return
        if below is None or below.details is None or below.attempt is not None:
            attempt.end("cancelled")  # the frame around was cancelled meanwhile: nobody will await this
        else:
            below.attempt, below.fields, below.raw = attempt, fields, raw

    def _leave(self, *, alone: bool = False) -> Attempt | None:
        """Forget everything, and give the attempt; one is made up if `alone` and nobody else saw any."""
        details = self.details
        if details is None:
            return None
        if alone and self._is_unseen():
            self._open_late()
        attempt = self.attempt
        if _by_details.get(id(details)) is self:
            below = _living(self.below)
            if below is None:
                del _by_details[id(details)]
            else:
                _by_details[id(details)] = below
        self.details = self.logging = self.attempt = self.fields = self.metadata = None
        self.before = self.raw = self.below = self.around = None
        if self.token is not None:
            # A coroutine that was dropped is closed in another context: there is nothing to put back there.
            with contextlib.suppress(ValueError):
                _inside.reset(self.token)
            self.token = None
        return attempt

    def _is_unseen(self) -> bool:
        """Whether no attempt was seen here, inside, around, or in another thread of the same operation."""
        tried = tries_of(self.logging) is not NONE_YET
        return self.attempt is None and not self.seen and self.below is None and not tried

    def _open_late(self) -> None:
        """No request was announced: a provider forgets to, or the call failed before there was one."""
        elapsed = (time.perf_counter_ns() - self.clock) / 1e9
        started_at = datetime.now(UTC) - timedelta(seconds=elapsed)
        for tracker in self.doors.trackers():
            self.open(tracker, started_at=started_at)
        if self.attempt is not None:
            self.attempt.clock = self.clock

    def _raw_answer(self) -> object:
        raw = None if self.details is None else self.details.get(_RAW)
        return self.raw if raw is self.before or not raw_is_json(raw) else raw


def _as_asked(model: object, below: Frame | None) -> str | None:
    """The model as the caller wrote it: functions inside are told it without its provider."""
    if not isinstance(model, str):
        return None
    outer = None if below is None else below.model
    return outer if outer is not None and outer.endswith(f"/{model}") else model


def _living(frame: Frame | None) -> Frame | None:
    """A frame that still runs, or the next one below it that does."""
    while frame is not None and frame.details is None:
        frame = frame.below
    return frame


def _ask_for_usage(kind: str, model: object, kwargs: dict[str, Any], doors: Doors) -> bool:
    """Ask the provider to tell the usage of a stream; whether that was not done anyway.

    `kwargs` are this call's own, what is in them is the caller's.
    """
    options = kwargs.get("stream_options") or {}
    if kind != "chat" or not isinstance(model, str):
        return False
    if not isinstance(options, dict) or "include_usage" in options:
        return False
    if not doors.takes_stream_options(model, kwargs.get("custom_llm_provider")):
        return False
    kwargs["stream_options"] = {**options, "include_usage": True}
    return True


def _succeeded(attempt: Attempt, result: object, raw: object, details: Details) -> None:
    usage = usage_of(result, raw)
    fields = answer_fields(result)
    if details.get("call_type") not in COST_IS_STAMPED:
        fields.update(stated_cost(getattr(result, "usage", None)))
    guess = estimate(attempt, usage, details, [result])
    attempt.end("success", usage=usage, guess=guess, response=result, **fields)
