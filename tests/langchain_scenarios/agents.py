"""Scenarios: agents, graphs, and what lies inside them."""

from __future__ import annotations

import asyncio
import gc
from contextlib import suppress
from inspect import signature
from pathlib import Path
from typing import Any, Final

from langchain.agents import create_agent, factory, middleware
from langchain_core.tools import tool
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.func import entrypoint, task
from langgraph.graph import START, MessagesState, StateGraph
from langgraph.types import Command, RetryPolicy, Send, interrupt

from langchain_scenarios.scenario import scenario
from langchain_scenarios.stage import HOWS, Stage, usage
from tokentrail.demo.provider import Reply

BOB: Final = "bob" if "lc_agent_name" in Path(str(factory.__file__)).read_text(encoding="utf-8") else None
"""The agent's name as its calls carry it; the first LangChain 1.x do not tell it."""
SUMMARIES: Final = "trigger" in signature(middleware.SummarizationMiddleware.__init__).parameters
"""Whether this LangChain has the middleware in its present form."""
CALL = [{"name": "look", "arguments": {"at": "it"}}]
QUESTION: Any = {"messages": "hello"}
THREAD: Any = {"configurable": {"thread_id": "t1"}}


@tool
def look(at: str) -> str:
    """Look at something."""
    return f"nothing at {at}"


def agent(stage: Stage, *last: Reply, **more: Any) -> Any:
    """An agent that uses its tool once, and then answers."""
    stage.script(Reply(tool_calls=CALL, usage=usage(0)), *(last or (Reply(usage=usage(1)),)))
    return create_agent(stage.model(), tools=[look], name="bob", **more)


def graph(node: Any, **settings: Any) -> Any:
    """A graph with one node."""
    built: Any = StateGraph(MessagesState)
    built.add_node("ask", node, **settings)
    built.add_edge(START, "ask")
    return built


@scenario("an agent that uses a tool", 43, 44, ends="success sent, success sent", hows=HOWS)
def plain_agent(stage: Stage, how: str) -> None:
    stage.ask(agent(stage), how, QUESTION)


@scenario(
    'the same with `stream_mode="messages"`',
    3,
    43,
    ends="success sent, success sent",
    hows=("stream", "astream"),
)
def messages(stage: Stage, how: str) -> None:
    async def read() -> None:
        async for _ in agent(stage).astream(QUESTION, config=stage.config, stream_mode="messages"):
            pass

    if how == "stream":
        list(agent(stage).stream(QUESTION, config=stage.config, stream_mode="messages"))
    else:
        stage.run(read())


@scenario("the same with `astream_events`", 3, ends="success sent, success sent")
def agent_events(stage: Stage, how: str) -> None:
    async def read() -> None:
        async for _ in agent(stage).astream_events(QUESTION, config=stage.config, version="v2"):
            pass

    stage.run(read())


@scenario(
    "two turns of a conversation, whose second repeats the first",
    44,
    ends=", ".join(["success sent"] * 4),
    hows=HOWS,
)
def two_turns(stage: Stage, how: str) -> None:
    replies = [Reply(tool_calls=CALL, usage=usage(2)), Reply(usage=usage(3))]
    bob = agent(stage, Reply(usage=usage(1)), *replies, checkpointer=InMemorySaver())
    stage.ask(bob, how, QUESTION, **THREAD)
    stage.ask(bob, how, QUESTION, **THREAD)


@scenario(
    "a tool that asks a model",
    41,
    ends="success sent, success sent, success sent",
    hows=("invoke", "ainvoke"),
)
def tool_asks(stage: Stage, how: str) -> None:
    @tool("look")
    def ask(at: str) -> str:
        """Ask somebody else."""
        return str(stage.model("gpt-4o").invoke(at).content)

    stage.script(Reply(tool_calls=CALL, usage=usage(0)), Reply(usage=usage(1)), Reply(usage=usage(2)))
    stage.ask(create_agent(stage.model(), tools=[ask]), how, QUESTION)


@scenario("a graph inside a graph", 46, ends="success sent, success sent", hows=HOWS)
def nested(stage: Stage, how: str) -> None:
    outer = graph(graph(lambda state: {"messages": stage.model().invoke(state["messages"])}).compile())
    outer.add_node("again", lambda state: {"messages": stage.model().invoke(state["messages"])})
    outer.add_edge("ask", "again")
    stage.ask(outer.compile(), how, QUESTION)


@scenario("`Send` to three branches", 46, ends="success sent, success sent, success sent", hows=HOWS)
def fan_out(stage: Stage, how: str) -> None:
    built: Any = StateGraph(MessagesState)
    built.add_node("ask", lambda state: {"messages": stage.model().invoke(state["messages"])})
    built.add_conditional_edges(START, lambda state: [Send("ask", state)] * 3, ["ask"])
    stage.ask(built.compile(), how, QUESTION)


