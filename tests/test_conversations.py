"""Messages, feedback, sessions and errors, as a program tells them to its tracker."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from tokentrail._context import context
from tokentrail._neighbours import ERROR, FEEDBACK, MESSAGE, SESSION
from tokentrail._query import filters
from tokentrail._tracker import Tracker
from tokentrail.models._neighbours import NEIGHBOURS

CASES = {
    case["name"]: case
    for case in json.loads((Path(__file__).parent / "cases" / "lifecycle.json").read_text(encoding="utf-8"))
}


@pytest.fixture
def tracker() -> Iterator[Tracker]:
    """A tracker whose store is plain memory."""
    with Tracker("memory://", capture="full") as tracker:
        yield tracker


def stored(tracker: Tracker, kind: str, **where: Any) -> list[Any]:
    """Every row of a kind in the store, oldest first."""
    assert tracker.flush(30)
    return tracker._writer.store().beside(NEIGHBOURS[kind], filters(**where), limit=1000)[::-1]


# --- messages ------------------------------------------------------------------------------------


def test_a_message_and_its_outcome(tracker: Tracker) -> None:
    """A message of the user pends until somebody says how it ended."""
    with context(session_id="s", user_id="u", tags=["a"]):
        message = tracker.record_message("hello", user_name="Ann", platform="web", variables={"lang": "en"})
    (row,) = stored(tracker, MESSAGE)
    assert (row.id, row.role, row.status, row.level) == (message, "user", "pending", "info")
    assert (row.session_id, row.user_id, row.user_name, row.platform) == ("s", "u", "Ann", "web")
    assert (row.content, row.content_bytes, row.variables, row.tags) == ("hello", 5, {"lang": "en"}, ["a"])
    tracker.update_message(message, "success", level="warning")
    tracker.update_message(message, status="pending")
    (row,) = stored(tracker, MESSAGE)
    assert (row.status, row.level, row.session_id) == ("success", "warning", "s")


def test_an_answer_belongs_to_its_message(tracker: Tracker) -> None:
    """What is said inside the context of a message answers it; its calls and tools are for it too."""
    with context(session_id="s"):
        question = tracker.record_message("q")
        with context(message_id=question):
            answer = tracker.record_message("a", role="assistant")
            with tracker.track_tool("t"):
                tracker.finish(tracker.start(model="m"))
    _, row = stored(tracker, MESSAGE)
    assert (row.id, row.parent_id, row.status) == (answer, question, "success")
    assert [call.message_id for call in tracker.stats.find()] == [question]


@pytest.mark.parametrize("capture", ["none", "cut"])
def test_text_is_stored_only_when_asked_for(capture: str, tmp_path: Path) -> None:
    """Neither table, journal nor log has a message's text, unless capture is on."""
    url = f"sqlite:///{tmp_path}/usage.db"
    with Tracker(url, capture=capture, data_dir=tmp_path) as tracker:
        message = tracker.record_message("SECRETWORD", variables={"query": "SECRETWORD"})
        tracker.update_message(message, content="SECRETWORD again")
        tracker.record_feedback("f", "like", message_id=message)
        tracker.flush(30)
        written = b"".join(path.read_bytes() for path in tmp_path.rglob("*") if path.is_file())
    assert (b"SECRETWORD" in written) == (capture == "cut")


@pytest.mark.parametrize(
    "wrong", [{"status": "done"}, {"started_at": "noon"}, {"level": 7}, {"odd": object()}]
)
def test_nonsense_costs_only_itself(tracker: Tracker, wrong: dict[str, Any]) -> None:
    """A wrong field is counted, and the message is there without it."""
    tracker.record_message("x", **wrong)
    assert len(stored(tracker, MESSAGE)) == 1


def test_nothing_is_recorded_when_switched_off() -> None:
    """A disabled tracker hands out ids and keeps nothing."""
    with Tracker("memory://", enabled=False) as tracker:
        message = tracker.record_message("x")
        tracker.update_message(message, "success")
        tracker.finish_tool(tracker.start_tool("t"))
        tracker.record_feedback("f", "like", message_id=message)
        tracker.record_error("e")
        assert tracker.session("s") == "s"
        assert len(message) == 36
        assert all(stored(tracker, kind) == [] for kind in (MESSAGE, FEEDBACK, ERROR, SESSION))


# --- feedback ------------------------------------------------------------------------------------


def test_case_feedback_upsert_cancel(tracker: Tracker) -> None:
    """Same id replaces, 3 cancels, other organisations are untouched: the case of the seed's tests."""
    case = CASES["feedback_upsert_cancel"]
    for tenant, feedback_id, kind in case["input"]["ops"]:
        tracker.record_feedback(feedback_id, kind, organization_id=tenant)
    rows = stored(tracker, FEEDBACK)
    found = {
        "A.total": sum(row.organization_id == "A" and row.kind is not None for row in rows),
        "B.dislikes": sum(row.organization_id == "B" and row.kind == "dislike" for row in rows),
    }
    assert found == case["expected"]


@pytest.mark.parametrize("one", ["organization_id", "client_id"])
def test_the_same_feedback_id_of_two_tenants_is_two(tracker: Tracker, one: str) -> None:
    """Neither another organisation nor another client can change or cancel an opinion."""
    tracker.record_feedback("f", "like", **{one: "A"})
    tracker.record_feedback("f", "cancel", **{one: "B"})
    assert sorted((getattr(row, one), row.kind) for row in stored(tracker, FEEDBACK)) == [
        ("A", "like"),
        ("B", None),
    ]


