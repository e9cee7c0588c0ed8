"""The command line: in a process of its own where that matters, else in this one, which is quicker."""

from __future__ import annotations

import io
import json
import os
import pty
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from cli_rig import Command, Done, command, parsed
from tokentrail import __version__
from tokentrail._cli.show import UNKNOWN, Show
from tokentrail._tracker import Tracker

PYTHON = sys.executable
__all__ = ["command"]

LATE = datetime(2026, 3, 1, 23, 30, tzinfo=UTC)
"""The next day in Berlin."""
RUNNING = """
import sys, tokentrail
tracker = tokentrail.Tracker(sys.argv[1])
call_id = tracker.start(model="gpt-4o", provider="openai", user_id="alice", input_tokens=7)
print("started", flush=True)
sys.stdin.readline()
tracker.finish(call_id, usage={"prompt_tokens": 10, "completion_tokens": 5})
tracker.close()
"""


def run(*arguments: str, **environment: str) -> Done:
    """The command line in a process of its own."""
    done = subprocess.run(
        [PYTHON, "-m", "tokentrail", *arguments],
        capture_output=True,
        text=True,
        timeout=60,
        env={**os.environ, "NO_COLOR": "1", **environment},
        check=False,
    )
    return Done(done.returncode, done.stdout, done.stderr)


def answer(*arguments: str) -> dict[str, Any]:
    """The JSON of a process of its own."""
    return parsed(run(*arguments, "--json"))


@pytest.fixture
def url(tmp_path: Path) -> str:
    return f"sqlite:///{tmp_path / 'usage.db'}"


@pytest.fixture
def ledger(url: str) -> str:
    """Five calls: priced, of an unknown model, without usage, failed, and one late in the day."""
    with Tracker(url) as tracker:
        usage = {"prompt_tokens": 1311, "completion_tokens": 277}
        early = datetime(2026, 3, 1, 8, tzinfo=UTC)
        common = {"provider": "openai", "user_id": "alice", "started_at": early, "duration_ms": 1500}
        tracker.record(model="gpt-4o-mini", usage=usage, **common)
        tracker.record(model="acme-large-1", usage=usage, **common)
        tracker.record(model="gpt-4o-mini", **common)
        tracker.record(model="gpt-4o-mini", status="error", error_type="RateLimitError", **common)
        tracker.record(model="claude-haiku-4-5", provider="anthropic", usage=usage, started_at=LATE)
    return url


# --- stats ---------------------------------------------------------------------------------------


def test_stats_at_a_glance(ledger: str) -> None:
    """Without options `stats` has calls, tokens, dollars and latency, and a table by model."""
    found = answer("stats", "--database", ledger)
    overview = found["overview"]
    assert (overview["calls"], overview["error_calls"], overview["total_tokens"]) == (5, 1, 3 * 1588)
    assert overview["coverage"] == {"tokens": 0.6, "cost": 0.4}
    assert {item["key"]: item["calls"] for item in found["by_model"]["items"]}["gpt-4o-mini"] == 3
    assert found["latency"]["p95"] == 1500


def test_stats_for_people(ledger: str, command: Command) -> None:
    """Numbers have thousands separators, what is unknown is a dash, and totals name their hole."""
    done = command("stats", "--database", ledger)
    assert done.returncode == 0
    unpriced = next(line for line in done.stdout.splitlines() if line.startswith("acme-large-1"))
    assert unpriced.split()[:3] == ["acme-large-1", "1", "0"]
    assert "1,311" in unpriced
    assert f" {UNKNOWN} " in unpriced
    assert "usage known for 3 of 5 calls, cost for 2" in done.stdout


def test_stats_apart(ledger: str, command: Command) -> None:
    """`--by` takes short words, and two fields with the second inside the first."""
    found = command.answer("stats", "--by", "user", "--database", ledger)["breakdown"]
    assert found["by"] == ["user_id"]
    assert {item["key"]: item["calls"] for item in found["items"]} == {"alice": 4, None: 1}
    two = command.answer("stats", "--by", "provider,model", "--database", ledger)["breakdown"]["items"]
    inner = {item["key"]: {one["key"] for one in item["items"]} for item in two}
    assert inner == {"openai": {"gpt-4o-mini", "acme-large-1"}, "anthropic": {"claude-haiku-4-5"}}
    text = command("stats", "--by", "provider,model", "--database", ledger).stdout
    assert "\n  claude-haiku-4-5" in text


