"""Pruning: old rows go, on the day that was named; sums keep them."""

from __future__ import annotations

import csv
import io
import json
import stat
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from cli_rig import Command, command
from tokentrail import Stats, Tracker
from tokentrail._neighbours import ERROR, FIELDS_OF
from tokentrail._query import filters
from tokentrail._records import FIELDS, FINAL, to_us
from tokentrail.stores import open_store

__all__ = ["command"]

NOON = datetime(2026, 3, 2, 12, tzinfo=UTC)


@pytest.fixture
def url(tmp_path: Path) -> str:
    """Three old calls, a day apart, and one of today."""
    found = f"sqlite:///{tmp_path / 'usage.db'}"
    with Tracker(found) as tracker:
        for day in range(3):
            tracker.record(model="m", started_at=NOON + timedelta(days=day), usage={"prompt_tokens": 10})
        tracker.record(model="m", usage={"prompt_tokens": 10})
    return found


def test_prune_counts_then_deletes_and_sums_stay(command: Command, url: str) -> None:
    asked = ("prune", "--before", "2026-03-04", "--database", url)
    assert command.answer(*asked, "--dry-run")["calls"] == 2
    assert len(Stats(url).calls().items) == 4
    assert command.answer(*asked, "--yes")["calls"] == 2
    assert command.answer(*asked, "--dry-run")["calls"] == 0
    stats = Stats(url)
    assert (len(stats.calls().items), stats.overview().input_tokens) == (2, 40)
    assert (stats.calls().total, stats.count_rows("calls")) == (2, 2)
    assert stats.calls(end="2026-03-03").total == 0


def test_prune_by_age_keeps_the_young(command: Command, url: str) -> None:
    assert command.answer("prune", "--older-than", "1d", "--yes", "--database", url)["calls"] == 3
    assert len(Stats(url).calls().items) == 1


