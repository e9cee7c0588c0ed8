"""LiteLLM's door: programs that end at once, fork, or leave a stream half read lose no call."""

from __future__ import annotations

import os
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from litellm_rig import provider
from tokentrail._stats import Stats
from tokentrail.demo.provider import FakeProvider, Reply

__all__ = ["provider"]
SCRIPTS = Path(__file__).parent / "exit"


def run(script: str, *args: Any, code: int = 0) -> list[Any]:
    """Run a script in a process of its own and read its ledger afterwards, oldest call first."""
    done = subprocess.run(
        [sys.executable, str(SCRIPTS / f"{script}.py"), *map(str, args)],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == code, done.stderr
    assert "tokentrail" not in done.stderr, done.stderr
    stats = Stats(f"sqlite:///{os.environ['TOKENTRAIL_DATA_DIR']}/usage.db")
    return list(reversed(stats.calls(limit=1000).items))


@pytest.mark.parametrize("mode", ["inline", "hooks"])
@pytest.mark.parametrize("count", [1, 20, 200])
def test_async_calls_and_the_end(provider: FakeProvider, count: int, mode: str) -> None:
    """However many calls `asyncio.run` ends with, each is a row; of LiteLLM's events most are lost."""
    rows = run("async_calls", provider.url, count, mode)
    assert len(provider.sent) == count
    assert Counter((row.status, row.total_tokens) for row in rows) == {("success", 1588): count}


@pytest.mark.parametrize("mode", ["inline", "hooks"])
def test_async_streams_and_the_end(provider: FakeProvider, mode: str) -> None:
    """Streams too."""
    rows = run("async_streams", provider.url, 20, mode)
    assert Counter((row.status, row.total_tokens) for row in rows) == {("success", 1588): 20}


@pytest.mark.parametrize("mode", ["inline", "hooks"])
@pytest.mark.parametrize(("ending", "code"), [("exit", 0), ("os_exit", 0), ("raise", 7)])
def test_sync_calls_and_the_end(provider: FakeProvider, ending: str, code: int, mode: str) -> None:
    """Answers and streams before a normal end, an `os._exit` without clean-up, and an exit code."""
    rows = run("sync_calls", provider.url, 6, ending, mode, code=code)
    assert Counter((row.status, row.total_tokens) for row in rows) == {("success", 1588): 6}


@pytest.mark.parametrize("mode", ["inline", "hooks"])
def test_half_read_stream_at_the_end(provider: FakeProvider, mode: str) -> None:
    """A stream that the program leaves half read is abandoned."""
    provider.script("gpt-4o", Reply(chunks=50))
    (row,) = run("half_read", provider.url, mode)
    assert (row.status, row.is_streaming) == ("abandoned", True)


def test_fork(provider: FakeProvider) -> None:
    """Parent and child record their own calls, each once; the child does not end the parent's stream."""
    rows = run("forked", provider.url)
    assert sorted((row.model, row.status, row.total_tokens) for row in rows) == [
        ("after", "success", 1588),
        ("before", "success", 1588),
        ("half", "success", 1588),
        ("in-child", "success", 1588),
    ]
