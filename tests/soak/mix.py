"""The calls of a soak: who asks, how, and what becomes of it; and what the ledger must say of it."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable, Iterator
from concurrent.futures import Executor
from contextlib import suppress
from dataclasses import dataclass
from functools import cache, partial
from typing import Any, Final, NamedTuple

import litellm
from langchain_litellm import ChatLiteLLM
from langchain_openai import ChatOpenAI

from litellm_rig import HI
from tokentrail.demo.provider import FakeProvider, Reply, Sent

ASKERS: Final = ("langchain", "both", "litellm")
"""LangChain's own model, LangChain over LiteLLM (seen by both doors), LiteLLM."""
HOWS: Final = ("invoke", "stream", "ainvoke", "astream")


class Fate(NamedTuple):
    """What becomes of a call: the statuses of its requests, how often it is met, the ways it can be asked."""

    statuses: frozenset[str]
    weight: int
    hows: tuple[str, ...] = HOWS


FATES: Final = {
    "answered": Fate(frozenset(("success",)), 12),
    "running": Fate(frozenset(("success",)), 4, ("stream", "astream")),
    "refused": Fate(frozenset(("error",)), 3),
    "retried": Fate(frozenset(("success",)), 2, ("invoke", "ainvoke")),
    "cut": Fate(frozenset(("error",)), 2, ("stream", "astream")),
    "dropped": Fate(frozenset(("abandoned", "cancelled")), 3, ("stream", "astream")),
    "cancelled": Fate(frozenset(("cancelled",)), 3, ("ainvoke", "astream")),
}
"""By the beginning of the model's name, which is how the provider knows what to do."""
_USAGE: Final = {
    "prompt_tokens": 10_007,
    "completion_tokens": 1_009,
    "total_tokens": 11_016,
    "prompt_tokens_details": {"cached_tokens": 4_001},
    "completion_tokens_details": {"reasoning_tokens": 401},
}
_REPLIES: Final = {
    "answered": (Reply(usage=_USAGE),),
    "running": (Reply(usage=_USAGE, usage_in="every", chunks=6),),
    "refused": (Reply(status=429),),
    # What was sent is what was read: after two chunks nothing more comes.
    "cut": (Reply(usage=_USAGE, usage_in="every", chunks=6, cut_after=2),),
    "dropped": (Reply(usage=_USAGE, usage_in="every", chunks=6, stall_after=2),),
}


def expected(sent: Sent) -> frozenset[str]:
    """The statuses that the row of a request may have."""
    return FATES["refused" if sent.status != 200 else sent.model.partition("-")[0]].statuses


@dataclass(frozen=True)
class Job:
    """One call."""

    asker: str
    how: str
    fate: str


def jobs(count: int, seed: int) -> Iterator[Job]:
    """So many calls of every kind, in an order that the seed decides."""
    kinds = [
        (Job(asker, how, name), fate.weight)
        for name, fate in FATES.items()
        for asker in ASKERS
        for how in fate.hows
    ]
    chosen = [job for job, _ in kinds]  # each at least once
    chosen += random.Random(seed).choices(
        chosen, [weight for _, weight in kinds], k=max(0, count - len(kinds))
    )
    random.Random(seed).shuffle(chosen)
    yield from chosen[:count]


class Crowd:
    """Makes the calls of a soak, so many at once."""

    def __init__(self, provider: FakeProvider, threads: Executor, at_once: int) -> None:
        self._provider = provider
        self._threads = threads
        self._at_once = at_once
        for name, replies in _REPLIES.items():
            provider.script(name, *replies)
        for slot in range(at_once):
            provider.script(f"cancelled-{slot}", Reply(stall_after=0))
        self._model = cache(self._new_model)

    async def work(self, jobs: Iterator[Job]) -> None:
        """Make all of these calls."""
        self._provider.script("retried", *[Reply(status=500), Reply(usage=_USAGE)] * 5_000)

        async def one_after_the_other(slot: int) -> None:
            for job in jobs:
                await self._make(job, slot)

        async with asyncio.TaskGroup() as group:
            for slot in range(self._at_once):
                group.create_task(one_after_the_other(slot))

    async def _make(self, job: Job, slot: int) -> None:
        ask = self._asks(job, f"cancelled-{slot}" if job.fate == "cancelled" else job.fate)
        if job.fate == "cancelled":
            await self._cancel(ask, f"cancelled-{slot}")
            return
        with suppress(Exception):  # those that must fail do; the ledger is what is looked at
            if job.how.startswith("a"):
                await ask()
            else:
                await asyncio.get_running_loop().run_in_executor(self._threads, ask)

    async def _cancel(self, ask: Callable[[], Awaitable[Any]], model: str) -> None:
        """Cancel a call once its request has come; before, there is nothing that could be a row."""
        task = asyncio.ensure_future(ask())
        while not any(one.model == model and not one.ended for one in self._provider.sent[-500:]):
            await asyncio.sleep(0.002)
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task

    # --- who asks, and how -----------------------------------------------------------------------

    def _new_model(self, asker: str, model: str) -> Any:
        base = f"{self._provider.url}/v1"
        if asker == "langchain":
            made: Any = ChatOpenAI(
                model=model, base_url=base, api_key="key", max_retries=0, stream_usage=True
            )
        else:
            made = ChatLiteLLM(
                model=f"openai/{model}", api_base=base, api_key="key",
                model_kwargs={"max_retries": 0}, stream_options={"include_usage": True},
            )  # fmt: skip
        if model == "retried":
            made = made.with_retry(
                stop_after_attempt=50, exponential_jitter_params={"initial": 0, "max": 0, "jitter": 0}
            )
        return made

    def _asks(self, job: Job, model: str) -> Callable[[], Any]:
        stops = 2 if job.fate == "dropped" else None
        if job.asker == "litellm":
            return partial(self._litellm, job, model, stops)
        runnable = self._model(job.asker, model)
        if job.how in ("invoke", "ainvoke"):
            return partial(getattr(runnable, job.how), "hello")
        read = _read if job.how == "stream" else _aread
        return lambda: read(getattr(runnable, job.how)("hello"), stops)

    def _litellm(self, job: Job, model: str, stops: int | None) -> Any:
        settings: dict[str, Any] = {
            "model": f"openai/{model}", "messages": HI, "api_base": f"{self._provider.url}/v1",
            "api_key": "key", "max_retries": 0,
        }  # fmt: skip
        if job.fate == "retried":
            # With OpenAI, LiteLLM leaves its retries to the SDK, where nobody sees them.
            settings.update(model=f"anthropic/{model}", api_base=self._provider.url, num_retries=50)
        if job.how in ("stream", "astream"):
            settings.update(stream=True, stream_options={"include_usage": True})
        if job.how == "invoke":
            return litellm.completion(**settings)
        if job.how == "stream":
            return _read(litellm.completion(**settings), stops)
        return self._alitellm(job, settings, stops)

    @staticmethod
    async def _alitellm(job: Job, settings: dict[str, Any], stops: int | None) -> Any:
        answer: Any = await litellm.acompletion(**settings)
        if job.how == "astream":
            await _aread(answer, stops)


def _read(stream: Any, stops: int | None) -> None:
    """Read a stream to its end, or so many chunks of it, and drop it."""
    for number, _ in enumerate(stream, 1):
        if number == stops:
            return


async def _aread(stream: Any, stops: int | None) -> None:
    number = 0
    async for _ in stream:
        number += 1
        if number == stops:
            return