def test_feedback_says_why_and_learns_the_rest(tracker: Tracker) -> None:
    """Content and reasons are kept in both spellings, who and where come from the message."""
    with context(session_id="s", user_id="u", agent_id="bot"):
        message = tracker.record_message("q")
    tracker.record_feedback("f", "dislike", content="wrong", reasons=["facts", "tone"], message_id=message)
    tracker.record_feedback(
        feedback_id="g", feedback_type=1, feedback_content="fine", inaccurate_reasons=["none"]
    )
    first, second = stored(tracker, FEEDBACK)
    assert (first.kind, first.content, first.reasons) == ("dislike", "wrong", ["facts", "tone"])
    assert (first.session_id, first.user_id, first.agent_id) == ("s", "u", "bot")
    assert (second.kind, second.content, second.reasons) == ("like", "fine", ["none"])


def test_a_list_told_empty_is_told(tracker: Tracker) -> None:
    """No reasons, again and again: nothing is lost, and they take the place of reasons told before."""
    for kind, reasons in (("like", []), ("dislike", ["slow"]), ("dislike", []), ("dislike", [])):
        tracker.record_feedback("f", kind, reasons=reasons)
        assert tracker.flush(10)
    (row,) = tracker.stats.feedback().items
    assert (row.feedback_type, row.inaccurate_reasons) == ("dislike", [])
    assert not tracker.health()["lost"]


@pytest.mark.parametrize("kind", [None, 0, 4, "love", True, object()])
def test_an_unknown_kind_of_feedback_is_not_recorded(tracker: Tracker, kind: object) -> None:
    """It is counted, not guessed."""
    assert tracker.record_feedback("f", kind) == "f"
    assert stored(tracker, FEEDBACK) == []
    assert tracker.health()["notes"]["invalid_field:feedback_type"] == 1


def test_feedback_in_quick_succession(tracker: Tracker) -> None:
    """Of opinions in one microsecond of one process the last one counts."""
    for _ in range(50):
        tracker.record_feedback("f", "like")
        tracker.record_feedback("f", "dislike")
    tracker.record_feedback("f", "cancel")
    tracker.record_feedback("f", "like")
    assert [row.kind for row in stored(tracker, FEEDBACK)] == ["like"]


# --- sessions and errors -------------------------------------------------------------------------


def test_a_session_begins_once(tracker: Tracker) -> None:
    """Any number of first tellings at once are one row, with the first and the last moment."""
    case = CASES["session_start_race"]
    barrier = threading.Barrier(8)

    def begin(number: int) -> None:
        barrier.wait()
        tracker.session("s", started_at=datetime(2026, 1, 1, number, tzinfo=UTC), platform="web")

    threads = [threading.Thread(target=begin, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    rows = stored(tracker, SESSION)
    assert len(rows) == case["expected"]["rows"]
    assert len(tracker.health()["faults"]) == case["expected"]["errors"]
    assert (rows[0].started_at.hour, rows[0].last_activity.hour, rows[0].platform) == (0, 7, "web")


def test_a_session_has_a_name_in_any_case(tracker: Tracker) -> None:
    """The given one, that of the context, or a new one."""
    assert tracker.session("s") == "s"
    with context(session_id="inner"):
        assert tracker.session() == "inner"
    assert len(tracker.session()) == 36
    assert len(stored(tracker, SESSION)) == 3


def test_an_error_of_ones_own(tracker: Tracker) -> None:
    """Type, message and stack trace; secrets are blanked."""
    try:
        raise LookupError("no key sk-abcdefghijkl")
    except LookupError as error:
        tracker.record_error(error, session_id="s")
    tracker.record_error("disk is full", level="warning", error_type="Disk")
    first, second = stored(tracker, ERROR)
    assert (first.error_type, first.session_id) == ("LookupError", "s")
    assert "sk-abc" not in first.error_message + first.stack_trace
    assert "test_an_error_of_ones_own" in first.stack_trace
    assert (second.error_type, second.error_message, second.level) == ("Disk", "disk is full", "warning")


@pytest.mark.parametrize("kind", ["sqlite", "postgresql"])
def test_in_a_database(kind: str, tmp_path: Path, postgres: Callable[[], str]) -> None:
    """Everything that was told is in the database, also what two trackers told of one message."""
    url = postgres() if kind == "postgresql" else f"sqlite:///{tmp_path}/usage.db"
    with Tracker(url) as one, Tracker(url, data_dir=tmp_path / "other") as other:
        message = one.record_message("x", session_id="s", user_id="u")
        other.update_message(message, "discarded")
        other.record_feedback("f", "dislike", reasons=["a"], message_id=message)
        one.session("s", user_name="Ann")
        one.record_error("oops", message_id=message)
        assert one.flush(30)
        assert other.flush(30)
        (row,) = stored(one, MESSAGE)
        assert (row.status, row.session_id, row.user_id) == ("discarded", "s", "u")
        assert [row.session_id for row in stored(one, FEEDBACK)] == ["s"]
        assert [row.user_name for row in stored(one, SESSION)] == ["Ann"]
        assert [row.session_id for row in stored(one, ERROR)] == ["s"]
