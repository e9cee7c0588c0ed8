"""Scenarios: callers that walk away, and providers that do."""

from __future__ import annotations

import asyncio
import gc
from contextlib import suppress
from typing import Any

from langchain_core.messages import HumanMessage
from langchain_core.runnables import RunnableLambda
from langchain_openai import ChatOpenAI

from langchain_scenarios.scenario import scenario
from langchain_scenarios.stage import HOWS, Stage, until, usage
from tokentrail.demo.provider import Reply

INVOKES, STREAMS = ("invoke", "ainvoke"), ("stream", "astream")
HALF = Reply(usage_in="every", chunks=6, stall_after=3)
"""Three chunks with a running usage, and then silence: what was read is what was sent."""


def read_three(stage: Stage, runnable: Any, leave: str = "drop") -> None:
    """Read what comes, three chunks, and walk away."""
    stream = runnable.stream("hello", config=stage.config)
    for _ in range(3):
        next(stream)
    if leave == "close":
        stream.close()


async def aread_three(stage: Stage, runnable: Any, leave: str = "drop") -> None:
    stream = runnable.astream("hello", config=stage.config)
    for _ in range(3):
        await anext(stream)
    if leave == "close":
        await stream.aclose()
    del stream
    gc.collect()
    await asyncio.sleep(0)


# --- the caller ----------------------------------------------------------------------------------


@scenario("a stream dropped after three chunks", 28, ends="abandoned sent", hows=STREAMS)
def dropped(stage: Stage, how: str) -> None:
    stage.script(HALF)
    if how == "stream":
        read_three(stage, stage.model())
    else:
        stage.run(aread_three(stage, stage.model()))


@scenario("a stream closed after three chunks", 28, ends="abandoned sent", hows=STREAMS)
def closed(stage: Stage, how: str) -> None:
    stage.script(HALF)
    if how == "stream":
        read_three(stage, stage.model(), "close")
    else:
        stage.run(aread_three(stage, stage.model(), "close"))


@scenario(
    "a stream dropped before its usage came",
    28,
    ends="abandoned unknown",
    hows=STREAMS,
)
def dropped_early(stage: Stage, how: str) -> None:
    stage.script(Reply(chunks=6, stall_after=3))
    if how == "stream":
        read_three(stage, stage.model())
    else:
        stage.run(aread_three(stage, stage.model()))


@scenario("a chain's stream closed early, which LangChain reads to its end", 29)
def chain_closed(stage: Stage, how: str) -> None:
    chain = stage.model() | RunnableLambda(lambda message: message)
    stream = chain.stream("hello", config=stage.config)
    next(stream)
    stream.close()


@scenario(
    "`stream_events` version 3, given up",
    34,
    ends="abandoned unknown",
    needs=hasattr(ChatOpenAI, "stream_events"),
)
def events_dropped(stage: Stage, how: str) -> None:
    stage.script(Reply(chunks=6, stall_after=3))
    next(iter(stage.model().stream_events("hello", config=stage.config, version="v3")))


@scenario("a cancelled task", 31, 32, ends="cancelled unknown", hows=("ainvoke", "astream"))
def cancelled(stage: Stage, how: str) -> None:
    stage.script(Reply(stall_after=1))

    async def main() -> None:
        if how == "ainvoke":
            await stage.cancels(stage.model().ainvoke("hello", config=stage.config))
        else:
            await stage.cancels(read(stage, stage.model()), reading=True)

    stage.run(main())


async def read(stage: Stage, runnable: Any) -> None:
    async for _ in runnable.astream("hello", config=stage.config):
        pass


@scenario("a cancelled task whose stream has told its usage so far", 31, ends="cancelled sent")
def cancelled_late(stage: Stage, how: str) -> None:
    stage.script(HALF)

    async def main() -> None:
        work = read(stage, stage.model())
        task = asyncio.ensure_future(work)
        await asyncio.to_thread(stage.provider.wait_for, 1, chunks=3)
        (running,) = stage.tracker.active()
        while running["output_tokens"] != stage.provider.sent[0].counts["output_tokens"]:  # type: ignore[index]
            await asyncio.sleep(0.005)
            (running,) = stage.tracker.active()
        await stage.cancels(task)

    stage.run(main())


