"""From the command line: periods, sessions, errors, the doctor, and any statistic by its name."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, get_type_hints

import pytest
from pydantic import BaseModel

from cli_rig import Command, command
from tokentrail import Stats, Tracker
from tokentrail._cli import ask, options
from tokentrail._cli.show import UNKNOWN
from tokentrail._journal import journal_folder
from tokentrail._settings import load_settings
from tokentrail._stats._arguments import FilterArguments
from tokentrail._stats._catalog import STATS, statistic

__all__ = ["command"]

MONDAY = datetime(2026, 3, 2, 8, tzinfo=UTC)


@pytest.fixture
def url(tmp_path: Path) -> str:
    return f"sqlite:///{tmp_path / 'usage.db'}"


@pytest.fixture
def ledger(url: str, monkeypatch: pytest.MonkeyPatch) -> str:
    """Five calls in three weeks, which the environment names as the database."""
    usage = {
        "prompt_tokens": 1_000,
        "completion_tokens": 200,
        "prompt_tokens_details": {"cached_tokens": 400},
    }
    with Tracker(url) as tracker:
        tracker.record(model="gpt-4o", provider="openai", started_at=MONDAY, usage=usage, session_id="a",
                       user_id="ann", tags=["x", "y"], duration_ms=500, run_id="r")  # fmt: skip
        tracker.record(model="acme-1", provider="acme", started_at=MONDAY + timedelta(days=1), usage=usage,
                       session_id="a")  # fmt: skip
        tracker.record(model="gpt-4o", provider="openai", started_at=MONDAY + timedelta(days=1),
                       status="error", error_type="RateLimitError", error_message="slow " * 40)  # fmt: skip
        tracker.record(model="gpt-4o", provider="openai", started_at=MONDAY + timedelta(days=8),
                       is_streaming=True, session_id="b")  # fmt: skip
        tracker.record(model="gpt-4o", provider="openai", usage=usage, session_id="c", user_id="bob")
    monkeypatch.setenv("TOKENTRAIL_DATABASE_URL", url)
    return url


# --- period by period ----------------------------------------------------------------------------


def test_a_day_a_line_and_the_total(ledger: str, command: Command) -> None:
    """Days with calls, the models of each, tokens and dollars, and below them the sum of all."""
    done = command("daily", "--until", "2026-03-31")
    lines = [line.split("  ") for line in done.stdout.splitlines()]
    assert [line[0] for line in lines if line[0][:4] == "2026"] == ["2026-03-02", "2026-03-03", "2026-03-10"]
    second = next(line for line in done.stdout.splitlines() if line.startswith("2026-03-03"))
    assert "acme-1, gpt-4o" in second
    total = next(line for line in done.stdout.splitlines() if line.startswith("total"))
    assert total.split() == ["total", "4", "2,000", "400", UNKNOWN, "800", "2,400", "$0.004000"]
    assert "usage known for 2 of 4 calls, cost for 1" in done.stdout


def test_periods_as_json(ledger: str, command: Command) -> None:
    """Programs have the same: periods with their models inside, and the total."""
    found = command.answer("weekly", "--until", "2026-03-31", "--tz", "Europe/Berlin")
    assert (found["kind"], found["tz"], found["total"]["calls"]) == ("weekly", "Europe/Berlin", 4)
    assert [(week["bucket"], week["calls"]) for week in found["periods"]] == [
        ("2026-03-02T00:00:00+01:00", 3), ("2026-03-09T00:00:00+01:00", 1),
    ]  # fmt: skip
    assert [(model["key"], model["calls"]) for model in found["periods"][0]["models"]] == [
        ("acme-1", 1), ("gpt-4o", 2),
    ]  # fmt: skip
    assert [month["calls"] for month in command.answer("monthly", "--until", "2026-04-01")["periods"]] == [4]


def test_each_model_on_a_line(ledger: str, command: Command) -> None:
    """`--breakdown` has the models of a period below it."""
    text = command("monthly", "--breakdown", "--until", "2026-03-31").stdout
    rows = [line.split() for line in text.splitlines()]
    assert ["acme-1", "1", "1,000", "200", UNKNOWN, "400", "1,200", UNKNOWN] in rows
    assert "2026-03 " in text


# --- sessions and errors -------------------------------------------------------------------------


def test_sessions(ledger: str, command: Command) -> None:
    """Conversations, the last active first, with who and whether they go on."""
    found = command.answer("sessions")
    assert [(item["session_id"], item["is_active"], item["calls"]) for item in found["items"]] == [
        ("c", True, 1), ("b", False, 1), ("a", False, 2),
    ]  # fmt: skip
    assert [item["session_id"] for item in command.answer("sessions", "--over")["items"]] == ["b", "a"]
    assert [item["session_id"] for item in command.answer("sessions", "--active")["items"]] == ["c"]
    text = command("sessions", "--limit", "1").stdout
    assert "1 of 3 sessions" in text
    assert "bob" in text


def test_one_session(ledger: str, command: Command) -> None:
    """What it used, and its turns; what is not there is said, and is no error to a program."""
    found = command.answer("session", "a")
    assert (found["found"], found["llm_stats"]["calls"], len(found["turns"])) == (True, 2, 1)
    text = command("session", "a", "--tz", "Europe/Berlin").stdout
    assert "2026-03-02 09:00:00" in text
    assert "usage known for 2 of 2 calls, cost for 1" in text
    done = command("session", "nobody")
    assert (done.returncode, "There is no session 'nobody'" in done.stderr) == (2, True)
    assert command.answer("session", "nobody")["found"] is False


def test_no_sessions(url: str, command: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    """Calls without a session are no reason to say that nothing is recorded."""
    with Tracker(url) as tracker:
        tracker.record(model="m")
    monkeypatch.setenv("TOKENTRAIL_DATABASE_URL", url)
    assert "tokentrail.context(session_id=" in command("sessions").stdout


def test_errors(ledger: str, command: Command) -> None:
    """Errors by type, model and provider, the latest with a message that is cut."""
    found = command.answer("errors")
    assert [(one["key"], one["count"]) for one in found["statistics"]["by_type"]] == [("RateLimitError", 1)]
    assert found["latest"]["items"][0]["error_message"].startswith("slow slow")
    text = command("errors").stdout
    assert "1 error, 0 of them by timeout, in 5 calls; 20.0 % of those that finished" in text
    assert "by provider" in text
    assert "…" in text
    assert command("errors", "--model", "acme-1").stdout == "No errors in 1 call.\n"


# --- doctor --------------------------------------------------------------------------------------


def test_the_doctor_names_what_is_wrong_and_what_to_do(ledger: str, command: Command) -> None:
    """Each finding with its count, its models, an example and the fix; exit code 1, because there is one."""
    done = command("doctor")
    assert done.returncode == 1
    assert "stream_without_usage: 1 call, 20.0 %" in done.stdout
    assert "include_usage" in done.stdout
    assert "unpriced_model: 1 call" in done.stdout
    assert "acme-1 (1, 100.0 % of its calls)" in done.stdout
    found = json.loads(command("doctor", "--json").stdout)
    assert [signal["code"] for signal in found["data_quality"]["signals"]] == [
        "stream_without_usage", "unpriced_model",
    ]  # fmt: skip
    assert (found["troubles"], found["journal"]["dead"]) == ([], 0)


def test_a_healthy_ledger(ledger: str, command: Command) -> None:
    """Nothing doubtful is exit code 0 and a sentence."""
    done = command("doctor", "--user", "ann")
    assert (done.returncode, "Nothing is doubtful." in done.stdout) == (0, True)


def test_the_doctor_looks_into_the_journals(ledger: str, command: Command) -> None:
    """What could not be stored, and what was damaged, lies in files that the doctor counts."""
    folder = journal_folder(load_settings().data_dir, ledger)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "refused.jsonl").write_text("{}\n{}\n")
    (folder / "1-aa-0.damaged").write_text("?")
    found = json.loads(command("doctor", "--json", "--user", "ann").stdout)
    assert [(one["code"], one["count"]) for one in found["troubles"]] == [("refused", 2), ("damaged", 1)]
    text = command("doctor", "--user", "ann").stdout
    assert "refused: 2" in text
    assert str(folder) in text


# --- ask -----------------------------------------------------------------------------------------


def test_filters_of_the_command_line_are_those_of_a_question() -> None:
    """No filter of a question is missing from the command line."""
    asked = set(get_type_hints(FilterArguments)) - {"start", "end", "tz"}
    assert {field for field, _ in options.FILTERS.values()} == asked


@pytest.mark.parametrize("name", STATS)
def test_every_statistic_can_be_asked(ledger: str, command: Command, name: str) -> None:
    """By its name, for people and for programs."""
    needed = {"run_id": "r", "session_id": "a"}
    with Tracker(ledger) as tracker:
        needed["call_id"] = tracker.stats.calls(1).items[0].id
        needed["message_id"] = tracker.record_message("hello")
    wanted = [str(needed[each.name]) for each in STATS[name].parameters if each.required]
    arguments = ("ask", name.replace("_", "-"), *wanted)
    done = command(*arguments)
    assert (done.returncode, done.stderr) == (0, ""), done.stderr
    assert done.stdout.strip()
    found = command.answer(*arguments)
    assert found["kind"] == name
    STATS[name].answer.model_validate(found["answer"])


def test_a_new_statistic_is_a_new_command(
    ledger: str, command: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A method and an entry in the table are all that a command of its own takes."""

    class Twice(BaseModel):
        twice: int
        calls: int

    def twice(self: Stats, number: int = 1, **where: Any) -> Twice:
        """Twice a number."""
        return Twice(twice=2 * number, calls=self.overview(**where).calls)

    twice.__annotations__ |= {"return": Twice}
    monkeypatch.setattr(Stats, "twice", twice, raising=False)
    monkeypatch.setattr(ask, "STATS", {**STATS, "twice": statistic(twice, "twice")})
    found = command.answer("ask", "twice", "--number", "21", "--model", "gpt-*")
    assert found["answer"] == {"twice": 42, "calls": 4}


