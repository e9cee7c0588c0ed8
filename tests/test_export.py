"""Export: every row once, whole files or none, and no cell that a spreadsheet would run."""

from __future__ import annotations

import csv
import io
import json
import stat
import subprocess
import sys
import tracemalloc
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import polars
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tokentrail._context import context
from tokentrail._export._kinds import KINDS, Column
from tokentrail._export._sources import PAGE
from tokentrail._export._text import cell, csv_lines
from tokentrail._records import FIELDS, TEXT
from tokentrail._stats import Stats
from tokentrail._tracker import Tracker
from tokentrail.errors import ConfigurationError, MissingExtraError, QueryError, StoreError
from tokentrail.stores import open_store
from tokentrail.stores.base import Store

CASES = json.loads((Path(__file__).parent / "cases" / "export.json").read_text(encoding="utf-8"))
START = datetime(2026, 1, 31, 12, tzinfo=UTC)


@pytest.fixture
def tracker(tmp_path: Path) -> Iterator[Tracker]:
    tracker = Tracker(f"sqlite:///{tmp_path / 'usage.db'}")
    yield tracker
    tracker.close()


def play(tracker: Tracker, count: int = 3, **fields: Any) -> list[str]:
    """Some calls, a second apart; returns their ids, newest first."""
    told = {"model": "gpt-4o", "provider": "openai", "usage": {"prompt_tokens": 1000, "completion_tokens": 8}}
    return [
        tracker.record(
            **{**told, **fields},
            started_at=START + timedelta(seconds=second),
            ended_at=START + timedelta(seconds=second, milliseconds=250),
        )
        for second in range(count)
    ][::-1]


def parsed(text: str) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(text.removeprefix("\ufeff"), newline="")))


# --- cells ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("case", CASES, ids=lambda case: case["name"])
def test_cases(case: dict[str, Any]) -> None:
    """A user's text is text to a spreadsheet, whatever it begins with."""
    fields, expected = case["input"]["fields"], case["expected"]["cells"]
    columns = [Column("cell", TEXT, lambda value: value), Column("end", TEXT, lambda _: "end")]
    _, lines = csv_lines(columns, [fields], bom=False)
    wanted = [
        f'"{value}"' if shown.startswith("quoted") else shown
        for value, shown in zip(fields, expected, strict=True)
    ]
    assert lines == "".join(f"{each},end\r\n" for each in wanted)


def test_users_text_reaches_no_spreadsheet_as_a_formula(tracker: Tracker) -> None:
    """The same through a whole export: the cases as names and errors of calls."""
    texts = [text for case in CASES for text in case["input"]["fields"] if isinstance(text, str)]
    for text in texts:
        tracker.record(model="m", status="error", error_message=text, session_id="s", started_at=START)
    rows = parsed("".join(tracker.stats.export_lines("errors")))
    assert sorted(row["error_message"].removeprefix("'") for row in rows) == sorted(texts)
    assert not any(row["error_message"].startswith(("=", "+", "-", "@")) for row in rows)


@given(st.one_of(st.none(), st.booleans(), st.integers(), st.floats(allow_nan=False, allow_infinity=False)))
def test_numbers_stay_numbers(value: Any) -> None:
    """A number reads back as itself, without an exponent; unknown is empty, and never 0."""
    shown = cell(value)
    assert "e" not in shown.lower() or isinstance(value, bool)
    if value is None:
        assert shown == ""
    elif not isinstance(value, bool):
        assert type(value)(shown) == value


@given(st.text(alphabet=st.characters(exclude_categories=["Cs"])))
def test_any_text_reads_back(text: str) -> None:
    """RFC 4180: what is written is read again, but for the mark before a formula."""
    line = io.StringIO(newline="")
    csv.writer(line).writerow([cell(text), "end"])
    back, end = next(csv.reader(io.StringIO(line.getvalue(), newline="")))
    assert (back, end) in ((text, "end"), ("'" + text, "end"))


# --- kinds and formats ---------------------------------------------------------------------------


def test_csv_has_the_columns_of_the_seed(tracker: Tracker) -> None:
    """The names and the order that readers of LangBot's exports know; unknown is empty."""
    newest = play(tracker, agent_id="a1", pipeline_name="p", session_id="s1")[0]
    text = "".join(tracker.stats.export_lines("llm-calls"))
    heading = text.partition("\r\n")[0]
    assert heading == (
        "\ufeffid,timestamp,model_name,input_tokens,output_tokens,total_tokens,duration_ms,cost,status,bot_id,"
        "bot_name,pipeline_id,pipeline_name,session_id,message_id,error_message"
    )
    row = parsed(text)[0]
    assert row["id"] == newest
    assert row["timestamp"] == "2026-01-31T12:00:02.000000Z"
    assert (row["input_tokens"], row["output_tokens"], row["total_tokens"]) == ("1000", "8", "1008")
    assert (row["duration_ms"], row["cost"]) == ("250.0", "0.00258")
    assert (row["bot_id"], row["bot_name"], row["pipeline_name"]) == ("a1", "", "p")


