"""Questions about messages, tool calls, feedback and errors, in memory and in databases."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from tokentrail._cli.app import app
from tokentrail._context import context
from tokentrail._stats import Stats
from tokentrail._tracker import Tracker
from tokentrail.errors import QueryError

NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)


@pytest.fixture(params=["memory", "sqlite", "postgresql"])
def tracker(request: pytest.FixtureRequest, tmp_path: Path, postgres: Callable[[], str]) -> Iterator[Tracker]:
    """A tracker over each kind of store in turn."""
    urls: dict[str, Callable[[], str]] = {
        "memory": lambda: "memory://",
        "sqlite": lambda: f"sqlite:///{tmp_path}/usage.db",
        "postgresql": postgres,
    }
    with Tracker(urls[request.param](), capture="full") as tracker:
        yield tracker
        tracker.stats.close()


@pytest.fixture
def plain() -> Iterator[Tracker]:
    """A tracker whose store is plain memory."""
    with Tracker("memory://", capture="full") as tracker:
        yield tracker


def minutes(count: float) -> datetime:
    return NOON + timedelta(minutes=count)


# --- lists ---------------------------------------------------------------------------------------


def test_lists_come_page_by_page(tracker: Tracker) -> None:
    """Newest first, ties by id, with the total; pages join without gap or repetition."""
    ids = [tracker.record_message(str(n), started_at=minutes(n // 3), session_id="s") for n in range(10)]
    for n in range(3):
        tracker.record_tool_call("t", started_at=minutes(n))
    first = tracker.stats.messages(limit=4)
    assert (first.total, first.limit, len(first.items)) == (10, 4, 4)
    found, cursor = [message.id for message in first.items], first.next_cursor
    while cursor:
        page = tracker.stats.messages(limit=4, cursor=cursor)
        found += [message.id for message in page.items]
        cursor = page.next_cursor
    assert sorted(found) == sorted(ids)
    times = [tracker.stats.messages(limit=10).items[n].started_at for n in range(10)]
    assert times == sorted(times, reverse=True)
    assert [row.id for row in tracker.stats.messages(limit=3, offset=2).items] == found[2:5]
    tools = tracker.stats.tool_calls(limit=2)
    assert ([tool.started_at for tool in tools.items], tools.total) == ([minutes(2), minutes(1)], 3)


def test_lists_are_filtered(tracker: Tracker) -> None:
    """By what they are and for whom; a field that they do not have is unknown in all of them."""
    with context(session_id="s1", tags=["a"]):
        tracker.record_message("x", platform="Web", started_at=minutes(0))
        tracker.record_message("y", role="assistant", level="warning", started_at=minutes(1))
    tracker.record_message("z", started_at=minutes(2))
    tracker.record_tool_call("search_web", tool_source="mcp", message_id="m")
    stats = tracker.stats
    assert stats.messages(role="USER").total == 2
    assert stats.messages(role="assistant", level="warn*").total == 1
    assert stats.messages(status="pending", session_id="s1", platform="web").total == 1
    assert stats.messages(tag="a").total == 2
    assert stats.messages(start=minutes(1), end=minutes(2)).total == 1
    assert stats.messages(model="gpt-4o").total == 0
    assert stats.tool_calls(tool_name="search*", tool_source="MCP", message_id="m").total == 1
    assert stats.tool_calls(tool_name="fetch").items == []


@pytest.mark.parametrize(
    ("question", "where"),
    [
        ("messages", {"limit": 0}),
        ("messages", {"cursor": "nonsense"}),
        ("tool_calls", {"rolle": "user"}),
        ("feedback", {"start": "yesterday"}),
        ("errors", {"limit": -1}),
        ("message_details", {"message_id": "m", "tz": "Mars"}),
    ],
)
def test_a_wrong_question_is_told_so(plain: Tracker, question: str, where: dict[str, Any]) -> None:
    """The sentence names the parameter."""
    with pytest.raises(QueryError, match="|".join(where)):
        getattr(plain.stats, question)(**where)


def test_nothing_is_an_answer_too(tracker: Tracker) -> None:
    """Every question about an empty store is answered, and rates of nothing are unknown."""
    stats = tracker.stats
    for page in (stats.messages(), stats.tool_calls(), stats.feedback(), stats.errors()):
        assert (page.items, page.total, page.next_cursor) == ([], 0, None)
    assert stats.message_details("nobody") is None
    opinions = stats.feedback_stats()
    assert (opinions.total, opinions.satisfaction_rate, opinions.by_client) == (0, None, [])


# --- details of a message ------------------------------------------------------------------------


def test_details_of_a_message(tracker: Tracker) -> None:
    """Answers, calls with their sums, tool calls, errors and feedback of one message, oldest first."""
    with context(session_id="s"):
        question = tracker.record_message("q")
        other = tracker.record_message("other")
    with context(session_id="s", message_id=question):
        answer = tracker.record_message("a", role="assistant")
        for tokens in (10, 20):
            tracker.record(model="m", usage={"total_tokens": tokens}, duration_ms=tokens)
        tracker.record(model="m", status="error", error_type="Oops")
        tracker.record_tool_call("good", duration_ms=5)
        tracker.record_tool_call("bad", error=ValueError("no"))
        tracker.record_error("own")
        tracker.record_feedback("f", "like")
        tracker.record_feedback("g", "dislike")
        tracker.record_feedback("g", "cancel")
    tracker.record_tool_call("other", message_id=other)
    details = tracker.stats.message_details(question)
    assert details is not None
    assert (details.message.id, [reply.id for reply in details.replies]) == (question, [answer])
    assert [call.total_tokens for call in details.llm_calls] == [10, 20, None]
    stats = details.llm_stats
    assert (stats.calls, stats.tokens, stats.error_calls, stats.average_duration_ms) == (3, 30, 1, 15)
    assert [tool.tool_name for tool in details.tool_calls] == ["good", "bad"]
    assert (details.tool_stats.total, details.tool_stats.success, details.tool_stats.error) == (2, 1, 1)
    assert details.tool_stats.average_duration_ms == 5
    assert [(error.kind, error.name) for error in details.errors] == [
        ("call", "m"),
        ("tool_call", "bad"),
        ("error", None),
    ]
    assert [opinion.feedback_id for opinion in details.feedback] == ["f"]
    assert not details.detail_truncated
    assert tracker.stats.message_details(question, organization_id="other") is None


# --- errors --------------------------------------------------------------------------------------


def test_errors_of_all_kinds(tracker: Tracker) -> None:
    """Calls, tool calls and errors of one's own in one list, page by page, with their stack traces."""
    begin = minutes(0)
    with context(session_id="s", user_id="u"):
        tracker.record(model="m", status="success", started_at=begin)
        tracker.record(model="m", status="error", error_type="RateLimitError", started_at=begin)
        tracker.record(model="m", status="timeout", started_at=begin)
        tracker.record(model="m", status="cancelled", started_at=begin)
        tracker.record_tool_call("t", started_at=begin)
        tracker.record_tool_call("t", error="broken", started_at=begin)
        try:
            raise LookupError("gone")
        except LookupError as error:
            tracker.record_error(error, started_at=begin, level="warning")
    stats = tracker.stats
    found, cursor = [], None
    while True:
        page = stats.errors(limit=2, cursor=cursor)
        found += page.items
        cursor = page.next_cursor
        assert page.total == 4
        if cursor is None:
            break
    assert sorted((error.kind, error.status) for error in found) == [
        ("call", "error"),
        ("call", "timeout"),
        ("error", "error"),
        ("tool_call", "error"),
    ]
    assert len({error.id for error in found}) == 4
    own = next(error for error in found if error.kind == "error")
    assert (own.error_type, own.level, own.session_id) == ("LookupError", "warning", "s")
    assert "raise LookupError" in (own.stack_trace or "")
    assert stats.errors(error_type="rate*").total == 1
    assert [error.status for error in stats.errors(status="timeout").items] == ["timeout"]
    assert stats.errors(user_id="nobody").total == 0


