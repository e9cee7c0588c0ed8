"""The examples run as a user would run them, with the loopback provider as their OpenAI."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tokentrail.demo.provider import FakeProvider, Reply
from tokentrail.demo.scenes import usage

EXAMPLES = Path(__file__).parent.parent / "examples"
SAID = {
    "fastapi_app": ["alice: 2 calls, 3000 tokens", "bob: 1 calls, 1500 tokens"],
    "langchain_quickstart": ["gpt-4o-mini 1200 300"],
    "litellm_quickstart": ["gpt-4o-mini: 2 calls, 3000 tokens"],
    "own_door": [
        "own_door: gpt-4o-mini, 1500 tokens, success, stop",
        "own_door: gpt-4o-mini, 1500 tokens, success, None",
    ],
    "query_with_select": ["long prompts: [('alice', 1200,", "alice 2450", "bob 4090"],
}
"""What each example should print, in part."""


def test_every_example_is_here() -> None:
    """No example is left out of this test."""
    assert {file.stem for file in EXAMPLES.glob("*.py")} == SAID.keys()


@pytest.mark.parametrize("name", sorted(SAID))
def test_an_example_runs(name: str, tmp_path: Path) -> None:
    """The example ends well, quietly, and says what it used."""
    with FakeProvider() as provider:
        provider.script("gpt-4o-mini", Reply(text="Hello!", usage=usage(1200, 300), usage_in="asked"))
        environment = {
            **os.environ,
            "OPENAI_API_KEY": "not-a-key",
            "OPENAI_API_BASE": provider.url + "/v1",
            "OPENAI_BASE_URL": provider.url + "/v1",
        }
        done = subprocess.run(
            [sys.executable, EXAMPLES / f"{name}.py"],
            capture_output=True,
            text=True,
            timeout=120,
            cwd=tmp_path,
            env=environment,
            check=False,
        )
    assert done.returncode == 0, done.stderr
    for text in SAID[name]:
        assert text in done.stdout
    assert "Traceback" not in done.stderr
