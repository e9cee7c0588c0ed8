"""The scenes of the demo: what programs do with LiteLLM and LangChain, and how each request should end."""

from __future__ import annotations

import asyncio
import gc
import importlib
from collections.abc import Callable, Mapping
from typing import Any, Final, NamedTuple

from tokentrail.demo.provider import Reply
from tokentrail.demo.stage import Stage


class Scene(NamedTuple):
    """One thing a program does."""

    title: str
    play: Callable[[Stage], None]
    ends: tuple[str, ...] = ("success",)
    """How the row of each request should end, in the order of the requests."""


def usage(prompt: int, completion: int, **parts: int) -> Mapping[str, Any]:
    """A usage in OpenAI's names; `parts` are `cached`, `written` and `reasoning` tokens."""
    inputs = {"cached_tokens": parts.get("cached", 0), "cache_creation_tokens": parts.get("written", 0)}
    return {
        "prompt_tokens": prompt,
        "completion_tokens": completion,
        "total_tokens": prompt + completion,
        "prompt_tokens_details": {name: count for name, count in inputs.items() if count},
        "completion_tokens_details": {"reasoning_tokens": parts["reasoning"]} if "reasoning" in parts else {},
    }


def _refused(error: type[Exception], call: Callable[[], Any]) -> None:
    try:
        call()
    except error:
        return
    raise AssertionError(f"the scripted {error.__name__} did not come")


# --- LiteLLM -------------------------------------------------------------------------------------


def _answer(stage: Stage) -> None:
    stage.provider.script("gpt-4o-mini", Reply(usage=usage(812, 96)))
    stage.litellm.completion(**stage.openai("gpt-4o-mini"))


def _three_at_once(stage: Stage) -> None:
    replies = [Reply(usage=usage(400 + 10 * turn, 50 + turn)) for turn in range(3)]
    stage.provider.script("gpt-4o", *replies)

    async def gather() -> None:
        await asyncio.gather(*(stage.litellm.acompletion(**stage.openai("gpt-4o")) for _ in replies))

    stage.run(gather())


def _stream(stage: Stage) -> None:
    stage.provider.script("gpt-4o-mini", Reply(usage=usage(1311, 277), usage_in="asked"))
    options = {"include_usage": True}
    for _ in stage.litellm.completion(**stage.openai("gpt-4o-mini", stream=True, stream_options=options)):
        pass


def _async_stream(stage: Stage) -> None:
    stage.provider.script("gpt-4.1-mini", Reply(usage=usage(958, 301), usage_in="finish"))

    async def read() -> None:
        async for _ in await stage.litellm.acompletion(**stage.openai("gpt-4.1-mini", stream=True)):
            pass

    stage.run(read())


def _usage_not_asked(stage: Stage) -> None:
    stage.provider.script("gpt-4o-mini", Reply(usage_in="asked"))
    for _ in stage.litellm.completion(**stage.openai("gpt-4o-mini", stream=True)):
        pass


def _abandoned(stage: Stage) -> None:
    stage.provider.script("gpt-4o-mini", Reply(stall_after=2))
    stream = stage.litellm.completion(**stage.openai("gpt-4o-mini", stream=True))
    next(stream)
    del stream
    gc.collect()


def _rate_limited(stage: Stage) -> None:
    stage.provider.script("gpt-4o", Reply(status=429, headers={"retry-after": "0"}))
    _refused(stage.litellm.RateLimitError, lambda: stage.litellm.completion(**stage.openai("gpt-4o")))


def _timeout(stage: Stage) -> None:
    stage.provider.script("gpt-4o", Reply(delay=30))
    _refused(stage.litellm.Timeout, lambda: stage.litellm.completion(**stage.openai("gpt-4o", timeout=0.25)))


def _cancelled(stage: Stage) -> None:
    stage.provider.script("gpt-4o", Reply(delay=30))

    async def give_up() -> None:
        task = asyncio.ensure_future(stage.litellm.acompletion(**stage.openai("gpt-4o")))
        await asyncio.to_thread(stage.provider.wait_for, len(stage.provider.sent) + 1)
        task.cancel()
        await asyncio.wait([task])

    stage.run(give_up())


def _retry(stage: Stage) -> None:
    again = Reply(usage=usage(640, 120))
    stage.provider.script("claude-haiku-4-5", Reply(status=500, headers={"retry-after": "0"}), again)
    stage.run(stage.litellm.acompletion(**stage.anthropic("claude-haiku-4-5", num_retries=1)))


def _embedding(stage: Stage) -> None:
    stage.provider.script("text-embedding-3-small", Reply(usage=usage(2048, 0)))
    stage.litellm.embedding(**stage.openai("text-embedding-3-small", input=["a", "b"]))


