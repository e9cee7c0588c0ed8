"""What the tests of LiteLLM's door share: the real library, a provider that keeps the truth, and a ledger."""

from __future__ import annotations

import asyncio
import gc
import importlib.util
import time
from collections.abc import Iterator
from typing import Any

import litellm
import pytest

from tokentrail._tracker import Tracker
from tokentrail.demo.provider import FakeProvider, Sent
from tokentrail.integrations.litellm import TokentrailLogger, disarm

# The OpenAI SDK looks into `httpx2` while a thread of LiteLLM's is still importing it, and fails.
if importlib.util.find_spec("httpx2") is not None:
    importlib.import_module("httpx2")

litellm.suppress_debug_info = True
litellm.telemetry = False

HI = [{"role": "user", "content": "say hello"}]
CLAUDE = "anthropic/claude-haiku-4-5"
CACHED = {
    "prompt_tokens": 10_000,
    "completion_tokens": 1_000,
    "total_tokens": 11_000,
    "prompt_tokens_details": {"cached_tokens": 4_000},
    "completion_tokens_details": {"reasoning_tokens": 400},
}
CLAUDE_USAGE = {
    "input_tokens": 1_311,
    "cache_creation_input_tokens": 500,
    "cache_read_input_tokens": 700,
    "output_tokens": 277,
}

QUIET = [
    # What LiteLLM and the libraries below it leave behind; none of it is ours.
    pytest.mark.filterwarnings("ignore::UserWarning:pydantic"),
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
    pytest.mark.filterwarnings("ignore:coroutine .* was never awaited:RuntimeWarning"),
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
    pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning"),
]


class Rig:
    """A tracker behind LiteLLM's door, and a provider before it."""

    def __init__(self, provider: FakeProvider, mode: Any = None, **settings: Any) -> None:
        self.provider = provider
        self.tracker = Tracker("memory://", summary_interval=0, **settings)
        self.logger = TokentrailLogger(self.tracker, mode=mode)
        litellm.callbacks = [self.logger]

    @property
    def openai(self) -> dict[str, Any]:
        """How to reach the provider as OpenAI; the SDK's own retries, which nobody sees, are off."""
        return {"api_base": f"{self.provider.url}/v1", "api_key": "sk-secret-canary", "max_retries": 0}

    @property
    def anthropic(self) -> dict[str, Any]:
        """How to reach it as Anthropic."""
        return {"api_base": self.provider.url, "api_key": "sk-ant-secret-canary", "max_retries": 0}

    def rows(self, count: int = 1, timeout: float = 5.0) -> list[Any]:
        """The rows, oldest first, once there are `count` and nothing runs any more."""
        deadline = time.monotonic() + timeout
        while not self._settled(count) and time.monotonic() < deadline:
            gc.collect()
            time.sleep(0.01)
        return self._read(count)

    async def arows(self, count: int = 1, timeout: float = 5.0) -> list[Any]:
        """`rows` that lets the event loop run on."""
        deadline = time.monotonic() + timeout
        while not self._settled(count) and time.monotonic() < deadline:
            gc.collect()
            await asyncio.sleep(0.01)
        return self._read(count)

    def row(self) -> Any:
        """The one row there is."""
        return self.rows()[0]

    async def arow(self) -> Any:
        """The one row there is."""
        return (await self.arows())[0]

    def _settled(self, count: int) -> bool:
        health = self.tracker.health()
        return bool(health["ended"] >= count and not health["active"])

    def _read(self, count: int) -> list[Any]:
        assert self.tracker.flush(10)
        rows = list(reversed(self.tracker.stats.calls(limit=1000).items))
        assert self.tracker.active() == [], f"still running beside {[row.status for row in rows]}"
        assert len(rows) == count, [(row.status, row.model, row.call_type) for row in rows]
        return rows

    def close(self) -> None:
        """Take the door out and look for faults of ours."""
        deadline = time.monotonic() + 5
        while disarm() and time.monotonic() < deadline:  # a thread of LiteLLM's may still hold a stream
            gc.collect()
            time.sleep(0.01)
        assert disarm() == 0
        litellm.logging_callback_manager._reset_all_callbacks()  # other callbacks that a test has used
        self.provider.release()
        self.tracker.close(5)
        assert self.tracker.health()["faults"] == {}
        assert self.provider.faults == []


def agrees(row: Any, sent: Sent) -> None:
    """Check that a row says what was really sent, and that its price is there."""
    assert sent.counts, "nothing was sent to compare with"
    assert {name: getattr(row, name) for name in sent.counts} == sent.counts
    assert row.usage_source == "provider"


@pytest.fixture
def provider() -> Iterator[FakeProvider]:
    """A provider of this test alone."""
    with FakeProvider() as one:
        yield one


@pytest.fixture
def rig(provider: FakeProvider) -> Iterator[Rig]:
    """The door as users have it."""
    one = Rig(provider)
    assert one.logger.mode == "inline"
    yield one
    one.close()
