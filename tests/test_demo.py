"""The demo: its judge of rows against the truth, and the whole walk."""

from __future__ import annotations

import os
import sqlite3
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tokentrail.demo.provider import Reply, Sent
from tokentrail.demo.scenes import usage
from tokentrail.demo.truth import compare
from tokentrail.models import LLMCall

TOLD = {"input_tokens": 10, "output_tokens": 5}


def request(counts: dict[str, int] | None, number: int = 1) -> Sent:
    return Sent(
        number=number,
        path="/v1/chat/completions",
        model="m",
        body={},
        headers={},
        reply=Reply(usage=usage(10, 5)),
        counts=counts,
    )


def row(status: str = "success", **counts: Any) -> LLMCall:
    return LLMCall(status=status, **counts)


def problems(ends: list[str], sent: list[Sent], rows: list[LLMCall]) -> list[str]:
    return [problem for verdict in compare("scene", ends, sent, rows) for problem in verdict.problems]


def test_rows_that_say_what_was_sent() -> None:
    """Equal counts and the right status are no problem, whatever order concurrent rows come in."""
    second = {"input_tokens": 20, "output_tokens": 6}
    rows = [row(**second), row(**TOLD)]
    assert problems(["success"] * 2, [request(TOLD), request(second, 2)], rows) == []


@pytest.mark.parametrize(
    ("counts", "recorded", "found"),
    [
        (TOLD, {"input_tokens": 10, "output_tokens": 6}, "output_tokens 6, not 5"),
        (TOLD, {"input_tokens": 10}, "output_tokens None, not 5"),
        (TOLD, {**TOLD, "cache_read_tokens": 3}, "cache_read_tokens 3, not None"),
        (None, {"input_tokens": 0, "output_tokens": None}, "input_tokens 0, though none was sent"),
    ],
)
def test_counts_that_disagree(counts: dict[str, int] | None, recorded: dict[str, Any], found: str) -> None:
    """A wrong count, a missing one and one that nobody sent are each named; an unknown that reads 0 too."""
    assert problems(["success"], [request(counts)], [row(**recorded)]) == [found]


def test_statuses_and_rows_that_disagree() -> None:
    """A wrong status, a missing row, a row too many and a request too many are each a problem."""
    assert problems(["error"], [request(None)], [row()]) == ["status success, not error"]
    assert problems(["success"], [request(TOLD)], []) == ["no row"]
    assert problems([], [], [row()]) == ["a row without a request"]
    assert problems([], [request(TOLD)], []) == ["unexpected request"]
    assert problems(["success"], [], []) == ["no request"]


def run_demo(tmp_path: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "tokentrail", "demo", *arguments],
        capture_output=True,
        text=True,
        timeout=240,
        cwd=tmp_path,
        env={**os.environ, "NO_COLOR": "1"},
        check=False,
    )


def test_the_demo_agrees_with_its_provider(tmp_path: Path) -> None:
    """The whole demo runs, every request is a row with the right tokens, and the file can be asked."""
    file = tmp_path / "demo.db"
    done = run_demo(tmp_path, "--database", f"sqlite:///{file}")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "✗" not in done.stdout
    assert f"sqlite:///{file}" in done.stdout
    assert "usage known for" in done.stdout
    with sqlite3.connect(file) as connection:
        statuses = dict(connection.execute("select status, count(*) from llm_call group by status"))
    connection.close()
    assert {"success", "error", "abandoned", "timeout", "cancelled"} == statuses.keys()