@scenario("a cancelled `ainvoke` of a model that streams", 32, ends="cancelled unknown")
def cancelled_streaming(stage: Stage, how: str) -> None:
    stage.script(Reply(stall_after=1))
    work = stage.model(streaming=True).ainvoke("hello", config=stage.config)
    stage.run(stage.cancels(work, reading=True))


@scenario("a cancelled `abatch` of three", 32, ends="cancelled unknown, cancelled unknown, cancelled unknown")
def cancelled_batch(stage: Stage, how: str) -> None:
    stage.script(Reply(stall_after=0))
    stage.run(stage.cancels(stage.model().abatch(["a", "b", "c"], config=stage.config), 3))


@scenario("`wait_for` that gives up", 32, ends="cancelled unknown", hows=("ainvoke", "astream"))
def waited_for(stage: Stage, how: str) -> None:
    stage.script(Reply(stall_after=0))

    async def main() -> None:
        model = stage.model()
        work = model.ainvoke("hello", config=stage.config) if how == "ainvoke" else read(stage, model)
        with suppress(TimeoutError):
            await asyncio.wait_for(work, 0.3)

    stage.run(main())


@scenario("`asyncio.timeout` that gives up", 32, ends="cancelled unknown", hows=("ainvoke", "astream"))
def out_of_time(stage: Stage, how: str) -> None:
    stage.script(Reply(stall_after=0))

    async def main() -> None:
        model = stage.model()
        with suppress(TimeoutError):
            async with asyncio.timeout(0.3):
                await (
                    model.ainvoke("hello", config=stage.config) if how == "ainvoke" else read(stage, model)
                )
        await until(lambda: not stage.tracker.active())

    stage.run(main())


@scenario("a sibling that fails, in a task group", 32, ends="cancelled unknown")
def task_group(stage: Stage, how: str) -> None:
    stage.script(Reply(stall_after=0))

    async def fail() -> None:
        await asyncio.to_thread(stage.provider.wait_for, 1)
        raise ZeroDivisionError

    async def main() -> None:
        with suppress(ExceptionGroup):
            async with asyncio.TaskGroup() as group:
                group.create_task(stage.model().ainvoke("hello", config=stage.config))
                group.create_task(fail())

    stage.run(main())


@scenario(
    "`generate` of three, the second refused: the third is never sent",
    33,
    ends="success unknown, error unknown, cancelled unknown",
    limit="LangChain throws away what `generate` had before an input that fails; only its callers' order "
    "tells that it was answered.",
)
def generate_bad(stage: Stage, how: str) -> None:
    stage.script(Reply(usage=usage(0)), Reply(status=400), Reply())
    with suppress(Exception):
        stage.model().generate([[HumanMessage(text)] for text in "abc"], **stage.config)


@scenario("`agenerate` of three, one refused", 33, ends="success sent, error unknown, success sent")
def agenerate_bad(stage: Stage, how: str) -> None:
    stage.script(Reply(usage=usage(0)), Reply(status=400), Reply(usage=usage(2)))
    with suppress(Exception):
        stage.run(stage.model().agenerate([[HumanMessage(text)] for text in "abc"], **stage.config))


# --- the provider --------------------------------------------------------------------------------


@scenario("refused (429)", 35, ends="error unknown", hows=HOWS)
def refused(stage: Stage, how: str) -> None:
    stage.script(Reply(status=429))
    stage.fails(stage.model(), how)


@scenario("an answer that is no JSON", 35, ends="error unknown", hows=HOWS)
def html(stage: Stage, how: str) -> None:
    stage.script(Reply(status=502, body="<html>bad gateway</html>"))
    stage.fails(stage.model(), how)


@scenario("silence, until the client has waited long enough", 35, ends="timeout unknown", hows=HOWS)
def timed_out(stage: Stage, how: str) -> None:
    stage.script(Reply(stall_after=0))
    stage.fails(stage.model(timeout=0.2), how)


@scenario("a stream cut off after its usage so far was told", 35, ends="error sent", hows=STREAMS)
def cut(stage: Stage, how: str) -> None:
    stage.script(Reply(usage_in="every", chunks=6, cut_after=3))
    stage.fails(stage.model(), how)


@scenario("an error inside a stream", 35, ends="error sent", hows=STREAMS)
def error_event(stage: Stage, how: str) -> None:
    stage.script(Reply(usage_in="every", chunks=6, error_after=3))
    stage.fails(stage.model(), how)
