"""The command line in this process, which is quicker than in one of its own."""

from __future__ import annotations

import json
import sys
from typing import Any, NamedTuple

import pytest

from tokentrail._cli import main


class Done(NamedTuple):
    returncode: int
    stdout: str
    stderr: str


class Command:
    """The command line in this process."""

    def __init__(self, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
        self._capsys, self._monkeypatch = capsys, monkeypatch

    def __call__(self, *arguments: str) -> Done:
        self._capsys.readouterr()
        self._monkeypatch.setattr(sys, "argv", ["tokentrail", *arguments])
        return Done(main(), *self._capsys.readouterr())

    def answer(self, *arguments: str) -> dict[str, Any]:
        return parsed(self(*arguments, "--json"))


@pytest.fixture
def command(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Command:
    """The command line, and what it says."""
    return Command(capsys, monkeypatch)


def parsed(done: Done) -> dict[str, Any]:
    assert (done.returncode, done.stderr) == (0, ""), done.stderr
    found: dict[str, Any] = json.loads(done.stdout)
    assert found["schema_version"] == 1
    return found
