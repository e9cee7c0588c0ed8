"""Answers are given again only while they are true, and found once for all who ask at once."""

from __future__ import annotations

import asyncio
import sqlite3
from pathlib import Path

import pytest
from fastapi import FastAPI

from server_rig import TOKEN, USAGE, client_of
from tokentrail import Stats, Tracker
from tokentrail.server import create_app

PATH = "/api/v1/overview"


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Grows with every time that the store is asked for the overview."""
    times: list[str] = []
    overview = Stats.overview

    def counted(stats: Stats, **where: object) -> object:
        times.append("asked")
        return overview(stats, **where)  # type: ignore[arg-type]

    monkeypatch.setattr(Stats, "overview", counted)
    return times


async def test_what_was_written_is_read(app: FastAPI, tracker: Tracker) -> None:
    """By whomever it was: the tracker at hand, another program, or somebody with SQL."""
    async with client_of(app) as client:

        async def total() -> int:
            return int((await client.get(PATH)).json()["total_calls"])

        assert await total() == 5
        tracker.record(model="m", usage=USAGE)
        assert await total() == 6
        with Tracker(tracker.database_url) as other:
            other.record(model="m", usage=USAGE)
        assert await total() == 7
        with sqlite3.connect(tracker.database_url.removeprefix("sqlite:///")) as connection:
            connection.execute("UPDATE llm_call SET status = 'error' WHERE model = 'm'")
        connection.close()
        # Sums are kept beside the rows, which this went past; but the rows are read.
        failed = (await client.get("/api/v1/llm-calls?model=m&status=error")).json()
        assert len(failed["items"]) == 2


async def test_the_same_again_costs_no_question(tracker: Tracker, asked: list[str]) -> None:
    """While nothing is written; and only to the same asker about the same."""
    tracker.flush()
    async with client_of(create_app(tracker.database_url, token=TOKEN)) as client:
        for _ in range(3):
            await client.get(PATH)  # the first may find something to import
        before = len(asked)
        for _ in range(10):
            assert (await client.get(PATH)).json()["total_calls"] == 5
        assert len(asked) - before <= 2  # a moment may have passed
        other = (await client.get(f"{PATH}?organization_id=rival")).json()
        assert other["total_calls"] == 2


async def test_many_at_once_are_one_question(tracker: Tracker, asked: list[str]) -> None:
    """All of them are answered by it; one who goes away takes nobody's answer along."""
    tracker.flush()
    async with client_of(create_app(tracker.database_url, token=TOKEN)) as client:
        tasks = [asyncio.create_task(client.get(PATH)) for _ in range(50)]
        await asyncio.sleep(0)
        tasks[0].cancel()
        done = await asyncio.gather(*tasks, return_exceptions=True)
        assert isinstance(done[0], asyncio.CancelledError)
        assert {each.status_code for each in done[1:] if not isinstance(each, BaseException)} == {200}
        assert len(asked) <= 10


async def test_a_database_that_was_exchanged(tmp_path: Path) -> None:
    """Another file under the same name has other answers."""
    file = tmp_path / "usage.db"
    url = f"sqlite:///{file}"
    with Tracker(url) as tracker:
        tracker.record(model="m", usage=USAGE)
    async with client_of(create_app(url, token=TOKEN)) as client:
        assert (await client.get(PATH)).json()["total_calls"] == 1
        for each in tmp_path.glob("usage.db*"):
            each.unlink()
        assert (await client.get(PATH)).json()["total_calls"] == 0