def test_stats_by_day_in_a_zone(ledger: str, command: Command) -> None:
    """Days are days of the zone that is asked for."""
    points = command.answer("stats", "--by", "day", "--tz", "Europe/Berlin", "--database", ledger)[
        "timeseries"
    ]
    days = {point["bucket"][:10]: point["calls"] for point in points["points"]}
    assert days == {"2026-03-01": 4, "2026-03-02": 1}
    text = command("stats", "--by", "day", "--tz", "Europe/Berlin", "--database", ledger).stdout
    assert "day (Europe/Berlin)" in text
    assert "\n2026-03-02 " in text


def test_filters_and_windows(ledger: str, command: Command) -> None:
    """Filters and windows reach the question; a date as end includes its day; spans are before now."""
    database = ("--database", ledger)
    assert command.answer("stats", "--model", "GPT-*", *database)["overview"]["calls"] == 3
    assert (
        command.answer("stats", "--status", "error", "--status", "timeout", *database)["overview"]["calls"]
        == 1
    )
    window = ("--since", "2026-03-01T09:00", "--until", "2026-03-01")
    assert command.answer("stats", *window, *database)["overview"]["calls"] == 1
    assert command.answer("stats", "--since", "30min", *database)["overview"]["calls"] == 0
    assert "No calls match." in command("stats", "--user", "nobody", *database).stdout


# --- calls ---------------------------------------------------------------------------------------


def test_calls(ledger: str, command: Command) -> None:
    """`calls` has the newest first, as many as asked for, every field in a fixed order."""
    found = command.answer("calls", "--limit", "2", "--database", ledger)
    assert (found["total"], len(found["items"])) == (5, 2)
    newest = found["items"][0]
    assert (newest["model"], newest["started_at"]) == ("claude-haiku-4-5", "2026-03-01T23:30:00Z")
    assert list(newest)[:2] == ["id", "finality"]
    text = command("calls", "--tz", "Europe/Berlin", "--database", ledger).stdout
    assert "2026-03-02 00:30:00" in text
    assert "error (RateLimitError)" in text
    assert "5 of 5 calls" in text


def test_a_name_cannot_steer_the_terminal(url: str, command: Command) -> None:
    """Control characters in a stranger's words are not written to the terminal."""
    with Tracker(url) as tracker:
        tracker.record(model="evil\x1b[2J[bold]name", usage={"prompt_tokens": 1, "completion_tokens": 1})
    done = command("calls", "--database", url)
    assert "\x1b" not in done.stdout
    assert "[bold]name" in done.stdout


# --- an empty ledger, and things that are wrong --------------------------------------------------


def test_an_empty_ledger_says_how_to_fill_it() -> None:
    """With no calls yet, the default ledger answers with the lines that record some."""
    done = run("stats")
    assert (done.returncode, done.stderr) == (0, "")
    assert "tokentrail.install()" in done.stdout
    assert "tokentrail demo" in done.stdout
    assert answer("stats")["overview"]["calls"] == 0


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["stats", "--database", "mysql://host/db"], "'mysql' is no database"),
        (["stats", "--database", "clickhousedb://host/db"], "ClickHouse is not available"),
        (["stats", "--database", "missing.db"], "no database"),
        (["stats", "--database", ""], "--database is empty"),
        (["stats", "--by", "weather"], "'weather' is unknown"),
        (["stats", "--since", "soon"], "--since 'soon'"),
        (["calls", "--tz", "Mars/Crater"], "'Mars/Crater' is no time zone"),
        (["stats", "--since", "2026-02-02", "--until", "2026-01-01"], "lies before"),
    ],
)
def test_mistakes_are_one_sentence(arguments: list[str], said: str, command: Command) -> None:
    """A wrong option, setting or database gives one sentence on stderr and exit code 2, no traceback."""
    done = command(*arguments)
    assert (done.returncode, done.stdout) == (2, "")
    assert said in done.stderr
    assert len(done.stderr.splitlines()) == 1


