"""Where a scenario plays: real LangChain, a provider that keeps the truth, and a ledger that must agree."""

from __future__ import annotations

import asyncio
import gc
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Coroutine, Iterator
from contextlib import contextmanager
from contextvars import copy_context
from dataclasses import dataclass
from typing import Any, Final, Literal, TypeAlias

from langchain_openai import ChatOpenAI

import tokentrail
from tokentrail import Tracker
from tokentrail.demo.provider import FakeProvider, Reply, Sent
from tokentrail.integrations.langchain import TokentrailCallbackHandler
from tokentrail.models import LLMCall
from tokentrail.testing import capture_calls

MODEL: Final = "gpt-4o"
HOWS: Final = ("invoke", "ainvoke", "stream", "astream")
Door = Literal["handler", "install"]
Tokens: TypeAlias = tuple[int | None, int | None]
"""Tokens in, and out."""
_DOLLARS: Final = {"gpt-4o": (2.5e-6, 10e-6), "gpt-4o-mini": (0.15e-6, 0.6e-6)}
"""What a token in, and one out, of a model costs, so that no cost on the page is taken on trust."""


@dataclass(frozen=True)
class Outcome:
    """What came of a scenario: what the provider sent, and what the ledger says."""

    sent: list[Sent]
    rows: list[LLMCall]

    @property
    def truth(self) -> list[Tokens]:
        """The counts of each request that was told any."""
        return [
            (one.counts.get("input_tokens"), one.counts.get("output_tokens"))
            for one in self.sent
            if one.counts
        ]


class Stage:
    """What a scenario is given.

    Attributes:
        config: passes the handler on; empty where `install()` has opened both doors.
    """

    def __init__(self, provider: FakeProvider, tracker: Tracker, door: Door) -> None:
        self.provider = provider
        self.tracker = tracker
        self.handler = TokentrailCallbackHandler(tracker)
        self.config: Any = {"callbacks": [self.handler]} if door == "handler" else {}
        self._runner = asyncio.Runner()
        self.script(*[Reply(usage=usage(turn)) for turn in range(24)])

    def run(self, work: Coroutine[Any, Any, Any]) -> Any:
        """Run a coroutine in the caller's context; all of them in one event loop."""
        return self._runner.run(work, context=copy_context())

    def script(self, *replies: Reply, model: str = MODEL) -> None:
        """Say what a model answers, the last reply for ever."""
        self.provider.script(model, *replies)

    def model(self, name: str = MODEL, **settings: Any) -> ChatOpenAI:
        """A chat model that asks the provider; nothing is tried again unless a scenario says so."""
        settings = {"max_retries": 0, "stream_usage": True, **settings}
        return ChatOpenAI(model=name, base_url=f"{self.provider.url}/v1", api_key="key", **settings)

    def ask(self, runnable: Any, how: str, question: Any = "hello", **config: Any) -> Any:
        """Ask one way, and read the answer to its end."""
        config = {**self.config, **config}

        async def read() -> list[Any]:
            return [chunk async for chunk in runnable.astream(question, config=config)]

        if how == "invoke":
            return runnable.invoke(question, config=config)
        if how == "stream":
            return list(runnable.stream(question, config=config))
        return self.run(runnable.ainvoke(question, config=config) if how == "ainvoke" else read())

    def fails(self, *args: Any, **config: Any) -> None:
        """`ask`, where the caller must get an exception."""
        try:
            self.ask(*args, **config)
        except Exception:
            return
        raise AssertionError("nothing was raised")

    async def cancels(self, work: Awaitable[Any], requests: int = 1, *, reading: bool = False) -> None:
        """Cancel work once so many requests have come, and a chunk of the last was read."""
        task = asyncio.ensure_future(work)
        await asyncio.to_thread(self.provider.wait_for, requests)
        if reading:
            await until(lambda: any(one["is_streaming"] for one in self.tracker.active()))
        task.cancel()
        await asyncio.wait([task])
        await asyncio.sleep(0)  # one turn of the loop, for the callbacks of a task that is done

    def outcome(self) -> Outcome:
        """What was sent and what was recorded, when nothing runs any more."""
        self._runner.close()
        deadline = time.monotonic() + 10
        while self._is_busy() and time.monotonic() < deadline:
            gc.collect()
        assert self.tracker.flush(10)
        rows = list(reversed(self.tracker.stats.calls(limit=1000).items))
        health = self.tracker.health()
        assert (health["faults"], health["lost"], health["active"]) == ({}, {}, 0)
        assert self.provider.faults == []
        return Outcome(list(self.provider.sent), rows)

    def _is_busy(self) -> bool:
        """Whether a call runs, or the provider has not noticed yet that its client has left."""
        return bool(self.tracker.active()) or not all(one.ended for one in self.provider.sent)


async def until(condition: Callable[[], object]) -> None:
    """Let the loop run until something is so."""
    async with asyncio.timeout(10):
        while not condition():
            await asyncio.sleep(0.005)


def usage(turn: int) -> dict[str, int]:
    """A usage unlike that of any other request of the scenario, and unlike any estimate."""
    given, taken = 1311 + 10 * turn, 277 + turn
    return {"prompt_tokens": given, "completion_tokens": taken, "total_tokens": given + taken}


@contextmanager
def stage(door: Door) -> Iterator[Stage]:
    """A stage with nothing on it yet."""
    with FakeProvider() as provider, capture_calls(summary_interval=0) as captured:
        if door == "install":
            tokentrail.install()
        try:
            yield Stage(provider, captured.tracker, door)
        finally:
            tokentrail.uninstall()


# --- the ledger against the truth ----------------------------------------------------------------


def kind(row: LLMCall) -> str:
    """How a row ended, and whether its tokens are known: `success sent`, `error unknown`, `success hit`."""
    if row.cache_hit:
        assert (row.cost_usd, row.cost_source) == (0.0, "free")
        return f"{row.status} hit"
    if row.input_tokens is None and row.output_tokens is None:
        assert (row.usage_source, row.total_tokens, row.cost_usd) == ("missing", None, None)
        return f"{row.status} unknown"
    assert row.usage_source == "provider"
    if row.provider == "litellm_proxy":  # what stands behind a proxy's name only the proxy knows
        assert row.cost_usd is None
        return f"{row.status} sent"
    assert row.cost_usd is not None
    given, taken = _DOLLARS[str(row.model)]
    assert abs(row.cost_usd - given * (row.input_tokens or 0) - taken * (row.output_tokens or 0)) < 1e-9
    return f"{row.status} sent"


def unaccounted(outcome: Outcome) -> list[Tokens]:
    """Usage that was sent and is in no row; a row that says anything else than what was sent is an error."""
    left = list(outcome.truth)
    for row in outcome.rows:
        if kind(row).endswith("sent"):
            left.remove((row.input_tokens, row.output_tokens))
    return left


def ends(outcome: Outcome) -> Counter[str]:
    """How often rows ended in each way."""
    return Counter(map(kind, outcome.rows))
