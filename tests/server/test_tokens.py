"""Tokens by name: made and taken away on the command line, while the server runs."""

from __future__ import annotations

import json
import logging
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest

from cli_rig import Command
from server_rig import client_of, fill
from tokentrail import Tracker
from tokentrail.server import create_app
from tokentrail.server._tokens import TOKENS_FILE

API = "/api/v1"


@pytest.fixture
def command(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Command:
    monkeypatch.setenv("TOKENTRAIL_DATA_DIR", str(tmp_path / "data"))
    return Command(capsys, monkeypatch)


@pytest.fixture
def kept(tmp_path: Path) -> Iterator[Tracker]:
    """A tracker whose data directory is the command's."""
    with Tracker(f"sqlite:///{tmp_path}/usage.db", summary_interval=0, data_dir=tmp_path / "data") as made:
        fill(made)
        yield made


async def _status(app: object, token: str, path: str = "llm-calls") -> int:
    async with client_of(app, token) as client:
        return (await client.get(f"{API}/{path}")).status_code


async def test_a_token_counts_from_the_moment_it_is_made_until_it_is_removed(
    command: Command, kept: Tracker
) -> None:
    """Of one organisation, and for reading only; the running server needs no restart."""
    app = create_app(kept)
    token = command("token", "add", "acme", "--scope", "read", "--organization", "acme").stdout.strip()
    async with client_of(app, token) as client:
        found = (await client.get(f"{API}/llm-calls")).json()["items"]
        assert {call["organization_id"] for call in found} == {"acme"}
        assert (await client.get(f"{API}/export")).status_code == 403
    other = command.answer("token", "add", "worker", "--scope", "write")["token"]
    assert await _status(app, other) == 403
    assert command("token", "remove", "acme").stdout == "Removed: acme\n"
    assert await _status(app, token) == 401
    assert await _status(app, other) == 403


def test_the_file_is_private_and_holds_no_token(command: Command, tmp_path: Path) -> None:
    """Digests only, for nobody else; the list shows what each may do."""
    token = command("token", "add", "dashboard").stdout.strip()
    path = tmp_path / "data" / TOKENS_FILE
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert token not in path.read_text()
    assert command.answer("token", "list")["tokens"] == [
        {"name": "dashboard", "scopes": ["read"], "where": {}}
    ]
    assert "dashboard" in command("token", "list").stdout


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("add", "there"), "There is a token 'there' already."),
        (("add", "new", "--scope", "admin"), "'admin' is no scope. There are: read, export, write."),
        (("add", "new", "--organization", ""), "An access cannot be bound to nothing."),
        (("remove", "nobody"), "There is no token 'nobody'."),
    ],
)
def test_what_is_wrong_is_one_sentence(command: Command, arguments: tuple[str, ...], said: str) -> None:
    """And exit code 2; nothing is changed."""
    command("token", "add", "there")
    done = command("token", *arguments)
    assert done.returncode == 2
    assert said in done.stderr
    assert [each["name"] for each in command.answer("token", "list")["tokens"]] == ["there"]


@pytest.mark.parametrize("harm", ["open", "damaged", "linked", "wrong"])
async def test_a_doubtful_file_opens_nothing(
    command: Command, kept: Tracker, tmp_path: Path, harm: str, caplog: pytest.LogCaptureFixture
) -> None:
    """Open to others, damaged or a link: no named token counts, and the log says why; our own still does."""
    token = command("token", "add", "dashboard").stdout.strip()
    app = create_app(kept)
    assert await _status(app, token) == 200
    path = tmp_path / "data" / TOKENS_FILE
    if harm == "open":
        path.chmod(0o644)
    elif harm == "damaged":
        path.write_text("{")
    elif harm == "linked":
        path.rename(tmp_path / "elsewhere")
        path.symlink_to(tmp_path / "elsewhere")
    else:
        path.write_text(json.dumps({"dashboard": {"sha256": "zz", "scopes": ["all"], "where": {}}}))
    with caplog.at_level(logging.WARNING, "tokentrail"):
        assert await _status(app, token) == 401
    assert "no named token is accepted" in caplog.text
    assert await _status(app, (tmp_path / "data" / "server-token").read_text()) == 200
    done = command("token", "list")
    assert (done.returncode, "Traceback" in done.stderr) == (2, False)