def _anthropic_stream(stage: Stage) -> None:
    stage.provider.script("claude-haiku-4-5", Reply(usage=usage(2511, 277, cached=700, written=500)))
    for _ in stage.litellm.completion(**stage.anthropic("claude-haiku-4-5", stream=True)):
        pass


def _cached_prompt(stage: Stage) -> None:
    stage.provider.script("o4-mini", Reply(usage=usage(3000, 900, cached=2048, reasoning=640)))
    stage.litellm.completion(**stage.openai("o4-mini"))


def _unknown_model(stage: Stage) -> None:
    stage.provider.script("acme-large-1", Reply(usage=usage(500, 100)))
    stage.litellm.completion(**stage.openai("acme-large-1"))


# --- LangChain -----------------------------------------------------------------------------------


def _invoke(stage: Stage) -> None:
    stage.provider.script("gpt-4o-mini", Reply(usage=usage(333, 44)))
    stage.chat_openai("gpt-4o-mini").invoke("Hello", config=stage.config)


def _chat_stream(stage: Stage) -> None:
    stage.provider.script("gpt-4o-mini", Reply(usage=usage(1200, 250), usage_in="asked"))
    for _ in stage.chat_openai("gpt-4o-mini", stream_usage=True).stream("Hello", config=stage.config):
        pass


def _batch(stage: Stage) -> None:
    replies = [Reply(usage=usage(200 + 10 * turn, 30 + turn)) for turn in range(3)]
    stage.provider.script("gpt-4.1-mini", *replies)
    stage.chat_openai("gpt-4.1-mini").batch(["one", "two", "three"], config=stage.config)


def _two_doors(stage: Stage) -> None:
    stage.provider.script("gpt-4o-mini", Reply(usage=usage(640, 80)))
    stage.chat_litellm("gpt-4o-mini").invoke("Hello", config=stage.config)


def _two_doors_stream(stage: Stage) -> None:
    stage.provider.script("gpt-4o-mini", Reply(usage=usage(750, 90), usage_in="asked"))
    for _ in stage.chat_litellm("gpt-4o-mini", streaming=True).stream("Hello", config=stage.config):
        pass


def _agent(stage: Stage) -> None:
    from langchain_core.tools import tool

    @tool
    def weather(city: str) -> str:
        """The weather in a city."""
        return f"Sunny in {city}."

    asks = Reply(usage=usage(900, 40), tool_calls=[{"name": "weather", "arguments": {"city": "Oslo"}}])
    stage.provider.script("gpt-4o", asks, Reply(usage=usage(1000, 60), text="It is sunny in Oslo."))
    made = importlib.import_module("langchain.agents").create_agent
    agent = made(stage.chat_openai("gpt-4o"), tools=[weather])
    agent.invoke({"messages": [("user", "How is the weather in Oslo?")]}, config=stage.config)


def _refused_chat(stage: Stage) -> None:
    stage.provider.script("gpt-4o", Reply(status=429, headers={"retry-after": "0"}))
    error = importlib.import_module("openai").RateLimitError
    _refused(error, lambda: stage.chat_openai("gpt-4o").invoke("Hello", config=stage.config))


SCENES: Final = (
    Scene("LiteLLM: an answer", _answer),
    Scene("LiteLLM: three at once, async", _three_at_once, ("success",) * 3),
    Scene("LiteLLM: a stream", _stream),
    Scene("LiteLLM: an async stream", _async_stream),
    Scene("LiteLLM: a stream that never says its usage", _usage_not_asked),
    Scene("LiteLLM: a stream left after one chunk", _abandoned, ("abandoned",)),
    Scene("LiteLLM: rate limited (429)", _rate_limited, ("error",)),
    Scene("LiteLLM: too slow", _timeout, ("timeout",)),
    Scene("LiteLLM: a cancelled task", _cancelled, ("cancelled",)),
    Scene("LiteLLM: a failure and its retry", _retry, ("error", "success")),
    Scene("LiteLLM: embeddings", _embedding),
    Scene("LiteLLM: an Anthropic stream, cached prompt", _anthropic_stream),
    Scene("LiteLLM: cached prompt and reasoning", _cached_prompt),
    Scene("LiteLLM: a model nobody has a price for", _unknown_model),
    Scene("LangChain: an answer", _invoke),
    Scene("LangChain: a stream", _chat_stream),
    Scene("LangChain: a batch of three", _batch, ("success",) * 3),
    Scene("LangChain over LiteLLM: one call, two doors", _two_doors),
    Scene("LangChain over LiteLLM: a stream", _two_doors_stream),
    Scene("LangChain: an agent with a tool", _agent, ("success",) * 2),
    Scene("LangChain: rate limited (429)", _refused_chat, ("error",)),
)