def test_what_stands_beside_calls(tmp_path: Path) -> None:
    """Messages, tool calls, sessions, feedback and errors, with LangBot's columns."""
    with Tracker(f"sqlite:///{tmp_path / 'beside.db'}", capture="full") as tracker:
        with context(session_id="s1", user_id="u1", agent_id="a1"):
            parts = [
                {"type": "text", "text": "=What "},
                {"type": "image"},
                {"type": "text", "text": "is it?"},
            ]
            asked = tracker.record_message(parts, platform="web", agent_name="Bot", runner_name="local")
            play(tracker, 2, message_id=asked)
            play(tracker, 1, status="error", error_type="RateLimitError", error_message="slow down")
            moment = START + timedelta(hours=1)
            tracker.record_tool_call(
                "search", status="error", error="no net", started_at=moment, message_id=asked
            )
            tracker.record_feedback("f1", "like", content="+1", reasons=["fast"], message_id=asked)
            tracker.record_feedback("f2", "dislike", message_id=asked)
            tracker.record_feedback("f2", "cancel")
            tracker.record_error("of one's own", started_at=START - timedelta(hours=1), error_type="Own")
        stats = tracker.stats
        told = {
            kind: parsed("".join(stats.export_lines(kind)))
            for kind in ("messages", "tool-calls", "sessions", "feedback", "errors")
        }
    (message,) = told["messages"]
    assert ",".join(message) == (
        "id,timestamp,bot_id,bot_name,pipeline_id,pipeline_name,runner_name,message_content,message_text,"
        "session_id,status,level,platform,user_id"
    )
    assert (message["bot_id"], message["bot_name"], message["runner_name"]) == ("a1", "Bot", "local")
    assert (message["message_text"], message["platform"]) == ("'=What is it?", "web")
    (tool,) = told["tool-calls"]
    assert (tool["tool_name"], tool["status"], tool["error_message"]) == ("search", "error", "no net")
    (session,) = told["sessions"]
    assert ",".join(session) == (
        "session_id,bot_id,bot_name,pipeline_id,pipeline_name,message_count,start_time,last_activity,is_active,"
        "platform,user_id"
    )
    assert (session["session_id"], session["bot_id"], session["user_id"]) == ("s1", "a1", "u1")
    assert (session["message_count"], session["is_active"]) == ("1", "False")
    assert session["start_time"] == "2026-01-31T12:00:00.000000Z"
    (feedback,) = told["feedback"]
    assert ",".join(feedback) == (
        "id,timestamp,feedback_id,feedback_type,feedback_content,inaccurate_reasons,bot_id,bot_name,pipeline_id,"
        "pipeline_name,session_id,message_id,stream_id,user_id,platform"
    )
    assert (feedback["feedback_type"], feedback["feedback_content"]) == ("like", "'+1")
    assert (feedback["inaccurate_reasons"], feedback["session_id"]) == ('["fast"]', "s1")
    assert [error["error_type"] for error in told["errors"]] == ["Error", "RateLimitError", "Own"]


def test_a_session_of_one_owner_holds_nothing_of_another(tracker: Tracker) -> None:
    """Two programs may call a session the same; asked for one of them, the other's is not in it."""
    for client, user in (("c1", "alice"), ("c2", "bob"), ("c2", "bob")):
        play(tracker, 3 if client == "c2" else 1, session_id="main", client_id=client, user_id=user)
        tracker.record_message("hi", session_id="main", client_id=client)
    (both,) = tracker.stats.export_rows("sessions")
    (one,) = tracker.stats.export_rows("sessions", client_id="c1")
    assert (both["message_count"], both["user_id"]) == (3, "bob")
    assert (one["message_count"], one["user_id"]) == (1, "alice")
    assert (one["start_time"], one["last_activity"]) == (START, START)


def test_a_session_outlives_its_pruned_calls(tracker: Tracker) -> None:
    """Its sums and times are kept beside the calls."""
    play(tracker, 2, session_id="old")
    tracker.flush()
    tracker.stats._opened().prune(START + timedelta(days=1))
    (old,) = tracker.stats.export_rows("sessions")
    assert (old["session_id"], old["last_activity"]) == ("old", START + timedelta(seconds=1))


