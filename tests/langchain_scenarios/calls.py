"""Scenarios: a model asked in every shape that LangChain has."""

from __future__ import annotations

import threading
from typing import Any

from langchain_core.caches import InMemoryCache
from langchain_core.messages import HumanMessage
from langchain_core.rate_limiters import InMemoryRateLimiter
from langchain_core.runnables import RunnableLambda, RunnableParallel
from langchain_openai import ChatOpenAI, OpenAI
from pydantic import BaseModel

from langchain_scenarios.scenario import scenario
from langchain_scenarios.stage import HOWS, Stage, usage
from tokentrail.demo.provider import MISSING, Reply

INVOKES, STREAMS = ("invoke", "ainvoke"), ("stream", "astream")


class Person(BaseModel):
    name: str


# --- one model, asked once -----------------------------------------------------------------------


@scenario("a chat model", 1, 2, hows=HOWS)
def chat(stage: Stage, how: str) -> None:
    stage.ask(stage.model(), how)


@scenario("a chat model that is told to stream, asked whole", 3, hows=INVOKES)
def streaming(stage: Stage, how: str) -> None:
    stage.ask(stage.model(streaming=True), how)


@scenario(
    "`astream_events`, around a model and around a chain that asks it whole",
    3,
    ends="success sent, success sent",
)
def astream_events(stage: Stage, how: str) -> None:
    async def read(runnable: Any) -> None:
        async for _ in runnable.astream_events("hello", config=stage.config, version="v2"):
            pass

    stage.run(read(stage.model()))
    stage.run(read(RunnableLambda(lambda text: stage.model().invoke(text))))


@scenario("`stream_events` version 3", 4, hows=("sync", "async"), needs=hasattr(ChatOpenAI, "stream_events"))
def stream_events(stage: Stage, how: str) -> None:
    async def read() -> None:
        async for _ in await stage.model().astream_events("hello", config=stage.config, version="v3"):
            pass

    if how == "sync":
        list(stage.model().stream_events("hello", config=stage.config, version="v3"))
    else:
        stage.run(read())


@scenario("a completion model", 1, 2, hows=INVOKES)
def completion(stage: Stage, how: str) -> None:
    stage.ask(completion_model(stage), how)


@scenario(
    "a completion model's stream",
    2,
    ends="success unknown",
    hows=STREAMS,
    limit="`OpenAI`, the completion model, drops the usage chunk of its streams.",
)
def completion_stream(stage: Stage, how: str) -> None:
    stage.ask(completion_model(stage, model_kwargs={"stream_options": {"include_usage": True}}), how)


def completion_model(stage: Stage, **settings: Any) -> OpenAI:
    settings = {"max_retries": 0, "api_key": "key", **settings}
    return OpenAI(model="gpt-4o", base_url=f"{stage.provider.url}/v1", **settings)


@scenario("a stream that is made and never read", 13, ends="", hows=STREAMS)
def never_read(stage: Stage, how: str) -> None:
    async def make() -> None:
        stage.model().astream("hello", config=stage.config)

    if how == "stream":
        stage.model().stream("hello", config=stage.config)
    else:
        stage.run(make())


@scenario("two choices (`n=2`)", 25, hows=HOWS)
def two_choices(stage: Stage, how: str) -> None:
    stage.script(Reply(n=2))
    stage.ask(stage.model(n=2), how)


@scenario("a model that waits for its rate limiter", 17, hows=HOWS)
def rate_limiter(stage: Stage, how: str) -> None:
    limiter = InMemoryRateLimiter(requests_per_second=20, check_every_n_seconds=0.01)
    stage.ask(stage.model(rate_limiter=limiter), how)


# --- usage, where it comes and whether ------------------------------------------------------------


@scenario("running usage in every chunk", 19, hows=STREAMS)
def every_chunk(stage: Stage, how: str) -> None:
    stage.script(Reply(usage_in="every", chunks=6))
    stage.ask(stage.model(), how)


@scenario("usage on the finish chunk and once more at the end", 20, hows=STREAMS)
def twice(stage: Stage, how: str) -> None:
    stage.script(Reply(usage_in="twice"))
    stage.ask(stage.model(), how)


@scenario("usage that nobody asked for, and so nobody sent", 21, ends="success unknown", hows=STREAMS)
def not_asked(stage: Stage, how: str) -> None:
    stage.script(Reply(usage_in="asked"))
    stage.ask(stage.model(stream_usage=None), how)