def test_options_of_a_statistic(ledger: str, command: Command) -> None:
    """Its own parameters and the filters, repeated where there may be several."""
    found = command.answer("ask", "breakdown", "--by", "provider", "--by", "model", "--limit", "1")["answer"]
    assert (found["truncated"], [item["key"] for item in found["items"][0]["items"]]) == (True, ["gpt-4o"])
    assert command.answer("ask", "overview", "--streaming")["answer"]["calls"] == 1
    assert command.answer("ask", "overview", "--since", "1d", "--user", "bob")["answer"]["calls"] == 1
    assert "breakdown" in command("ask").stdout
    assert "--order" in command("ask", "breakdown", "--help").stdout


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["ask", "weather"], "weather"),
        (["ask", "timeseries", "--granularity", "fortnight"], "granularity: 'fortnight' is unknown"),
        (["ask", "calls", "--limit", "-1"], "limit: -1 is below 1."),
        (["ask", "calls", "--limit", "abc"], "'--limit'"),
        (["ask", "run-usage", "nobody"], "run_usage: there is nothing of nobody."),
        (["ask", "call"], "call_id"),
        (["daily", "--since", "soon"], "--since 'soon'"),
        (["sessions", "--tz", "Moon/Sea"], "is no time zone"),
        (["monthly", "--nonsense"], "nonsense"),
    ],
)
def test_mistakes_are_exit_2(ledger: str, command: Command, arguments: list[str], said: str) -> None:
    """Whatever is wrong, a sentence on stderr and exit code 2."""
    done = command(*arguments)
    assert (done.returncode, done.stdout) == (2, "")
    assert said.casefold() in done.stderr.casefold()  # Typer writes arguments in capitals or not
    assert "Traceback" not in done.stderr


# --- empty, and narrow ---------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["daily", "sessions", "errors", "doctor"])
def test_an_empty_ledger_says_what_to_do(name: str, command: Command) -> None:
    """With nothing recorded each command says the lines that record something."""
    done = command(name)
    assert (done.returncode, done.stderr) == (0, "")
    assert "tokentrail.install()" in done.stdout


@pytest.mark.parametrize("width", [40, 80, 120])
def test_no_terminal_is_too_narrow(ledger: str, width: int) -> None:
    """Columns are left out, the first and the figures that are shown stay whole."""
    terminal = {**os.environ, "COLUMNS": str(width), "TERM": "xterm", "TTY_COMPATIBLE": "1"}
    code = (
        "import sys; sys.stdout.isatty = lambda: True; from tokentrail._cli import main;"
        "sys.argv = ['tokentrail', 'daily', '--until', '2026-03-31']; main()"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, env=terminal
    )
    assert "2026-03-03" in done.stdout
    assert "$0.004000" in done.stdout
    plain = re.sub(r"\x1b\[\d*m", "", done.stdout)
    figures = [line for line in plain.splitlines() if "usage known" not in line]
    assert width == 40 or all(len(line) <= width for line in figures)