def test_kinds_take_their_own_calls(tracker: Tracker) -> None:
    """An embedding is no LLM call, an error is both; a filter of the asker's narrows each."""
    play(tracker, 2)
    play(tracker, 1, call_type="embedding", model="text-embedding-3-small", input_count=3)
    play(tracker, 1, status="timeout", error_type="Timeout")
    stats = tracker.stats
    kinds = ("calls", "llm-calls", "embedding_calls", "errors")
    counts = {kind: len(list(stats.export_rows(kind))) for kind in kinds}
    assert counts == {"calls": 4, "llm-calls": 3, "embedding_calls": 1, "errors": 1}
    (embedding,) = stats.export_rows("embedding-calls")
    assert (embedding["prompt_tokens"], embedding["input_count"], embedding["call_type"]) == (
        1000,
        3,
        "embedding",
    )
    assert list(stats.export_rows("embedding-calls", call_type="chat")) == []
    assert list(stats.export_rows("errors", status="success")) == []
    assert len(list(stats.export_rows("llm-calls", model="GPT*", limit=2))) == 2


def test_json_lines_have_every_column(tracker: Tracker) -> None:
    """`calls` is the whole row: lists are lists, unknown is null, times end in Z."""
    play(tracker, 1, tags=["a", "b"], model="no such model")
    (line,) = "".join(tracker.stats.export_lines("calls", "jsonl")).splitlines()
    row = json.loads(line)
    assert list(row) == list(FIELDS)
    assert (row["tags"], row["cost_usd"], row["cost_source"]) == (["a", "b"], None, "unpriced")
    assert row["started_at"] == "2026-01-31T12:00:00.000000Z"


def test_parquet_keeps_types(tracker: Tracker, tmp_path: Path) -> None:
    """Numbers are numbers, times are times in UTC, and what is unknown is null."""
    play(tracker, 3, tags=["a"], params={"n": 1})
    path = tmp_path / "calls.parquet"
    written = tracker.stats.export("calls", path)
    assert (written.format, written.rows) == ("parquet", 3)
    frame = polars.read_parquet(path)
    assert frame.columns == list(FIELDS)
    assert frame.schema["started_at"] == polars.Datetime("us", "UTC")
    assert frame["input_tokens"].to_list() == [1000] * 3
    assert frame["tags"].to_list() == [["a"]] * 3
    assert frame["params"].to_list() == ['{"n":1}'] * 3
    assert frame["user_id"].to_list() == [None] * 3
    assert frame.equals(tracker.stats.dataframe())
    assert tracker.stats.dataframe(model="none").shape == (0, len(FIELDS))


