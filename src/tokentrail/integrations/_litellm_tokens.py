"""Tokens: what is known of one stream while it is read, and how its call ends.

watched ── StopIteration ──► success (or error `StreamTruncated`: the provider never said that it ended)
watched ── raises ──► error          ── cancelled, closed ──► cancelled          ── dies ──► abandoned
watched ── closed or dead after its finish reason was read ──► success
"""

from __future__ import annotations

import atexit
import sys
import weakref
from collections.abc import Callable, Iterator
from typing import Any, Final

from tokentrail._fields import is_timeout
from tokentrail._guard import guarded
from tokentrail._health import Health
from tokentrail._usage import MISSING, Usage
from tokentrail.integrations._litellm_calls import Attempt
from tokentrail.integrations._litellm_details import Details
from tokentrail.integrations._litellm_estimates import of_stream
from tokentrail.integrations._litellm_sse import SseReader
from tokentrail.integrations._litellm_usage import (
    answer_fields,
    field,
    finish_reason,
    has_content,
    is_made_up,
    stated_cost,
    text_of,
    usage_of_chunks,
)

COST_IS_STAMPED: Final = frozenset({"responses", "aresponses"})
"""Call types in whose usage LiteLLM writes a cost of its own making before we see it."""
_ENDS: Final = frozenset({"response.completed", "response.incomplete"})
_ERROR_WRAPS: Final = frozenset({"MidStreamFallbackError", "APIConnectionError", "InternalServerError"})

_tokens: Final[weakref.WeakSet[Token]] = weakref.WeakSet()
_waiting: Final[weakref.WeakValueDictionary[int, Token]] = weakref.WeakValueDictionary()
"""Tokens whose stream hides its chunks, by `id(model_call_details)`: an inner stream may lend its own."""
_when_idle: Callable[[], object] | None = None


def call_when_idle(function: Callable[[], object] | None) -> bool:
    """Have a function called when no stream is read any more; at once if that is so now."""
    global _when_idle
    _when_idle = function
    return function is not None and _tell_idle()


def _tell_idle() -> bool:
    global _when_idle
    if _when_idle is None or any(token.attempts for token in list(_tokens)):
        return False
    function, _when_idle = _when_idle, None
    function()
    return True


def lend_chunks(stream: Any) -> None:
    """A stream inside one that is watched: its chunks have the usage that the outer one hides."""
    if not _waiting:
        return
    details = getattr(getattr(stream, "logging_obj", None), "model_call_details", None)
    outer = _waiting.get(id(details))
    chunks = getattr(stream, "chunks", None)
    if outer is not None and isinstance(chunks, list):
        outer.chunks = chunks
        _waiting.pop(id(details), None)


