"""`context()`: for whom and why calls are made, inherited by all inside; and the link between doors."""

from __future__ import annotations

import contextvars
import functools
import threading
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any, Final, cast

from tokentrail._records import WHO
from tokentrail.errors import ConfigurationError

_EMPTY: Final[Mapping[str, Any]] = {}
_ALLOWED: Final = frozenset((*WHO, "tags", "attributes", "operation_id", "call_type"))
_current: contextvars.ContextVar[Mapping[str, Any] | None] = contextvars.ContextVar(
    "tokentrail_context", default=None
)
_armed = False
"""Whether threads carry contexts along."""


@contextmanager
def context(**fields: Any) -> Iterator[None]:
    """Give fields to every call made inside, in this thread, its tasks and the threads it starts.

    Args:
        fields: who-fields (`session_id`, `user_id`, `client_id`, …), `operation_id`, `call_type`, `tags`
            (a list; added to the tags of the contexts around it) and `attributes` (a mapping; merged).

    Raises:
        ConfigurationError: a name is not a field that a context can give.

    Example:
        >>> with context(session_id="s1", tags=["beta"]):
        ...     ...
    """
    unknown = fields.keys() - _ALLOWED
    if unknown:
        raise ConfigurationError(
            f"context() does not know {', '.join(sorted(unknown))}. It takes: {', '.join(sorted(_ALLOWED))}."
        )
    _arm_threads()
    token = _current.set(_merge(current_context(), fields))
    try:
        yield
    finally:
        _current.reset(token)


def current_context() -> Mapping[str, Any]:
    """The fields in force here: this context's, else those of the thread's creator."""
    fields = _current.get()
    if fields is not None:
        return fields
    if not _armed:  # no context was ever opened, so no thread can have inherited one
        return _EMPTY
    inherited: Mapping[str, Any] = getattr(threading.current_thread(), "_tokentrail_context", _EMPTY)
    return inherited


def _merge(outer: Mapping[str, Any], inner: Mapping[str, Any]) -> Mapping[str, Any]:
    merged = {**outer, **{name: value for name, value in inner.items() if value is not None}}
    if outer.get("tags") and inner.get("tags"):
        merged["tags"] = list(dict.fromkeys([*outer["tags"], *inner["tags"]]))
    if outer.get("attributes") and inner.get("attributes"):
        merged["attributes"] = {**outer["attributes"], **inner["attributes"]}
    return merged


# --- threads -------------------------------------------------------------------------------------
# Before Python 3.14 a new thread starts with an empty context. The first `context()` of a process makes
# threads and pools carry ours (and nothing else) along; a program that never calls it is left untouched.


def _arm_threads() -> None:
    global _armed
    if _armed:
        return
    _armed = True
    start, submit = threading.Thread.start, cast("Callable[..., Any]", ThreadPoolExecutor.submit)

    @functools.wraps(start)
    def start_with_context(self: threading.Thread) -> None:
        fields = current_context()
        if fields:
            self._tokentrail_context = fields  # type: ignore[attr-defined]
        start(self)

    @functools.wraps(submit)
    def submit_with_context(
        self: ThreadPoolExecutor, fn: Callable[..., Any], /, *args: Any, **kwargs: Any
    ) -> Any:
        # A pool's thread outlives the context it was born in, so each piece of work brings its own.
        return submit(self, functools.partial(_run_in, current_context(), fn), *args, **kwargs)

    threading.Thread.start = start_with_context  # type: ignore[method-assign]
    ThreadPoolExecutor.submit = submit_with_context  # type: ignore[method-assign, assignment]


def _run_in(fields: Mapping[str, Any], fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Any:
    token = _current.set(fields)
    try:
        return fn(*args, **kwargs)
    finally:
        _current.reset(token)


# --- the link between two doors ------------------------------------------------------------------


class Link:
    """A call that an outer door has started and an inner door may recognise as its own.

    LangChain's `ChatLiteLLM` reaches both doors for one request and shares no id between them; only a
    context variable set at the outer start is seen by the inner one. The inner door claims the call: from
    then on it, which is nearer to the provider, says what was consumed. Where it needs further attempts, each
    is a call of its own, for the same people.
    """

    __slots__ = ("call_id", "claimed", "library", "who")

    def __init__(self, call_id: str, library: str, who: Mapping[str, Any] = _EMPTY) -> None:
        self.call_id = call_id
        self.library = library
        self.who = who
        """Whom the call is for, and the run that it is part of."""
        self.claimed = False


link: contextvars.ContextVar[Link | None] = contextvars.ContextVar("tokentrail_link", default=None)
"""Set by an outer door around the provider call, to `None` again at its end."""
