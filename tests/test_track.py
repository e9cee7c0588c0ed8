"""`track()`: calls of one's own code, as a context manager and as a decorator."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest

import tokentrail
from tokentrail._tracker import Tracker, set_tracker
from tokentrail.models import LLMCall

USAGE = {"prompt_tokens": 3, "completion_tokens": 5, "total_tokens": 8}


@pytest.fixture
def tracker() -> Iterator[Tracker]:
    """The shared default for one test: its store is plain memory."""
    with Tracker("memory://") as tracker:
        previous = set_tracker(tracker)
        yield tracker
        set_tracker(previous)


def only(tracker: Tracker) -> LLMCall:
    """The one call there is."""
    (call,) = tracker.stats.calls().items
    return call


def test_the_default_is_the_one_when_the_call_begins(tracker: Tracker) -> None:
    """A function decorated at import records into the tracker that is set later."""
    with Tracker("memory://") as later:

        @tokentrail.track(model="m", call_type="summarization")
        def ask() -> dict[str, Any]:
            return {"usage": USAGE}

        set_tracker(later)
        ask()
        call = only(later)
    assert (call.model, call.call_type, call.total_tokens, call.status) == (
        "m",
        "summarization",
        8,
        "success",
    )
    assert tracker.stats.calls().items == []


def test_each_call_of_a_function_is_a_call(tracker: Tracker) -> None:
    """One decorator, many calls, also inside each other; an answer without a usage leaves it unknown."""

    @tokentrail.track(model="m")
    def ask(depth: int) -> int:
        return ask(depth - 1) if depth else 0

    assert ask(2) == 0
    calls = tracker.stats.calls().items
    assert len({call.id for call in calls}) == 3
    assert {(call.usage_source, call.total_tokens) for call in calls} == {("missing", None)}


def test_a_function_keeps_its_name_and_kind(tracker: Tracker) -> None:
    """A decorated function is what it was, to those who ask."""

    @tokentrail.track(model="m")
    def plain() -> None:
        """Said."""

    @tokentrail.track(model="m")
    async def coroutine() -> None: ...

    @tokentrail.track(model="m")
    def stream() -> Iterator[int]:
        yield 1

    @tokentrail.track(model="m")
    async def async_stream() -> AsyncIterator[int]:
        yield 1

    assert (plain.__name__, plain.__doc__) == ("plain", "Said.")
    assert inspect.iscoroutinefunction(coroutine)
    assert inspect.isgeneratorfunction(stream)
    assert inspect.isasyncgenfunction(async_stream)


def test_a_failure_is_the_callers_and_a_row(tracker: Tracker) -> None:
    """The exception comes through untouched."""

    @tokentrail.track(model="m")
    def ask() -> None:
        raise KeyError("k")

    with pytest.raises(KeyError):
        ask()
    assert (only(tracker).status, only(tracker).error_type) == ("error", "KeyError")


async def test_a_cancelled_coroutine_is_cancelled(tracker: Tracker) -> None:
    """A task that is cancelled inside leaves a row that says so."""
    inside = asyncio.Event()

    @tokentrail.track(model="m")
    async def ask() -> None:
        inside.set()
        await asyncio.Event().wait()

    task = asyncio.create_task(ask())
    await inside.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert only(tracker).status == "cancelled"


def test_a_generator_is_a_stream(tracker: Tracker) -> None:
    """Items pass unchanged, a usage among them is the call's, the first item is the first token."""

    @tokentrail.track(model="m")
    def ask() -> Iterator[dict[str, Any]]:
        yield {"choices": [{"delta": {"content": "a"}}]}
        yield {"choices": [], "usage": USAGE}

    assert len(list(ask())) == 2
    call = only(tracker)
    assert (call.is_streaming, call.total_tokens, call.status) == (True, 8, "success")
    assert call.time_to_first_token_ms is not None


def test_a_generator_that_is_closed_is_cancelled(tracker: Tracker) -> None:
    """Its own `finally` runs, and the usage so far is kept."""
    closed = []

    @tokentrail.track(model="m")
    def ask() -> Iterator[dict[str, Any]]:
        try:
            yield {"usage": USAGE}
            yield {}
        finally:
            closed.append(True)

    stream = ask()
    next(stream)
    stream.close()
    assert closed == [True]
    assert (only(tracker).status, only(tracker).total_tokens) == ("cancelled", 8)


async def test_an_async_generator_that_fails_midway(tracker: Tracker) -> None:
    """The usage so far stays with the error."""

    @tokentrail.track(model="m")
    async def ask() -> AsyncIterator[dict[str, Any]]:
        yield {"usage": USAGE}
        raise OSError

    with pytest.raises(OSError):
        async for _ in ask():
            pass
    call = only(tracker)
    assert (call.status, call.error_type, call.total_tokens, call.is_streaming) == (
        "error",
        "OSError",
        8,
        True,
    )