@scenario("a provider that reports nothing", 23, ends="success unknown", hows=HOWS)
def no_usage(stage: Stage, how: str) -> None:
    stage.script(Reply(usage=MISSING))
    stage.ask(stage.model(), how)


@scenario("usage without its total", 22, hows=HOWS)
def no_total(stage: Stage, how: str) -> None:
    stage.script(Reply(usage={"prompt_tokens": 120, "completion_tokens": 37}))
    stage.ask(stage.model(), how)


@scenario("counts that are null", 23, ends="success unknown", hows=HOWS)
def nulls(stage: Stage, how: str) -> None:
    stage.script(Reply(usage={"prompt_tokens": None, "completion_tokens": None, "total_tokens": None}))
    stage.ask(stage.model(), how)


@scenario("a usage that is no object", 24, ends="error unknown", hows=HOWS)
def odd_usage(stage: Stage, how: str) -> None:
    body = {
        "id": "x", "object": "chat.completion", "created": 1, "model": "gpt-4o", "usage": [1, 2],
        "choices": [{"index": 0, "finish_reason": "stop", "message": {"role": "assistant", "content": "hi"}}],
    }  # fmt: skip
    stage.script(Reply(body=body))
    stage.fails(stage.model(), how)


# --- many at once --------------------------------------------------------------------------------


@scenario(
    "`batch` and `abatch` of three",
    5,
    ends="success sent, success sent, success sent",
    hows=("sync", "async"),
)
def batch(stage: Stage, how: str) -> None:
    if how == "sync":
        stage.model().batch(["a", "b", "c"], config=stage.config)
    else:
        stage.run(stage.model().abatch(["a", "b", "c"], config=stage.config))


@scenario(
    "`batch_as_completed` of three",
    5,
    ends="success sent, success sent, success sent",
    hows=("sync", "async"),
)
def as_completed(stage: Stage, how: str) -> None:
    async def read() -> None:
        async for _ in stage.model().abatch_as_completed(["a", "b", "c"], config=stage.config):
            pass

    if how == "sync":
        list(stage.model().batch_as_completed(["a", "b", "c"], config=stage.config))
    else:
        stage.run(read())


@scenario("`generate` of three", 6, ends="success sent, success sent, success sent", hows=("sync", "async"))
def generate(stage: Stage, how: str) -> None:
    prompts: Any = [[HumanMessage(text)] for text in "abc"]
    if how == "sync":
        stage.model().generate(prompts, **stage.config)
    else:
        stage.run(stage.model().agenerate(prompts, **stage.config))


@scenario(
    "a completion model's `batch` of three, which is one request",
    7,
    ends="success sent, success unknown, success unknown",
    hows=("sync", "async"),
    limit="One request for several prompts has one usage: it is with the first row, the others say so.",
)
def completion_batch(stage: Stage, how: str) -> None:
    stage.script(Reply(n=3))
    if how == "sync":
        completion_model(stage).batch(["a", "b", "c"], config=stage.config)
    else:
        stage.run(completion_model(stage).abatch(["a", "b", "c"], config=stage.config))


@scenario("parallel branches, and a call inside a function", 41, ends="success sent, success sent", hows=HOWS)
def branches(stage: Stage, how: str) -> None:
    model = stage.model()
    stage.ask(RunnableParallel(a=model, b=RunnableLambda(lambda text: model.invoke(text))), how)


# --- answers that are worked on -------------------------------------------------------------------


@scenario("structured output", 8, hows=HOWS)
def structured(stage: Stage, how: str) -> None:
    stage.script(Reply(text='{"name": "Ada"}'))
    stage.ask(stage.model().with_structured_output(Person, method="json_schema"), how)


@scenario("structured output that comes as a tool call and does not fit", 8, 26, hows=INVOKES)
def structured_misfit(stage: Stage, how: str) -> None:
    stage.script(Reply(tool_calls=[{"name": "Person", "arguments": {"nome": "Ada"}}]))
    stage.fails(stage.model().with_structured_output(Person, method="function_calling"), how)


@scenario("structured output that fails after it was paid for", 26, ends="error sent", hows=INVOKES)
def structured_cut(stage: Stage, how: str) -> None:
    stage.script(Reply(text='{"name": "cut of', finish_reason="length"))
    stage.fails(stage.model().with_structured_output(Person, method="json_schema"), how)