def test_a_mistake_in_a_process_of_its_own() -> None:
    """The exit code reaches the shell."""
    done = run("stats", "--by", "weather")
    assert (done.returncode, done.stdout, len(done.stderr.splitlines())) == (2, "", 1)


def test_an_unknown_option_is_exit_2(command: Command) -> None:
    """Options that do not exist, and values out of range, are exit code 2 as well."""
    assert command("stats", "--nonsense").returncode == 2
    assert command("calls", "--limit", "0").returncode == 2


def test_a_damaged_database(tmp_path: Path, command: Command) -> None:
    """A file that is no database is said to be one, and is left as it is."""
    file = tmp_path / "broken.db"
    file.write_bytes(b"this is no database at all" * 100)
    done = command("stats", "--database", str(file))
    assert done.returncode == 2
    assert "Traceback" not in done.stderr
    assert str(file) in done.stderr
    assert file.read_bytes().startswith(b"this is no database")


def test_a_server_that_does_not_answer() -> None:
    """A database server that is not there is one sentence, without the password."""
    done = run("stats", TOKENTRAIL_DATABASE_URL="postgresql+psycopg://me:hunter2@127.0.0.1:1/db")
    assert done.returncode == 2
    assert "Traceback" not in done.stderr
    assert "hunter2" not in done.stdout + done.stderr


def test_version_and_help() -> None:
    """`--version` says it, `--help` lists the commands, and neither loads a library it does not need."""
    assert run("--version").stdout == f"tokentrail {__version__}\n"
    assert "stats" in run("--help").stdout
    code = (
        "import sys; sys.argv = ['tokentrail', '--help']; from tokentrail._cli import main; main();"
        "heavy = {'litellm', 'langchain_core', 'sqlalchemy', 'pydantic'} & sys.modules.keys();"
        "sys.exit(str(heavy) if heavy else 0)"
    )
    done = subprocess.run([PYTHON, "-c", code], capture_output=True, text=True, check=False, timeout=60)
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize("library", ["typer", "rich"])
def test_without_the_extra(library: str) -> None:
    """Without Typer or Rich the command says the line that installs them."""
    code = f"import sys; sys.modules['{library}'] = None; from tokentrail._cli import main; sys.exit(main())"
    done = subprocess.run([PYTHON, "-c", code], capture_output=True, text=True, check=False, timeout=60)
    assert (done.returncode, done.stdout) == (2, "")
    assert "pip install 'tokentrail[cli]'" in done.stderr
    assert len(done.stderr.splitlines()) == 1


