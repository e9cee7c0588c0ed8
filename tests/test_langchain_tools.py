"""Tools that LangChain runs are tool calls: of the model call that asked, ended as they ended."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import suppress
from typing import Any

import pytest
from langchain.agents import create_agent
from langchain_core.messages import ToolCall as Wish
from langchain_core.retrievers import BaseRetriever
from langchain_core.runnables import RunnableLambda
from langchain_core.tools import ToolException, tool
from langchain_core.tools.retriever import create_retriever_tool
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.types import Command, interrupt

import tokentrail
from langchain_scenarios.agents import BOB, CALL, QUESTION, THREAD, agent, look
from langchain_scenarios.stage import HOWS, Stage, stage, usage
from litellm_rig import QUIET
from tokentrail import Tracker
from tokentrail._query import filters
from tokentrail.demo.provider import FakeProvider, Reply
from tokentrail.integrations.langchain import TokentrailCallbackHandler
from tokentrail.models import ToolCall

pytestmark = QUIET


@pytest.fixture
def given() -> Iterator[Stage]:
    """A stage with the handler in its config."""
    with stage("handler") as one:
        yield one
        assert one.tracker.health()["faults"] == {}


def tools(tracker: Tracker) -> list[ToolCall]:
    """Every tool call in the store, oldest first."""
    assert tracker.flush(30)
    return tracker._writer.store().beside(ToolCall, filters(), limit=1000)[::-1]


@tool
def fails(at: str) -> str:
    """Look in vain."""
    raise ValueError(f"nothing at {at}")


# --- whose tool call it is -----------------------------------------------------------------------


@pytest.mark.parametrize("how", HOWS)
def test_tool_of_an_agent(given: Stage, how: str) -> None:
    """It has its name, its place, and the call that asked for it; nothing of what was said."""
    given.ask(agent(given), how, QUESTION, **THREAD)
    calls = given.outcome().rows
    (row,) = tools(given.tracker)
    assert (row.tool_name, row.status, row.source) == ("look", "success", "langchain")
    assert (row.parent_id, row.tool_call_id) == (calls[0].id, "call_0001_0")
    assert (row.session_id, row.agent_id, row.step_id) == ("t1", BOB, "tools")
    assert row.run_id == calls[0].run_id == calls[1].run_id
    assert (row.arguments, row.result, row.tags, row.attributes) == (None, None, [], {})
    assert row.duration_ms is not None
    assert calls[0].started_at <= row.started_at <= calls[1].started_at


def test_several_at_once(given: Stage) -> None:
    """Each tool that a call asked for is its own."""
    given.script(Reply(tool_calls=CALL * 3, usage=usage(0)), Reply(usage=usage(1)))
    given.ask(create_agent(given.model(), tools=[look]), "invoke", QUESTION)
    first, _ = given.outcome().rows
    rows = tools(given.tracker)
    assert sorted(str(row.tool_call_id) for row in rows) == ["call_0001_0", "call_0001_1", "call_0001_2"]
    assert {row.parent_id for row in rows} == {first.id}


def test_model_inside_a_tool(given: Stage) -> None:
    """A call that a tool makes has the tool call as its parent, which has the call that asked."""

    @tool("look")
    def ask(at: str) -> str:
        """Ask somebody else."""
        return str(given.model().invoke(at).content)

    given.script(Reply(tool_calls=CALL, usage=usage(0)), Reply(usage=usage(1)))
    given.ask(create_agent(given.model(), tools=[ask]), "invoke", QUESTION)
    asked, inside, _ = given.outcome().rows
    (row,) = tools(given.tracker)
    assert (row.parent_id, inside.parent_id) == (asked.id, row.id)
    assert inside.run_id == asked.run_id == row.run_id


def test_tool_by_itself(given: Stage) -> None:
    """A tool that a program calls has no call that asked; `context()` and metadata say for whom."""
    config: Any = {**given.config, "metadata": {"user_id": "u1", "tool_source": "mcp"}, "tags": ["mine"]}
    with tokentrail.context(session_id="s1"):
        look.invoke({"at": "it"}, config=config)
        look.invoke(Wish(name="look", args={"at": "it"}, id="w1", type="tool_call"), config=config)
    first, second = tools(given.tracker)
    assert (first.parent_id, first.tool_call_id, second.tool_call_id) == (None, None, "w1")
    for row in (first, second):
        assert (row.session_id, row.user_id, row.tool_source, row.tags) == ("s1", "u1", "mcp", ["mine"])


def test_retriever_as_a_tool(given: Stage) -> None:
    """A retriever is no tool call, unless it is used as one."""

    class Finds(BaseRetriever):
        def _get_relevant_documents(self, query: str, *, run_manager: Any) -> list[Any]:
            return []

    Finds().invoke("x", config=given.config)
    create_retriever_tool(Finds(), "find", "Finds.").invoke({"query": "x"}, config=given.config)
    assert [row.tool_name for row in tools(given.tracker)] == ["find"]


def test_the_same_handler_twice(given: Stage) -> None:
    """However often it is heard of, it is one tool call."""
    twin = TokentrailCallbackHandler(given.tracker)
    given.ask(agent(given), "invoke", QUESTION, callbacks=[given.handler, given.handler, twin])
    assert len(tools(given.tracker)) == 1
    assert given.tracker.health()["duplicates"] == 0


# --- how it ended --------------------------------------------------------------------------------


@pytest.mark.parametrize("how", ["invoke", "ainvoke"])
def test_tool_that_fails(given: Stage, how: str) -> None:
    """An exception is an error with its message."""
    given.fails(fails, how, {"at": "it"})
    (row,) = tools(given.tracker)
    assert (row.status, row.error_type, row.error_message) == ("error", "ValueError", "nothing at it")
    assert "raise ValueError" in str(row.stack_trace)


def test_tool_that_hands_its_error_to_the_model(given: Stage) -> None:
    """An error that becomes an answer is an error all the same."""

    @tool("look")
    def refuses(at: str) -> str:
        """Refuse."""
        raise ToolException("no")

    refuses.handle_tool_error = True
    given.script(Reply(tool_calls=CALL, usage=usage(0)), Reply(usage=usage(1)))
    given.ask(create_agent(given.model(), tools=[refuses]), "invoke", QUESTION)
    assert [row.status for row in tools(given.tracker)] == ["error"]


async def test_cancelled_tools(given: Stage) -> None:
    """A tool whose task is cancelled is cancelled, alone and inside a chain."""
    begun = asyncio.Event()

    @tool
    async def waits(at: str) -> str:
        """Wait."""
        begun.set()
        await asyncio.Event().wait()
        return at

    for runnable in (waits, RunnableLambda(lambda question: question) | waits):
        begun.clear()
        task = asyncio.create_task(runnable.ainvoke({"at": "it"}, config=given.config))
        await begun.wait()
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task
        await asyncio.sleep(0)
    assert [row.status for row in tools(given.tracker)] == ["cancelled", "cancelled"]


async def test_tool_that_a_timeout_ends(given: Stage) -> None:
    """A tool that runs out of time is cancelled, although the task that waited for it goes on."""

    @tool
    async def waits(at: str) -> str:
        """Wait."""
        await asyncio.Event().wait()
        return at

    with suppress(TimeoutError):
        async with asyncio.timeout(0.05):
            await waits.ainvoke({"at": "it"}, config=given.config)
    assert [row.status for row in tools(given.tracker)] == ["cancelled"]


def test_tool_that_pauses(given: Stage) -> None:
    """A tool that asks a human is no failure; resumed, it runs again."""

    @tool("look")
    def asks(at: str) -> str:
        """Ask a human."""
        return str(interrupt("may I?"))

    given.script(Reply(tool_calls=CALL, usage=usage(0)), Reply(usage=usage(1)))
    bob = create_agent(given.model(), tools=[asks], checkpointer=InMemorySaver())
    given.ask(bob, "invoke", QUESTION, **THREAD)
    given.ask(bob, "invoke", Command(resume="yes"), **THREAD)
    first, _ = given.outcome().rows
    rows = tools(given.tracker)
    assert [(row.status, row.error_type) for row in rows] == [("cancelled", None), ("success", None)]
    assert rows[1].parent_id == first.id
    assert rows[0].parent_id == (
        first.id if rows[0].tool_call_id else None
    )  # LangChain 1.0 tells it at the end


# --- what was said -------------------------------------------------------------------------------


def test_arguments_and_result_only_if_asked_for() -> None:
    """With `capture` they are kept; without it they are nowhere."""
    for capture in ("none", "full"):
        with FakeProvider() as provider, Tracker("memory://", capture=capture) as tracker:
            given = Stage(provider, tracker, "handler")
            given.ask(agent(given), "invoke", QUESTION)
            (row,) = tools(tracker)
            kept = ('{"at":"it"}', "nothing at it") if capture == "full" else (None, None)
            assert (row.arguments, row.result) == kept