def test_prune_asks_first(command: Command, url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stdin", io.StringIO("n\n"))
    assert command("prune", "--older-than", "1d", "--database", url).returncode != 0
    assert len(Stats(url).calls().items) == 4


@pytest.mark.parametrize(
    "asked", [(), ("--before", "soon"), ("--before", "2026-03-04", "--older-than", "1d"), ("--before", "")]
)
def test_prune_wants_one_moment(command: Command, url: str, asked: tuple[str, ...]) -> None:
    done = command("prune", *asked, "--yes", "--database", url)
    assert done.returncode == 2
    assert "--before" in done.stderr
    assert len(Stats(url).calls().items) == 4


# --- archive: the same, but to files first -------------------------------------------------------


def lines_of(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def test_an_archive_has_every_row_and_field(command: Command, tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'usage.db'}"
    with Tracker(url, capture="full") as tracker:
        call_id = tracker.record(
            model="m", started_at=NOON, usage={"prompt_tokens": 10}, tags=["a"], request={"text": "hä?"}
        )
        tracker.record(model="m", usage={"prompt_tokens": 10})
    before = Stats(url).call(call_id)
    done = command.answer("archive", str(tmp_path / "old"), "--before", "2026-03-03", "--database", url)
    assert (done["calls"], done["rows"]) == (1, {"llm_call": 1, "llm_payload": 1})
    (call,) = lines_of(tmp_path / "old" / "llm_call.jsonl")
    assert set(call) == set(FIELDS)
    assert (call["id"], call["tags"], call["started_at"]) == (call_id, ["a"], "2026-03-02T12:00:00.000000Z")
    assert call["input_tokens"] == before.input_tokens == 10
    (said,) = lines_of(tmp_path / "old" / "llm_payload.jsonl")
    assert json.loads(said["request"]) == {"text": "hä?"}
    stats = Stats(url)
    assert (stats.calls().total, stats.overview().input_tokens) == (1, 20)
    assert stat.S_IMODE((tmp_path / "old").stat().st_mode) == 0o700
    assert stat.S_IMODE((tmp_path / "old" / "llm_call.jsonl").stat().st_mode) == 0o600


@pytest.mark.parametrize("kind", ["memory", "sqlite", "postgresql"])
def test_an_archive_and_what_stays_are_everything(
    kind: str, tmp_path: Path, postgres: Callable[[], str]
) -> None:
    """In several bites, with neighbours, on every store."""
    urls = {"memory": "memory://", "sqlite": f"sqlite:///{tmp_path / 'usage.db'}"}
    store = open_store(urls[kind] if kind in urls else postgres())
    begun = to_us(NOON)
    calls = [
        {"id": f"c{n:04}", "finality": FINAL, "started_at": begun + n, "status": "success"}
        for n in range(2_500)
    ]
    errors = [
        {"kind": ERROR, "id": f"e{n}", "started_at": begun + n, "error_type": "E", "finality": FINAL}
        for n in range(3)
    ]
    assert store.append([*calls, *errors]).refused == ()
    taken: dict[str, list[str]] = {}

    def take(rows: Sequence[Any]) -> None:
        taken.setdefault(rows[0].__tablename__, []).extend(row.id for row in rows)

    assert store.prune(NOON + timedelta(microseconds=2_200), take=take) == 2_200
    assert sorted(taken["llm_call"]) == [call["id"] for call in calls[:2_200]]
    assert sorted(taken[ERROR]) == ["e0", "e1", "e2"]
    assert {call.id for call in store.scan(filters(), limit=5_000)} == {call["id"] for call in calls[2_200:]}
    store.close()


def test_an_archive_has_the_neighbours_too(tmp_path: Path) -> None:
    """Each table is a file, whose lines have all of its fields."""
    with Tracker(f"sqlite:///{tmp_path / 'usage.db'}", capture="full") as tracker:
        message = tracker.record_message("hi", session_id="s", user_id="u")
        tracker.record_tool_call("search", session_id="s", arguments={"q": "x"})
        tracker.record_feedback("f", "like", message_id=message, reasons=["short"])
        tracker.record_error(ValueError("boom"), session_id="s")
        tracker.session("s", platform="web")
        tracker.flush()
        done = tracker.stats.archive(datetime.now(UTC) + timedelta(days=1), tmp_path / "old")
    assert done.rows == dict.fromkeys(FIELDS_OF, 1)
    written = {kind: lines_of(tmp_path / "old" / f"{kind}.jsonl") for kind in FIELDS_OF}
    assert {kind: set(lines[0]) for kind, lines in written.items()} == {
        kind: set(fields) for kind, fields in FIELDS_OF.items()
    }
    assert written["message"][0]["message_content"] == "hi"
    assert written["feedback"][0]["inaccurate_reasons"] == ["short"]


def test_what_cannot_be_written_is_not_deleted(url: str, tmp_path: Path) -> None:
    class Full(Exception):
        pass

    def take(rows: Sequence[Any]) -> None:
        raise Full

    store = open_store(url)
    with pytest.raises(Full):
        store.prune(NOON + timedelta(days=2), take=take)
    store.close()
    assert Stats(url).calls().total == 4


def test_an_archive_as_csv_has_one_heading(url: str, tmp_path: Path) -> None:
    done = Stats(url).archive("2026-03-04", tmp_path / "old", format="csv")
    rows = list(csv.DictReader(io.StringIO((tmp_path / "old" / "llm_call.csv").read_text(encoding="utf-8"))))
    assert done.calls == len(rows) == 2
    assert [row["input_tokens"] for row in rows] == ["10", "10"]


def test_an_archive_of_nothing_is_not_made(command: Command, url: str, tmp_path: Path) -> None:
    done = command("archive", str(tmp_path / "old"), "--before", "2020-01-01", "--database", url)
    assert (done.returncode, (tmp_path / "old").exists()) == (0, False)
    assert "Nothing" in done.stdout


def test_a_dry_run_makes_no_archive(command: Command, url: str, tmp_path: Path) -> None:
    asked = ("archive", str(tmp_path / "old"), "--before", "2026-03-04", "--dry-run", "--database", url)
    assert command.answer(*asked)["calls"] == 2
    assert not (tmp_path / "old").exists()
    assert Stats(url).calls().total == 4


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        (("there", "--before", "2026-03-04"), "is there already"),
        (("no/such/folder", "--before", "2026-03-04"), "cannot be written"),
        (("old", "--before", "2026-03-04", "--format", "parquet"), "export first"),
        (("old",), "--before"),
    ],
)
def test_a_wrong_archive_is_told_and_deletes_nothing(
    command: Command, url: str, tmp_path: Path, asked: tuple[str, ...], said: str
) -> None:
    (tmp_path / "there").mkdir()
    path, *others = asked
    done = command("archive", str(tmp_path / path), *others, "--database", url)
    assert done.returncode == 2
    assert said in done.stderr
    assert Stats(url).calls().total == 4


def test_a_call_of_a_time_that_was_pruned_is_lost_and_counted(url: str) -> None:
    """Its like may be in the sums already, so it is no row; but nobody is left to think that it is."""
    Stats(url).prune("2026-03-04")
    with Tracker(url) as tracker:
        tracker.record(model="m", started_at=NOON, usage={"prompt_tokens": 10})
        assert tracker.flush() is False
        assert tracker.health()["lost"] == {"pruned": 1}
        assert tracker.stats.calls().total == 2
