"""Pruning: old rows go, on the day that was named; sums keep them."""

from __future__ import annotations

import io
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from cli_rig import Command
from tokentrail import Stats, Tracker

NOON = datetime(2026, 3, 2, 12, tzinfo=UTC)


@pytest.fixture
def command(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Command:
    return Command(capsys, monkeypatch)


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