@scenario(
    "the same in a stream",
    26,
    ends="error unknown",
    hows=STREAMS,
    limit="The OpenAI SDK raises at the finish reason, before it reads the usage chunk that follows.",
)
def structured_cut_stream(stage: Stage, how: str) -> None:
    stage.script(Reply(text='{"name": "cut of', finish_reason="length"))
    stage.fails(stage.model().with_structured_output(Person, method="json_schema"), how)


# --- attempts ------------------------------------------------------------------------------------


@scenario(
    "`with_retry`: two failures, then an answer",
    9,
    ends="error unknown, error unknown, success sent",
    hows=INVOKES,
)
def with_retry(stage: Stage, how: str) -> None:
    stage.script(Reply(status=500), Reply(status=500), Reply(usage=usage(2)))
    model = stage.model().with_retry(stop_after_attempt=3, wait_exponential_jitter=False)
    stage.ask(model, how)


@scenario(
    "`with_retry` around a stream, which LangChain does not try again", 9, ends="error unknown", hows=STREAMS
)
def with_retry_stream(stage: Stage, how: str) -> None:
    stage.script(Reply(status=500), Reply())
    stage.fails(stage.model().with_retry(wait_exponential_jitter=False), how)


@scenario("`with_fallbacks`: the first model fails", 10, ends="error unknown, success sent", hows=HOWS)
def with_fallbacks(stage: Stage, how: str) -> None:
    stage.script(Reply(status=500), model="gpt-4o-mini")
    stage.ask(stage.model("gpt-4o-mini").with_fallbacks([stage.model()]), how)


@scenario("`with_fallbacks` around a stream that breaks off midway", 10, ends="error unknown", hows=STREAMS)
def with_fallbacks_midway(stage: Stage, how: str) -> None:
    stage.script(Reply(cut_after=2), model="gpt-4o-mini")
    stage.fails(stage.model("gpt-4o-mini").with_fallbacks([stage.model()]), how)


@scenario(
    "an SDK that tries again by itself",
    11,
    hows=HOWS,
    limit="Retries of a provider's SDK (`max_retries`) reach no callback: the last attempt is the row. "
    "`max_retries=0` with `with_retry` makes each attempt a row.",
)
def sdk_retries(stage: Stage, how: str) -> None:
    stage.script(Reply(status=500, headers={"retry-after-ms": "1"}), Reply(usage=usage(1)))
    stage.ask(stage.model(max_retries=2), how)


# --- caches --------------------------------------------------------------------------------------


@scenario(
    "the same question twice, with a response cache", 14, ends="success sent, success hit", hows=INVOKES
)
def cached(stage: Stage, how: str) -> None:
    model = stage.model(cache=InMemoryCache())
    stage.ask(model, how)
    stage.ask(model, how)


@scenario(
    "`generate` of three that were asked before but one, with a response cache",
    14,
    ends="success sent, success sent, success hit, success hit, success sent",
    hows=("generate", "agenerate"),
)
def cached_batch(stage: Stage, how: str) -> None:
    model = stage.model(cache=InMemoryCache())

    def ask(texts: str) -> None:
        work = getattr(model, how)([[HumanMessage(text)] for text in texts], **stage.config)
        if how == "agenerate":
            stage.run(work)

    ask("ab")
    ask("acb")


@scenario(
    "a stream, which LangChain's cache does not know", 14, ends="success sent, success sent", hows=STREAMS
)
def cached_stream(stage: Stage, how: str) -> None:
    model = stage.model(cache=InMemoryCache())
    stage.ask(model, how)
    stage.ask(model, how)


@scenario("a cached answer of a completion model: neither a request nor a row", 15, hows=INVOKES)
def cached_completion(stage: Stage, how: str) -> None:
    model = completion_model(stage, cache=InMemoryCache())
    stage.ask(model, how)
    stage.ask(model, how)


# --- threads -------------------------------------------------------------------------------------


@scenario(
    "a plain thread inside a chain, with the handler in the chain's config",
    41,
    ends="",
    limit="LangChain's config does not reach threads that it has not started. `tokentrail.install()` does.",
)
def lost_thread(stage: Stage, how: str) -> None:
    stage.ask(RunnableLambda(lambda text: in_thread(stage.model().invoke, text)), "invoke")


@scenario("the same after `install()`", 41, door="install")
def found_thread(stage: Stage, how: str) -> None:
    stage.ask(RunnableLambda(lambda text: in_thread(stage.model().invoke, text)), "invoke")


def in_thread(function: Any, text: str) -> str:
    thread = threading.Thread(target=function, args=(text,))
    thread.start()
    thread.join()
    return text
