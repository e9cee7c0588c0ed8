"""Tool calls: rows like calls, with the context of the message or call that they belong to."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from tokentrail._context import context
from tokentrail._journal import Follower, journal_folder, read_running
from tokentrail._query import filters
from tokentrail._tracker import Tracker
from tokentrail.models import ToolCall


@pytest.fixture
def tracker() -> Iterator[Tracker]:
    """A tracker whose store is plain memory."""
    with Tracker("memory://", capture="full") as tracker:
        yield tracker


def stored(tracker: Tracker) -> list[ToolCall]:
    """Every tool call in the store, oldest first."""
    assert tracker.flush(30)
    return tracker._writer.store().beside(ToolCall, filters(), limit=1000)[::-1]


def test_start_and_finish(tracker: Tracker) -> None:
    """A tool call is one row, with what it was given, what it gave back, and how long it took."""
    tool = tracker.start_tool("search", arguments={"q": "weather"}, tool_source="mcp", tool_call_id="call_1")
    assert stored(tracker) == []
    tracker.finish_tool(tool, result="sunny")
    (row,) = stored(tracker)
    assert (row.id, row.tool_name, row.tool_source, row.tool_call_id) == (tool, "search", "mcp", "call_1")
    assert (row.arguments, row.result, row.status) == ('{"q":"weather"}', "sunny", "success")
    assert row.duration_ms is not None
    assert row.duration_ms >= 0
    assert row.ended_at is not None
    assert row.finality == "final"


def test_the_first_end_counts(tracker: Tracker) -> None:
    """A second end changes nothing and is counted."""
    tool = tracker.start_tool("t")
    tracker.fail_tool(tool, ValueError("no"))
    tracker.finish_tool(tool, result="late")
    (row,) = stored(tracker)
    assert (row.status, row.error_type, row.error_message, row.result) == ("error", "ValueError", "no", None)
    assert tracker.health()["duplicates"] == 1


def test_the_context_manager_tells_how_it_went(tracker: Tracker) -> None:
    """Success, failure with its stack, time-out and cancellation."""
    with tracker.track_tool("ok", arguments="a") as tool:
        tool.result([1])
    for error in (KeyError("k"), TimeoutError("t"), asyncio.CancelledError()):
        with pytest.raises(type(error)), tracker.track_tool("bad"):
            raise error
    rows = stored(tracker)
    assert [row.status for row in rows] == ["success", "error", "timeout", "cancelled"]
    assert (rows[0].arguments, rows[0].result) == ("a", "[1]")
    assert "raise error" in (rows[1].stack_trace or "")


async def test_the_context_manager_in_coroutines(tracker: Tracker) -> None:
    """`async with` does the same."""
    async with tracker.track_tool("ok") as tool:
        tool.set(tool_source="native")
    assert [(row.status, row.tool_source) for row in stored(tracker)] == [("success", "native")]


def test_one_step(tracker: Tracker) -> None:
    """A finished tool call is recorded at once; its times are those that are told."""
    begun = datetime(2026, 1, 1, tzinfo=UTC)
    tracker.record_tool_call("t", started_at=begun, duration_ms=1500, id="t1", result={"ok": True})
    tracker.record_tool_call("t", started_at=begun, duration_ms=1500, id="t1")
    tracker.record_tool_call("t", error="broken")
    first, second = stored(tracker)
    assert (first.id, first.started_at, first.duration_ms, first.result) == ("t1", begun, 1500, '{"ok":true}')
    assert first.ended_at == datetime(2026, 1, 1, 0, 0, 1, 500_000, tzinfo=UTC)
    assert (second.status, second.error_message) == ("error", "broken")


def test_nothing_is_captured_unless_asked_for() -> None:
    """Arguments and results are prompt and answer text: without capture they are not stored."""
    with Tracker("memory://") as tracker:
        tracker.finish_tool(tracker.start_tool("t", arguments={"q": "private"}), result="private")
        (row,) = stored(tracker)
        assert (row.arguments, row.result) == (None, None)


@pytest.mark.parametrize(
    "given",
    [
        {"api_key": "hunter2", "q": "x"},
        '{"api_key": "hunter2", "q": "x"}',
        [{"password": "hunter2"}],
        "Authorization: Bearer hunter2hunter2",
    ],
)
def test_secrets_are_blanked(tracker: Tracker, given: Any) -> None:
    """A secret is found by its name, also in text that is JSON, and by its look."""
    tracker.record_tool_call("t", arguments=given, result=given)
    (row,) = stored(tracker)
    for text in (row.arguments, row.result):
        assert text is not None
        assert "hunter2" not in text
        assert "[redacted]" in text


def test_long_texts_are_cut_with_a_note(tracker: Tracker) -> None:
    """20,000 characters are kept, and a note of how much there was."""
    tracker.record_tool_call("t", arguments="x" * 30_000, result=["y" * 19_000, "z" * 19_000])
    (row,) = stored(tracker)
    assert row.arguments is not None
    assert row.result is not None
    assert row.arguments.startswith("x" * 20_000 + "…")
    assert "30000 characters" in row.arguments
    assert len(row.arguments) < 20_100
    assert "38007 characters" in row.result


@pytest.mark.parametrize("ended", [False, True])
def test_it_is_for_whom_its_call_is(tracker: Tracker, ended: bool) -> None:
    """Who-fields come from the call that asked for the tool, whether it runs or has ended."""
    with context(session_id="s", user_id="u", message_id="m", agent_id="a"):
        call = tracker.start(model="m")
        if ended:
            tracker.finish(call)
    tool = tracker.start_tool("t", parent_id=call, user_id="other")
    tracker.finish_tool(tool)
    tracker.finish(call)
    (row,) = stored(tracker)
    assert (row.session_id, row.user_id, row.agent_id, row.parent_id) == ("s", "other", "a", call)
    assert row.message_id == "m"


def test_it_inherits_the_context(tracker: Tracker) -> None:
    """`context()` says for whom a tool works, as for calls; tags add up."""
    with context(session_id="s", message_id="m", tags=["a"], call_type="agent_step"):
        tracker.record_tool_call("t", tags=["b"], flavour="odd")
    (row,) = stored(tracker)
    assert (row.session_id, row.message_id, row.tags) == ("s", "m", ["a", "b"])
    assert row.attributes == {"flavour": "odd"}


def test_too_many_running_tools(tracker: Tracker) -> None:
    """Beyond the limit the oldest is abandoned, and its own end still replaces that."""
    with Tracker("memory://", max_active=2) as small:
        ids = [small.start_tool(f"t{n}") for n in range(3)]
        assert [(row.id, row.status, row.finality) for row in stored(small)] == [
            (ids[0], "abandoned", "provisional")
        ]
        small.finish_tool(ids[0])
        assert [(row.status, row.finality) for row in stored(small)] == [("success", "final")]


def test_an_unknown_end_is_a_row(tracker: Tracker) -> None:
    """An end without a start is kept and counted, never dropped."""
    tracker.finish_tool("0199f8a0-0000-7000-8000-000000000000")
    assert [row.status for row in stored(tracker)] == ["success"]
    assert tracker.health()["orphans"] == 1


def test_threads(tracker: Tracker) -> None:
    """Many threads at once: every tool call is one row."""

    def work() -> None:
        for _ in range(50):
            tracker.finish_tool(tracker.start_tool("t"))

    threads = [threading.Thread(target=work) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    rows = stored(tracker)
    assert len({row.id for row in rows}) == 400
    assert {row.status for row in rows} == {"success"}


@pytest.mark.parametrize("kind", ["sqlite", "postgresql"])
def test_in_a_database(kind: str, tmp_path: Path, postgres: Callable[[], str]) -> None:
    """The same rows come out of a database."""
    url = postgres() if kind == "postgresql" else f"sqlite:///{tmp_path}/usage.db"
    with Tracker(url, capture="cut") as tracker:
        with context(session_id="s"):
            call = tracker.record(model="m", status="success")
        with tracker.track_tool("search", parent_id=call, arguments={"q": "\ud83d\0"}, tags=["a"]) as tool:
            tool.result("found")
        (row,) = stored(tracker)
        assert (row.tool_name, row.session_id, row.result, row.tags) == ("search", "s", "found", ["a"])
        assert row.process_id is not None


def test_running_tools_are_no_running_calls(tmp_path: Path) -> None:
    """Whoever follows the journals for running calls sees calls only."""
    url = f"sqlite:///{tmp_path}/usage.db"
    with Tracker(url, data_dir=tmp_path) as tracker:
        tool = tracker.start_tool("t")
        call = tracker.start(model="m")
        folder = journal_folder(tmp_path, url)
        assert [record["id"] for record in read_running(folder)] == [call]
        assert [record["id"] for record in Follower(folder).look()] == [call]
        assert [active["id"] for active in tracker.active()] == [call]
        tracker.finish(call)
        tracker.finish_tool(tool)