def test_a_missing_library_is_named(
    tracker: Tracker, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without polars, the error has the line that installs it, and no file is left."""
    monkeypatch.setitem(sys.modules, "polars", None)
    with pytest.raises(MissingExtraError, match=r"tokentrail\[dataframe\]"):
        tracker.stats.export("calls", tmp_path / "x.parquet")
    assert not list(tmp_path.glob("*.parquet*"))


@pytest.mark.parametrize(
    ("kind", "options", "sentence"),
    [
        ("everything", {}, "kind: 'everything' cannot be exported"),
        ("calls", {"format": "xlsx"}, "format: 'xlsx'"),
        ("calls", {"limit": 0}, "limit: 0 is below 1"),
        ("calls", {"start": "yesterday"}, "start: 'yesterday'"),
    ],
)
def test_wrong_questions_are_refused_before_the_first_line(
    tracker: Tracker, kind: str, options: dict[str, Any], sentence: str
) -> None:
    """Whoever sends lines on must not learn in the middle that there are none."""
    with pytest.raises(QueryError, match=sentence):
        tracker.stats.export_lines(kind, **options)


# --- files ---------------------------------------------------------------------------------------


def test_a_file_is_whole_private_and_replaced(tracker: Tracker, tmp_path: Path) -> None:
    """Only its owner reads it; the one before stays until the new one is whole."""
    play(tracker)
    path = tmp_path / "calls.csv"
    path.write_text("before")
    written = tracker.stats.export("llm-calls", path)
    assert (written.kind, written.format, written.rows, written.path) == ("llm-calls", "csv", 3, str(path))
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert len(parsed(path.read_text(encoding="utf-8"))) == 3

    def stop(rows: int) -> None:
        raise KeyboardInterrupt

    for name in ("calls.csv", "calls.jsonl"):
        with pytest.raises(KeyboardInterrupt):
            tracker.stats.export("llm-calls", tmp_path / name, progress=stop)
    assert len(parsed(path.read_text(encoding="utf-8"))) == 3
    assert {each.name for each in tmp_path.iterdir()} & {"calls.jsonl"} == set()
    assert not [each for each in tmp_path.iterdir() if each.name.startswith(".")]


def test_places_that_cannot_be_written(tracker: Tracker, tmp_path: Path) -> None:
    """A folder, a device or a missing folder is refused with a sentence, and survives."""
    for path in (tmp_path, Path("/dev/null"), tmp_path / "none" / "x.csv"):
        with pytest.raises(ConfigurationError, match=str(path)):
            tracker.stats.export("calls", path)
    assert Path("/dev/null").is_char_device()


def test_an_open_file_is_written_to(tracker: Tracker) -> None:
    """Bytes go where the caller says."""
    play(tracker, 1)
    for format in ("csv", "jsonl", "parquet"):
        file = io.BytesIO()
        tracker.stats.export("calls", file, format, bom=False)
        assert file.getvalue()[:3] in (b"id,", b'{"i', b"PAR")


def test_a_store_that_fails_leaves_no_file(tmp_path: Path) -> None:
    """What the database said is what the caller hears, from Parquet too."""
    store = filled(open_store(f"sqlite:///{tmp_path / 'usage.db'}"), 2 * PAGE)
    stats = Stats(store, before_question=int)

    def spoil(_: int) -> None:
        (tmp_path / "usage.db").unlink(missing_ok=True)

    for name in ("x.parquet", "x.csv"):
        with pytest.raises(StoreError, match="deleted or exchanged"):
            stats.export("calls", tmp_path / name, progress=spoil)
        filled(store, 2 * PAGE)
        assert not list(tmp_path.glob("*x.*"))
    store.close()


# --- many rows -----------------------------------------------------------------------------------


def filled(store: Store, count: int) -> Store:
    begin = int(START.timestamp() * 1_000_000)
    store.append(
        [
            {"id": f"{number:036d}", "finality": 2, "status": "success", "model": "m" * 40,
             "call_type": "chat", "started_at": begin + number // 3, "input_tokens": number}
            for number in range(count)
        ]
    )  # fmt: skip
    return store


def test_pages_overlap_nowhere(tmp_path: Path) -> None:
    """More rows than a page, several at one moment: each is there once, newest first."""
    store = filled(open_store(f"sqlite:///{tmp_path / 'usage.db'}"), 2 * PAGE + 7)
    seen: list[int] = []
    rows = [row["input_tokens"] for row in Stats(store, before_question=int).export_rows("calls")]
    assert rows == list(range(2 * PAGE + 7))[::-1]
    Stats(store, before_question=int).export("calls", tmp_path / "x.jsonl", progress=seen.append)
    assert seen == [PAGE, 2 * PAGE, 2 * PAGE + 7]
    store.close()


def test_rows_are_not_kept_in_memory(tmp_path: Path) -> None:
    """The memory of an export does not grow with its rows."""
    peaks = []
    for count in (2 * PAGE, 8 * PAGE):
        store = filled(open_store(f"sqlite:///{tmp_path / f'{count}.db'}"), count)
        tracemalloc.start()
        Stats(store, before_question=int).export("calls", tmp_path / "x.csv")
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
        store.close()
    assert peaks[1] < 1.3 * peaks[0]


@pytest.mark.parametrize("kind", sorted(KINDS))
def test_every_store_exports_the_same(kind: str, tmp_path: Path, postgres: Callable[[], str]) -> None:
    """Memory, SQLite and PostgreSQL give the same text."""
    texts = set()
    for url in ("memory://", f"sqlite:///{tmp_path / 'usage.db'}", postgres()):
        store = filled(open_store(url), 5)
        texts.add("".join(Stats(store, before_question=int).export_lines(kind)))
        store.close()
    assert len(texts) == 1


# --- the command ---------------------------------------------------------------------------------


def run(*arguments: str) -> subprocess.CompletedProcess[bytes]:
    return subprocess.run(
        [sys.executable, "-m", "tokentrail", "export", *arguments],
        capture_output=True,
        check=False,
        timeout=120,
    )


def test_the_command_writes_to_a_pipe_and_to_a_file(tracker: Tracker, tmp_path: Path) -> None:
    """Rows on stdout and nothing else there; a file is told about on stderr."""
    play(tracker)
    tracker.close()
    database = str(tmp_path / "usage.db")
    piped = run("llm-calls", "-d", database, "--since", "2026-01-01", "--format", "csv")
    assert (piped.returncode, piped.stderr) == (0, b"")
    assert len(parsed(piped.stdout.decode())) == 3
    path = tmp_path / "out.jsonl"
    filed = run("calls", str(path), "-d", database, "--limit", "2")
    assert (filed.returncode, filed.stdout) == (0, b"")
    assert b"2 rows" in filed.stderr
    assert len(path.read_text().splitlines()) == 2
    wrong = run("nothing", "-d", database)
    assert wrong.returncode == 2
    assert b"cannot be exported" in wrong.stderr
