"""`context()`: for whom calls are made."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from tokentrail._context import context, current_context
from tokentrail._tracker import Tracker
from tokentrail.errors import ConfigurationError


def test_nested_contexts_merge() -> None:
    """Inner fields win, tags add up, attributes merge, and leaving restores."""
    with context(session_id="s", tags=["a"], attributes={"x": 1}):
        with context(user_id="u", session_id="s2", tags=["b", "a"], attributes={"y": 2}):
            assert current_context() == {
                "session_id": "s2",
                "user_id": "u",
                "tags": ["a", "b"],
                "attributes": {"x": 1, "y": 2},
            }
        assert current_context()["session_id"] == "s"
    assert current_context() == {}


def test_calls_inherit_and_may_override() -> None:
    """A call has the fields of settings, then of its context, then its own; tags of all."""
    with Tracker("memory://", client_id="app", user_id="default", tags=("t0",)) as tracker:
        with context(user_id="from context", session_id="s", tags=["t1"]):
            call_id = tracker.start(model="m", session_id="own", tags=["t2"])
        tracker.finish(call_id)
        row = tracker.get(call_id)
    assert (row.client_id, row.user_id, row.session_id) == ("app", "from context", "own")
    assert row.tags == ["t0", "t1", "t2"]


async def test_tasks_inherit() -> None:
    """Tasks and `to_thread` see the context they were started in, and siblings do not mix."""

    async def ask(name: str) -> tuple[str, str]:
        with context(session_id=name):
            await asyncio.sleep(0)
            return current_context()["session_id"], await asyncio.to_thread(
                lambda: current_context()["session_id"]
            )

    answers = await asyncio.gather(*(ask(str(number)) for number in range(20)))
    assert answers == [(str(number), str(number)) for number in range(20)]


def test_threads_and_pools_inherit() -> None:
    """A thread started inside has the context; work given to a pool brings the submitter's."""
    seen: list[str | None] = []

    def look() -> None:
        seen.append(current_context().get("session_id"))

    with ThreadPoolExecutor(1) as pool:
        with context(session_id="first"):
            thread = threading.Thread(target=look)
            thread.start()
            thread.join()
            pool.submit(look).result()
        with context(session_id="second"):
            pool.submit(look).result()
        pool.submit(look).result()
    assert seen == ["first", "first", "second", None]


def test_unknown_fields_are_refused() -> None:
    """A misspelt field is an error with the names that exist."""
    with pytest.raises(ConfigurationError, match="sesion_id.*session_id"), context(sesion_id="s"):
        pass


def test_threads_are_left_alone_until_asked() -> None:
    """A program that never opens a context has its threading module untouched."""
    code = (
        "import threading; before = threading.Thread.start\n"
        "import tokentrail; from tokentrail import context\n"
        "assert threading.Thread.start is before\n"
        "with context(user_id='u'): pass\n"
        "assert threading.Thread.start is not before"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