# --- feedback ------------------------------------------------------------------------------------


def test_feedback_in_numbers(tracker: Tracker) -> None:
    """Likes, dislikes and reasons; an agent that was renamed is one, under its newest name."""
    said = [
        ("1", "like", "bot", "Old", None),
        ("2", "dislike", "bot", "New", ["facts", "tone"]),
        ("3", "like", "bot", None, None),
        ("4", "dislike", "cat", None, ["facts"]),
        ("5", "like", None, None, None),
        ("6", "cancel", "bot", None, None),
    ]
    for number, (name, kind, agent, agent_name, reasons) in enumerate(said):
        tracker.record_feedback(
            name,
            kind,
            agent_id=agent,
            agent_name=agent_name,
            reasons=reasons,
            started_at=minutes(number),
            client_id="c",
        )
    stats = tracker.stats.feedback_stats()
    assert (stats.total, stats.likes, stats.dislikes, stats.satisfaction_rate) == (5, 3, 2, 0.6)
    assert [(each.key, each.name, each.total, each.likes) for each in stats.by_agent] == [
        ("bot", "New", 3, 2),
        ("cat", None, 1, 0),
        (None, None, 1, 1),
    ]
    assert [(each.key, each.total, each.satisfaction_rate) for each in stats.by_client] == [("c", 5, 0.6)]
    assert [(each.reason, each.count) for each in stats.reasons] == [("facts", 2), ("tone", 1)]
    assert tracker.stats.feedback_stats(agent_id="cat").satisfaction_rate == 0
    assert tracker.stats.feedback_stats(feedback_type="like").total == 3
    assert [row.feedback_id for row in tracker.stats.feedback(feedback_type="dislike").items] == ["4", "2"]
    assert tracker.stats.feedback().total == 5


