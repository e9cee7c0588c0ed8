"""LangChain's door: programs that end in every way lose no call, and end as they would without us."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from langchain_models import needs_events
from tokentrail import Stats
from tokentrail.demo.provider import FakeProvider, Reply

SCRIPTS = Path(__file__).parent / "exit_langchain"


@pytest.fixture
def provider() -> Iterator[FakeProvider]:
    """A provider with long streams, and a model that never answers."""
    with FakeProvider() as provider:
        provider.script("*", Reply(chunks=50))
        provider.script("stalls", Reply(stall_after=0))
        yield provider
        provider.release()


def start(script: str, provider: FakeProvider, *args: Any) -> subprocess.Popen[str]:
    command = [sys.executable, str(SCRIPTS / f"{script}.py"), provider.url, *map(str, args)]
    return subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )


def end(process: subprocess.Popen[str], *, code: int = 0, said: str = "") -> list[Any]:
    """Wait for the script, and read its ledger as the next process would, oldest call first."""
    _, errors = process.communicate("\n", timeout=120)
    assert process.returncode == code, errors
    assert "tokentrail" not in errors, errors
    assert (said in errors) if said else errors == ""
    stats = Stats(f"sqlite:///{os.environ['TOKENTRAIL_DATA_DIR']}/usage.db")
    return list(reversed(stats.calls(limit=1000).items))


def run(script: str, provider: FakeProvider, *args: Any, code: int = 0) -> list[Any]:
    return end(start(script, provider, *args), code=code)


def test_half_read_stream(provider: FakeProvider) -> None:
    """A stream that is half read when the program ends is abandoned; its end comes after all exit hooks."""
    (row,) = run("half_read", provider)
    assert (row.status, row.is_streaming, row.finality) == ("abandoned", True, "final")


def test_exit_inside_the_loop(provider: FakeProvider) -> None:
    """A program that exits inside the loop leaves an abandoned stream, and its exit code."""
    (row,) = run("raises", provider, code=7)
    assert row.status == "abandoned"


def test_no_clean_up_at_all(provider: FakeProvider) -> None:
    """What `os._exit` leaves is in the journal: every ended call, and one whose process died."""
    rows = run("os_exit", provider, code=3)
    ends = Counter((row.status, row.total_tokens) for row in rows)
    assert ends == {("success", 1588): 20, ("interrupted", None): 1}


def test_loop_that_ends(provider: FakeProvider) -> None:
    """An event loop that ends cancels a call, of which LangChain says nothing, and drops a stream."""
    rows = {row.requested_model: row.status for row in run("loop_ends", provider)}
    assert rows["stalls"] == "cancelled"
    assert rows["gpt-4o"] in ("abandoned", "cancelled")


@pytest.mark.parametrize("count", [1, 50])
def test_many_at_once_and_the_end(provider: FakeProvider, count: int) -> None:
    """However many calls the program ends with, each is a row."""
    rows = run("gather", provider, count)
    assert Counter((row.status, row.total_tokens) for row in rows) == {("success", 1588): count}


def test_daemon_thread(provider: FakeProvider) -> None:
    """A call in a daemon thread is interrupted when the process ends around it."""
    process = start("daemon_thread", provider)
    provider.wait_for(1, 60)
    (row,) = end(process)
    assert row.status == "interrupted"


@needs_events
def test_answer_whose_end_was_cancelled(provider: FakeProvider) -> None:
    """LangChain cancels the run of an answer that was read to its end; it was a success, with its tokens."""
    (row,) = run("events_v3", provider)
    assert (row.status, row.total_tokens) == ("success", 1588)


@needs_events
def test_half_read_events(provider: FakeProvider) -> None:
    """A stream of events that nobody ends is a row all the same."""
    (row,) = run("events_v3_half_read", provider)
    assert row.status in ("abandoned", "interrupted")


def test_fork(provider: FakeProvider) -> None:
    """A forked child that drops its copy of the parent's stream does not end the parent's call."""
    rows = run("forked", provider)
    assert sorted((row.requested_model, row.status, row.total_tokens) for row in rows) == [
        ("half", "success", 1588),
        ("in-child", "success", 1588),
    ]


def test_ctrl_c(provider: FakeProvider) -> None:
    """Ctrl-C still ends the program, with its own exit status, and its call is cancelled."""
    process = start("interrupted", provider)
    provider.wait_for(2, 60)
    process.send_signal(signal.SIGINT)
    rows = end(process, code=-signal.SIGINT, said="KeyboardInterrupt")
    assert [row.status for row in rows] == ["success", "cancelled"]


def test_kill(provider: FakeProvider) -> None:
    """What runs when the process is killed is interrupted."""
    process = start("interrupted", provider)
    provider.wait_for(2, 60)
    process.kill()
    rows = end(process, code=-signal.SIGKILL)
    assert [(row.status, row.usage_source) for row in rows] == [
        ("success", "provider"), ("interrupted", "missing"),
    ]  # fmt: skip