class Token:
    """What is known of one stream while it is read. It must not know the stream: it watches for its death."""

    __slots__ = (
        "__weakref__",
        "attempts",
        "busy",
        "chunks",
        "cost",
        "details_id",
        "first",
        "last",
        "responses",
        "sse",
    )

    def __init__(self, stream: Any, details: Details) -> None:
        self.attempts: list[Attempt] = []
        self.busy = False
        """Inside `__next__`: a nested call, or LiteLLM closing its own stream, is not the reader's doing."""
        chunks = getattr(stream, "chunks", None)
        self.chunks: list[Any] | None = chunks if isinstance(chunks, list) else None
        self.first = False
        self.last: Any = None
        self.sse: SseReader | None = None
        self.cost = details.get("call_type") not in COST_IS_STAMPED
        self.details_id = id(details)
        inner = type(getattr(stream, "completion_stream", None)).__module__
        self.responses = hasattr(stream, "completed_response") or "responses" in inner
        """Whether events of the Responses API are behind it."""
        if self.chunks is None:
            _waiting[self.details_id] = self
        _tokens.add(self)

    @property
    def health(self) -> Health:
        """The counters of the first tracker that this stream is for."""
        return self.attempts[0].health if self.attempts else Health()

    # --- the reader's doings ---------------------------------------------------------------------

    def saw(self, chunk: Any) -> None:
        """A chunk has reached the reader. This runs for each one: no more than a look."""
        self.last = chunk
        if type(chunk) is bytes:
            self._saw_bytes(chunk)
        if not self.first and has_content(chunk):
            self.first = True
            for attempt in self.attempts:
                attempt.first_token()

    def _saw_bytes(self, chunk: bytes) -> None:
        if self.sse is None:
            self.sse = SseReader()
        self.sse.feed(chunk)

    def over(self, stream: Any) -> None:
        """The stream was read to its end."""
        usage, payload = self._usage(stream)
        fields = self._fields(stream)
        seen = self._seen()
        failed, truncated = _failed(stream), None if usage.reported else _truncated(stream, self.sse)
        for attempt in self._take():
            guess = of_stream(attempt, usage, stream, seen)
            if failed is not None:
                attempt.end("error", error=failed, usage=usage, guess=guess, **fields)
            elif truncated is not None and not attempt.mock:
                fields["error_type"] = "StreamTruncated"
                attempt.end("error", error=truncated, usage=usage, guess=guess, **fields)
            else:
                stated = stated_cost(payload) if self.cost else {}
                answer = self._answer(attempt)
                attempt.end("success", usage=usage, guess=guess, response=answer, **{**fields, **stated})

    def broke(self, stream: Any, error: BaseException) -> None:
        """Reading has raised."""
        usage, _ = self._usage(stream)
        fields = self._fields(stream)
        error = _cause(error)
        seen = self._seen()
        for attempt in self._take():
            guess = of_stream(attempt, usage, stream, seen)
            if isinstance(error, Exception):
                attempt.end("error", error=error, usage=usage, guess=guess, **fields)
            else:
                attempt.end("cancelled", usage=usage, guess=guess, **fields)

    def closed(self, stream: Any) -> None:
        """The reader has closed the stream."""
        self._stop("cancelled", stream)

    def left(self) -> None:
        """The program ends; what is known now counts unless more is read."""
        usage, _ = self._usage(None)
        for attempt in list(self.attempts):
            attempt.end("abandoned", usage=usage, provisional=True, **self._fields(None))

    def __del__(self) -> None:
        if self.attempts and not sys.is_finalizing():
            with guarded(self.health, "litellm.stream_died"):
                self._stop("abandoned", None)

    # --- inside ----------------------------------------------------------------------------------

    def _stop(self, status: str, stream: Any) -> None:
        """Nobody reads on; whoever has read the finish reason has read the answer."""
        usage, payload = self._usage(stream)
        fields = self._fields(stream)
        if self.cost:
            fields.update(stated_cost(payload))
        status = "success" if self._was_finished() else status
        seen = [] if stream is None else self._seen()  # a finaliser is no place to count in
        for attempt in self._take():
            guess = of_stream(attempt, usage, stream, seen)
            attempt.end(status, usage=usage, guess=guess, response=self._answer(attempt), **fields)

    def _take(self) -> Iterator[Attempt]:
        """The attempts still to be ended; each is given once, whoever asks."""
        if _waiting.get(self.details_id) is self:
            _waiting.pop(self.details_id, None)
        while True:
            try:
                yield self.attempts.pop()
            except IndexError:
                break
        if _when_idle is not None:
            _tell_idle()

    def _read(self) -> list[Any]:
        return [self.last] if not self.chunks else self.chunks

    def _seen(self) -> list[Any]:
        return self.chunks or ([] if self.last is None else [self.last])

    def _usage(self, stream: Any) -> tuple[Usage, Any]:
        if self.sse is not None:
            return self.sse.usage, None
        completed = getattr(stream, "completed_response", None)
        usage, payload = usage_of_chunks(self._read() if completed is None else [completed])
        if self.responses and payload is not None and is_made_up(payload):
            return MISSING, None
        return usage, payload

    def _fields(self, stream: Any) -> dict[str, Any]:
        if self.sse is not None:
            return self.sse.fields
        fields = answer_fields(self.last)
        completed = getattr(stream, "completed_response", None)
        if completed is not None:
            fields.update(answer_fields(completed))
        reason = getattr(stream, "received_finish_reason", None)
        if not isinstance(reason, str):
            reason = next((found for found in map(finish_reason, self._tail()) if found), None)
        if reason is not None:
            fields["finish_reason"] = reason
        return fields

    def _tail(self) -> list[Any]:
        return [self.last, *reversed(self._read()[-4:])]

    def _was_finished(self) -> bool:
        if self.sse is not None:
            return self.sse.finished
        if self.last is None:
            return False
        kind = field(self.last, "type")
        if isinstance(kind, str):
            return kind in _ENDS
        return any(finish_reason(chunk) for chunk in self._tail())

    def _answer(self, attempt: Attempt) -> object:
        return text_of(self._read()) if attempt.captures else None

    def __deepcopy__(self, memo: dict[int, Any]) -> None:
        """A copied stream is nobody's call."""

    def __reduce__(self) -> tuple[Any, ...]:
        return (type(None), ())


@atexit.register
def _at_exit() -> None:
    """Streams that are half read when the program ends; a thread that still reads may say more."""
    for token in list(_tokens):
        with guarded(token.health, "litellm.at_exit"):
            token.left()


def _truncated(stream: Any, sse: SseReader | None) -> str | None:
    """What is wrong with a stream that ended without saying so; LiteLLM takes it for a success."""
    if sse is not None:
        return "the stream ended before its last event" if sse.started and not sse.finished else None
    if hasattr(stream, "received_finish_reason"):
        told = stream.received_finish_reason or getattr(stream, "intermittent_finish_reason", None)
        return None if told else "the stream ended without a finish reason"
    if hasattr(stream, "completed_response") and stream.completed_response is None:
        return "the stream ended before its last event"
    return None


def _cause(error: BaseException) -> BaseException:
    """What really broke a stream: LiteLLM wraps it for its Router, and a time limit twice."""
    seen = error
    while type(seen).__name__ in _ERROR_WRAPS:
        cause = getattr(seen, "original_exception", None) or seen.__cause__ or seen.__context__
        if not isinstance(cause, Exception):
            break
        seen = cause
        if is_timeout(seen):
            return seen
    first = getattr(error, "original_exception", None)
    return first if isinstance(first, Exception) else error


def _failed(stream: Any) -> str | None:
    """The error in the last event of a Responses stream that says it failed."""
    completed = getattr(stream, "completed_response", None)
    if field(completed, "type") != "response.failed":
        return None
    error = field(field(completed, "response"), "error")
    return str(field(error, "message") or "response.failed")