# --- one conversation ----------------------------------------------------------------------------


def test_a_conversation_turn_by_turn(tracker: Tracker) -> None:
    """One message of the user is one turn; answers, calls and tool calls join by message, else by time."""
    with context(session_id="s", user_id="u"):
        tracker.record(model="warm-up", started_at=minutes(0), duration_ms=10)
        first = tracker.record_message("q1", started_at=minutes(1), status="success")
        tracker.record(model="step-1", started_at=minutes(1.1), usage={"total_tokens": 5}, duration_ms=30)
        tracker.record_tool_call("t", started_at=minutes(1.2), error="no")
        tracker.record(model="step-2", started_at=minutes(1.3), usage={"total_tokens": 7}, duration_ms=10)
        tracker.record_message("a1", role="assistant", started_at=minutes(1.4))
        tracker.record_message("q2", started_at=minutes(2))
        with context(message_id=first):
            tracker.record(model="late", started_at=minutes(2.5))
            late = tracker.record_message("more", role="assistant", started_at=minutes(2.6))
        tracker.record_message("a2", role="assistant", started_at=minutes(3))
        tracker.record_message("x", role="assistant", parent_id=late, started_at=minutes(4))
        tracker.record_error("own", started_at=minutes(4))
    tracker.record_message("elsewhere", session_id="t", started_at=minutes(1))
    found = tracker.stats.session_analysis("s")
    assert [
        (
            turn.message and turn.message.content,
            [reply.content for reply in turn.replies],
            [call.model for call in turn.llm_calls],
            [tool.tool_name for tool in turn.tool_calls],
            turn.total_tokens,
        )
        for turn in found.turns
    ] == [
        (None, [], ["warm-up"], [], None),
        ("q1", ["a1", "more", "x"], ["step-1", "step-2", "late"], ["t"], 12),
        ("q2", ["a2"], [], [], None),
    ]
    assert found.found
    assert found.session is not None
    assert (found.session.message_count, found.session.call_count, found.session.user_id) == (6, 4, "u")
    assert (found.session.start_time, found.session.last_activity) == (minutes(0), minutes(4))
    assert found.session_duration_seconds == 240
    assert not found.session.is_active
    stats = found.message_stats
    assert (stats.total, stats.success, stats.error, stats.pending, stats.discarded) == (6, 5, 0, 1, 0)
    assert (found.llm_stats.calls, found.llm_stats.tokens) == (4, 12)
    assert (found.tool_stats.total, found.tool_stats.error) == (1, 1)
    assert [error.kind for error in found.errors] == ["tool_call", "error"]
    assert not found.detail_truncated


def test_a_conversation_without_calls(tracker: Tracker) -> None:
    """Messages alone, or a word to the tracker alone, make a session known; nothing makes it unknown."""
    tracker.record_message("q", session_id="said")
    tracker.session("told", user_name="Ann")
    said, told, none = (tracker.stats.session_analysis(name) for name in ("said", "told", "none"))
    assert (said.found, told.found, none.found) == (True, True, False)
    assert said.session is not None
    assert said.session.is_active
    assert told.session is not None
    assert (told.session.user_name, told.session.message_count) == ("Ann", 0)
    assert (none.session, none.turns, none.session_duration_seconds) == (None, [], None)
    assert not tracker.stats.session_analysis("said", organization_id="other").found


def test_a_store_of_one_tenant_is_asked_alone(plain: Tracker) -> None:
    """Filters on organisation and client are exact for all lists."""
    for tenant in ("A", "B"):
        with context(organization_id=tenant):
            plain.record_message("x")
            plain.record_tool_call("t", error="e")
            plain.record_feedback("f", "like")
    stats = plain.stats
    for question in (stats.messages, stats.tool_calls, stats.feedback, stats.errors):
        assert {item.organization_id for item in question(organization_id="A").items} == {"A"}
    assert stats.feedback_stats(organization_id="B").total == 1


# --- everything at once --------------------------------------------------------------------------