@scenario(
    "the functional API, with two tasks", 46, ends="success sent, success sent", hows=("invoke", "stream")
)
def functional(stage: Stage, how: str) -> None:
    @task
    def ask(text: str) -> str:
        return str(stage.model().invoke(text).content)

    @entrypoint()
    def work(text: str) -> list[str]:
        return [one.result() for one in [ask(text), ask(text)]]

    stage.ask(work, how)


@scenario(
    "a graph that pauses for a human: its node, and its model, run again",
    45,
    ends="success sent, success sent",
)
def pauses(stage: Stage, how: str) -> None:
    def ask(state: Any) -> Any:
        answer = stage.model().invoke(state["messages"])
        interrupt("go on?")
        return {"messages": answer}

    app = graph(ask).compile(checkpointer=InMemorySaver())
    stage.ask(app, "invoke", QUESTION, **THREAD)
    stage.ask(app, "invoke", Command(resume=True), **THREAD)


@scenario("`RetryPolicy` of a node", 45, ends="error unknown, success sent", hows=HOWS)
def retry_policy(stage: Stage, how: str) -> None:
    stage.script(Reply(status=500), Reply(usage=usage(1)))
    policy = RetryPolicy(initial_interval=0.001, max_attempts=2, jitter=False, retry_on=Exception)
    node = graph(lambda state: {"messages": stage.model().invoke(state["messages"])}, retry_policy=policy)
    stage.ask(node.compile(), how, QUESTION)


@scenario(
    "`ModelRetryMiddleware`",
    45,
    ends="error unknown, success sent",
    hows=HOWS,
    needs=hasattr(middleware, "ModelRetryMiddleware"),
)
def model_retry(stage: Stage, how: str) -> None:
    stage.script(Reply(status=500), Reply(usage=usage(1)))
    again = middleware.ModelRetryMiddleware(max_retries=1, initial_delay=0.0, jitter=False)
    stage.ask(create_agent(stage.model(), tools=[], middleware=[again]), how, QUESTION)


@scenario("`ModelFallbackMiddleware`", 45, ends="error unknown, success sent", hows=HOWS)
def model_fallback(stage: Stage, how: str) -> None:
    stage.script(Reply(status=500), model="gpt-4o-mini")
    other = middleware.ModelFallbackMiddleware(stage.model())
    stage.ask(create_agent(stage.model("gpt-4o-mini"), tools=[], middleware=[other]), how, QUESTION)


@scenario(
    "`SummarizationMiddleware`: a call of its own before the agent's",
    43,
    ends="success sent, success sent",
    hows=HOWS,
    needs=SUMMARIES,
)
def summary(stage: Stage, how: str) -> None:
    short = middleware.SummarizationMiddleware(
        model=stage.model(), trigger=("messages", 3), keep=("messages", 1)
    )
    history = [("human", "a"), ("ai", "b"), ("human", "c"), ("ai", "d"), ("human", "e")]
    stage.ask(create_agent(stage.model(), tools=[], middleware=[short]), how, {"messages": history})


# --- left early ----------------------------------------------------------------------------------


@scenario("an agent's stream closed early, which LangGraph reads to its end", 29, ends="success sent")
def agent_closed(stage: Stage, how: str) -> None:
    bob = create_agent(stage.model(), tools=[])
    stream = bob.stream(QUESTION, config=stage.config, stream_mode="messages")
    next(stream)
    stream.close()


@scenario(
    "an agent's asynchronous stream closed early, of which LangGraph says nothing",
    30,
    ends="cancelled unknown",
)
def agent_aclosed(stage: Stage, how: str) -> None:
    async def read() -> None:
        stage.script(Reply(stall_after=2))
        stream = create_agent(stage.model(), tools=[]).astream(
            QUESTION, config=stage.config, stream_mode="messages"
        )
        await anext(stream)
        await stream.aclose()
        del stream
        gc.collect()

    stage.run(read())


@scenario("a cancelled agent", 32, ends="cancelled unknown", hows=("ainvoke", "astream"))
def agent_cancelled(stage: Stage, how: str) -> None:
    stage.script(Reply(stall_after=0))

    async def main() -> None:
        bob = create_agent(stage.model(), tools=[])
        with suppress(asyncio.CancelledError):
            await stage.cancels(bob.ainvoke(QUESTION, config=stage.config) if how == "ainvoke" else read(bob))

    async def read(bob: Any) -> None:
        async for _ in bob.astream(QUESTION, config=stage.config):
            pass

    stage.run(main())