def test_demo_without_its_libraries() -> None:
    """Without LiteLLM the demo says the line that installs what it needs."""
    code = (
        "import sys; sys.modules['litellm'] = None; sys.argv = ['tokentrail', 'demo'];"
        "from tokentrail._cli import main; sys.exit(main())"
    )
    done = subprocess.run([PYTHON, "-c", code], capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 2
    assert "litellm is not installed" in done.stderr
    assert "pip install 'tokentrail[demo]'" in done.stderr


def test_a_reader_that_has_enough(ledger: str) -> None:
    """Nobody reading the output any more is no reason to complain."""
    with subprocess.Popen(
        [PYTHON, "-m", "tokentrail", "calls", "--json", "--database", ledger],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    ) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.close()
        complaint = process.stderr.read()
    assert (process.returncode, complaint) == (1, b"")


# --- other processes -----------------------------------------------------------------------------


@contextmanager
def running_elsewhere(url: str) -> Iterator[subprocess.Popen[str]]:
    """Another process with one running call."""
    with subprocess.Popen(
        [PYTHON, "-c", RUNNING, url], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "started\n"
        try:
            yield process
        finally:
            process.kill()


def test_top_sees_another_process(url: str) -> None:
    """`top` shows a call that runs in another process, and no longer when it has ended."""
    with running_elsewhere(url) as process:
        (call,) = answer("top", "--database", url)["calls"]
        assert (call["model"], call["user_id"], call["status"]) == ("gpt-4o", "alice", "running")
        assert call["running_ms"] > 0
        assert call["process_id"] == str(process.pid)
        text = run("top", "--once", "--database", url).stdout
        assert "1 call running" in text
        assert "alice" in text
        process.communicate("go on\n", timeout=30)
        assert answer("top", "--database", url)["calls"] == []
    assert "No call is running." in run("top", "--once", "--database", url).stdout
    assert answer("stats", "--database", url)["overview"]["total_tokens"] == 15


def test_stats_know_what_a_dead_process_left(url: str) -> None:
    """A call whose process was killed is `interrupted` in the next answer, and imported once."""
    with running_elsewhere(url) as process:
        process.kill()
        process.wait()
        assert answer("import", "--database", url)["records"] == 1
    assert answer("calls", "--database", url)["items"][0]["status"] == "interrupted"
    assert answer("import", "--database", url)["records"] == 0


def test_top_live_until_interrupted(url: str) -> None:
    """On a terminal `top` stays until Ctrl-C, which ends it quietly with 130."""
    with running_elsewhere(url):
        terminal, side = pty.openpty()
        with subprocess.Popen(
            [PYTHON, "-m", "tokentrail", "top", "--database", url],
            stdout=side,
            stderr=subprocess.PIPE,
            env={**os.environ, "TERM": "xterm", "COLUMNS": "120"},
        ) as process:
            os.close(side)
            seen = b""
            while b"alice" not in seen:
                seen += os.read(terminal, 65536)
            process.send_signal(signal.SIGINT)
            while _more(terminal):
                pass
            assert process.stderr is not None
            complaint = process.stderr.read()
        os.close(terminal)
    assert (process.returncode, complaint) == (130, b"")


def _more(terminal: int) -> bool:
    try:
        return bool(os.read(terminal, 65536))
    except OSError:
        return False  # what Linux says when the other side has closed


def test_db_upgrade_makes_the_tables(url: str, command: Command) -> None:
    """`db upgrade` makes or brings up the tables, and may be repeated."""
    for _ in range(2):
        done = command("db", "upgrade", "--database", url)
        assert (done.returncode, done.stderr) == (0, "")
    assert command.answer("calls", "--database", url)["total"] == 0


def test_rollups_are_rebuilt_from_the_rows(ledger: str, command: Command) -> None:
    """Rows that somebody changed by hand are in the sums again after `db rebuild-rollups`."""
    with sqlite3.connect(ledger.removeprefix("sqlite:///")) as rows:
        rows.execute("DELETE FROM usage")
    assert command.answer("db", "rebuild-rollups", "--database", ledger)["calls"] == 5
    assert command.answer("stats", "--database", ledger)["overview"]["calls"] == 5
    assert "5 calls added up again" in command("db", "rebuild-rollups", "--database", ledger).stdout


def test_the_environment_names_the_database(ledger: str) -> None:
    """Without the option the database is TOKENTRAIL_DATABASE_URL; a bare path is an SQLite file."""
    done = run("stats", "--json", TOKENTRAIL_DATABASE_URL=ledger)
    assert json.loads(done.stdout)["overview"]["calls"] == 5
    assert answer("stats", "--database", ledger.removeprefix("sqlite:///"))["overview"]["calls"] == 5


@pytest.mark.parametrize("width", [40, 70, 90, 200])
def test_no_terminal_is_too_narrow_for_a_number(width: int) -> None:
    """On a narrow terminal columns are left out and words are folded; no digit of a number is lost."""
    columns = [
        ("model", "text"),
        ("calls", "count"),
        ("total", "count"),
        ("cost", "usd"),
        ("no usage", "count"),
    ]
    rows = [("a-model-with-a-long-name", 1, 1234567890, 0.000123, 4), ("other", None, 5, None, 0)]
    console = Console(width=width, file=io.StringIO(), markup=False)
    show = Show()
    show.console = console
    show.table(columns, rows)
    text = console.file.getvalue()  # type: ignore[attr-defined]
    assert "$0.000123" in text
    assert ("1,234,567,890" in text) == ("total" in text)
    assert ("no usage" in text) == (width >= 70)