def test_everything_at_once_is_of_one_moment(tracker: Tracker, monkeypatch: pytest.MonkeyPatch) -> None:
    """Overview and lists agree with each other, although somebody writes in between."""
    everything(tracker, "ann")
    assert tracker.flush(30)
    store = tracker.stats._opened()
    tally, others = store.tally, []

    def slow_tally(*arguments: Any) -> Any:
        other = threading.Thread(target=everything, args=(tracker, "bob"))
        other.start()
        other.join()
        others.append(other)
        if tracker.database_url != "memory://":
            assert tracker._writer.flush(30)
        return tally(*arguments)

    monkeypatch.setattr(store, "tally", slow_tally)
    found = tracker.stats.data(limit=5, organization_id="o")
    assert others
    assert found.total_count == {
        "messages": 1, "llm_calls": 1, "embedding_calls": 0, "tool_calls": 1, "sessions": 1, "errors": 1,
        "feedback": 1,
    }  # fmt: skip
    assert found.overview.calls == 1
    assert [message.user_id for message in found.messages.items] == ["ann"]
    monkeypatch.undo()
    assert tracker.stats.data().overview.calls == 1 + len(others)


# --- the data of a user --------------------------------------------------------------------------


def everything(tracker: Tracker, user: str, organization: str = "o") -> None:
    """One row of each kind for a user."""
    with context(user_id=user, session_id=f"s-{user}", organization_id=organization):
        tracker.record(model="m", request={"text": f"words of {user}"}, usage={"total_tokens": 10})
        message = tracker.record_message(f"words of {user}")
        tracker.record_tool_call("t", message_id=message)
        tracker.record_feedback(f"f-{user}", "like")
        tracker.session()
        tracker.record_error("e")


ALL = {"calls": 1, "messages": 1, "tool_calls": 1, "feedback": 1, "sessions": 1, "errors": 1}


def test_a_user_is_handed_out_whole(tracker: Tracker, tmp_path: Path) -> None:
    """Every row of the user and of nobody else, with payloads, as JSON lines that only the owner reads."""
    everything(tracker, "ann")
    everything(tracker, "bob")
    path = tmp_path / "ann.jsonl"
    told = tracker.export_user("ann", path)
    assert (told.rows, told.total) == (ALL, 6)
    lines = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    assert lines[0]["user_id"] == "ann"
    assert sorted(line["kind"] for line in lines[1:]) == sorted(ALL)
    text = path.read_text(encoding="utf-8")
    assert text.count("words of ann") == 2
    assert "bob" not in text
    assert path.stat().st_mode & 0o777 == 0o600


def test_a_user_is_deleted_whole(tracker: Tracker) -> None:
    """Every row and every sum is without the user; others stay; a second time there is nothing to do."""
    for user, organization in (("ann", "o"), ("bob", "o"), ("ann", "other"), ("an?", "o")):
        everything(tracker, user, organization)
    assert tracker.delete_user("an?").rows == ALL
    assert tracker.delete_user("ann", organization_id="o").rows == ALL
    assert tracker.delete_user("ann", organization_id="o").total == 0
    stats = tracker.stats
    assert stats.overview().total_tokens == 20
    assert {item.user_id for item in stats.messages().items} == {"ann", "bob"}
    for question in (stats.calls, stats.messages, stats.tool_calls, stats.feedback, stats.errors):
        assert question(user_id="ann").total == question(user_id="bob").total == 1
    with pytest.raises(QueryError, match="user_id"):
        stats.delete_user("")


def test_user_on_the_command_line(tmp_path: Path) -> None:
    """`user export` writes, `user delete` asks first, and says what it did."""
    url = f"sqlite:///{tmp_path}/usage.db"
    with Tracker(url) as tracker:
        everything(tracker, "ann")
    run = CliRunner().invoke
    asked = ["--database", url]
    assert run(app, ["user", "export", "ann", f"{tmp_path}/ann.jsonl", *asked]).exit_code == 0
    assert (tmp_path / "ann.jsonl").exists()
    assert run(app, ["user", "delete", "ann", *asked], input="n\n").exit_code == 1
    done = run(app, ["user", "delete", "ann", "--yes", "--json", *asked])
    assert json.loads(done.stdout)["rows"] == ALL
    assert "Nothing is kept" in run(app, ["user", "delete", "ann", "-y", *asked]).stdout


def test_answers_are_plain_json(plain: Tracker) -> None:
    """Rows come without what only joining needs."""
    plain.record_message("x")
    (row,) = plain.stats.messages().model_dump(mode="json")["items"]
    assert row["message_content"] == "x"
    assert "stamps" not in row
    assert isinstance(Stats("memory://").messages().model_dump_json(), str)
