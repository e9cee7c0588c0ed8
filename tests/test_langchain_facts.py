"""What LangChain does, fact by fact (`langchain_scenarios/facts.py`): those that no other test shows."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from typing import Any

import pytest
from langchain.agents import create_agent
from langchain.agents.middleware import SummarizationMiddleware
from langchain_core.callbacks import BaseCallbackHandler
from langchain_core.documents import Document
from langchain_core.messages import AIMessage
from langchain_core.outputs import ChatGeneration, LLMResult
from langchain_core.retrievers import BaseRetriever
from langchain_core.runnables import RunnableLambda
from langgraph.checkpoint.memory import InMemorySaver

import tokentrail
from langchain_models import usage_of
from langchain_scenarios.agents import BOB, QUESTION, SUMMARIES, THREAD, agent, graph
from langchain_scenarios.calls import completion_model
from langchain_scenarios.doors import through_router
from langchain_scenarios.facts import FACTS, is_there
from langchain_scenarios.page import ORDER
from langchain_scenarios.stage import Stage, stage, usage
from litellm_rig import QUIET
from tokentrail.demo.provider import Reply
from tokentrail.models import LLMCall

pytestmark = QUIET


@pytest.fixture
def given() -> Iterator[Stage]:
    """A stage with the handler in its config."""
    with stage("handler") as one:
        yield one


@pytest.fixture
def installed() -> Iterator[Stage]:
    """A stage with both doors open."""
    with stage("install") as one:
        yield one


def rows(given: Stage) -> list[LLMCall]:
    return given.outcome().rows


def test_every_fact_is_shown() -> None:
    """Each fact has a scenario or a test, and each test that is named exists."""
    shown = {fact for one in ORDER for fact in one.facts}
    assert shown <= FACTS.keys()
    assert [number for number, fact in FACTS.items() if number not in shown and not fact.tests] == []
    assert [test for fact in FACTS.values() for test in fact.tests if not is_there(test)] == []


# --- handlers ------------------------------------------------------------------------------------


class Inline(BaseCallbackHandler):
    """Somebody else's handler that runs inline, as LangSmith's tracer does."""

    run_inline = True


def test_inline_handlers_beside_ours(given: Stage) -> None:
    """LangChain drops the start of a completion model for those who are not inline; ours is."""
    callbacks = [Inline(), BaseCallbackHandler(), given.handler]
    given.ask(completion_model(given), "ainvoke", callbacks=callbacks)
    (row,) = rows(given)
    assert (row.status, row.input_tokens, row.requested_model) == ("success", 1311, "gpt-4o")
    assert given.tracker.health()["orphans"] == 0


class Asks(BaseRetriever):
    """A retriever that asks a model and does not pass its callbacks on."""

    model: Any

    def _get_relevant_documents(self, query: str, *, run_manager: Any) -> list[Document]:
        return [Document(self.model.invoke(query).content)]


def test_retriever_that_passes_nothing_on(given: Stage) -> None:
    """Its model is not seen through the config, and is seen by `install()`."""
    given.ask(Asks(model=given.model()), "invoke")
    assert rows(given) == []
    tokentrail.install()
    given.ask(Asks(model=given.model()), "invoke")
    (row,) = rows(given)
    assert (row.status, row.input_tokens) == ("success", 1321)


def test_constructor_callbacks_stay_with_their_model(given: Stage) -> None:
    """A handler given to a model is told of that model only, and of it in every place."""
    mine, other = given.model(callbacks=[given.handler]), given.model()
    chain = RunnableLambda(lambda text: mine.invoke(text).content) | RunnableLambda(other.invoke)
    chain.invoke("hello")
    (row,) = rows(given)
    assert row.input_tokens == 1311


def test_hook_and_interrupts_without_warnings(installed: Stage, caplog: pytest.LogCaptureFixture) -> None:
    """The hook of `install()` gets into LangGraph's own managers without a word in the log."""
    from langgraph.types import Command, interrupt

    def ask(state: Any) -> Any:
        answer = installed.model().invoke(state["messages"])
        interrupt("go on?")
        return {"messages": answer}

    app = graph(ask).compile(checkpointer=InMemorySaver())
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        installed.ask(app, "invoke", QUESTION, **THREAD)
        installed.ask(app, "invoke", Command(resume=True), **THREAD)
    assert [row.status for row in rows(installed)] == ["success", "success"]
    assert caplog.records == []


# --- whose call it is ----------------------------------------------------------------------------


@pytest.mark.parametrize("how", ["invoke", "astream"])
def test_what_the_caller_said_holds(given: Stage, how: str) -> None:
    """Thread, node and agent fill in what nobody said; `context()` and metadata of one's own go before."""
    said = {"session_id": "mine", "agent_id": "me", "step_id": "first"}
    with tokentrail.context(**said):
        given.ask(agent(given), how, QUESTION, **THREAD)
    given.ask(agent(given), how, QUESTION, metadata=said, **THREAD)
    given.ask(agent(given), how, QUESTION, **THREAD)
    told = [(row.session_id, row.agent_id, row.step_id) for row in rows(given)]
    assert told == [("mine", "me", "first")] * 4 + [("t1", BOB, "model")] * 2


def test_summaries_and_nested_agents_say_whose_they_are(given: Stage) -> None:
    """The middleware's own call, and an agent inside a tool, carry thread, node and agent."""
    if not SUMMARIES:
        pytest.skip("this LangChain's middleware is another")
    short = SummarizationMiddleware(model=given.model(), trigger=("messages", 3), keep=("messages", 1))
    history = [("human", "a"), ("ai", "b"), ("human", "c"), ("ai", "d"), ("human", "e")]
    outer = create_agent(given.model(), tools=[], middleware=[short], name="outer")
    given.ask(outer, "invoke", {"messages": history}, **THREAD)
    summary, answer = rows(given)
    assert (summary.session_id, answer.session_id) == ("t1", "t1")
    assert (summary.agent_id, answer.agent_id) == ("outer", "outer")
    assert summary.step_id != answer.step_id == "model"
    assert summary.run_id == answer.run_id


def test_history_is_never_counted_again(given: Stage) -> None:
    """The second turn's inputs and outputs hold the first turn's usage; only new calls are rows."""
    bob = agent(given, Reply(usage=usage(1)), checkpointer=InMemorySaver())
    for _ in range(3):
        given.ask(bob, "invoke", QUESTION, **THREAD)
    outcome = given.outcome()
    assert [row.input_tokens for row in outcome.rows] == [one for one, _ in outcome.truth]
    assert [row.message_count for row in outcome.rows] == [1, 3, 5, 7]
    assert {row.session_id for row in outcome.rows} == {"t1"}


def test_runs_lie_under_their_root(given: Stage) -> None:
    """Whatever a graph starts, at whatever depth, has the id of the graph's own run."""
    inner = graph(lambda state: {"messages": given.model().invoke(state["messages"])}).compile()
    outer = graph(inner)
    outer.add_node("again", lambda state: {"messages": given.model().invoke(state["messages"])})
    outer.add_edge("ask", "again")
    given.ask(outer.compile(), "invoke", QUESTION)
    given.ask(agent(given), "invoke", QUESTION)
    found = rows(given)
    assert [row.run_id == found[0].run_id for row in found] == [True, True, False, False]
    assert all(row.parent_id not in (None, row.run_id) for row in found)


# --- LiteLLM beneath -----------------------------------------------------------------------------


@pytest.mark.parametrize("how", ["invoke", "astream"])
def test_router_attempts_are_one_operation(installed: Stage, how: str) -> None:
    """The Router's attempts under one call of LangChain's are numbered, and are all of its session."""
    installed.script(Reply(status=500))
    installed.script(Reply(usage=usage(1)), model="gpt-4o-mini")
    model = through_router(installed, fallbacks=[{"chat": ["small"]}])
    with tokentrail.context(session_id="s1"):
        installed.ask(model, how)
    first, second = rows(installed)
    assert (first.status, second.status) == ("error", "success")
    assert first.operation_id == second.operation_id is not None
    assert (first.attempt_kind, second.attempt_kind) == ("first", "fallback")
    assert (first.session_id, second.session_id) == ("s1", "s1")


# --- versions ------------------------------------------------------------------------------------


@pytest.mark.parametrize("prefix", ["lc_run--", "run-"])
def test_cache_hit_without_its_mark(given: Stage, prefix: str) -> None:
    """LangChain before 1.0 does not mark hits; the id of the run that filled the cache tells them."""
    from uuid import uuid4

    filled, hit = uuid4(), uuid4()
    message = AIMessage(
        "x",
        id=f"{prefix}{filled}-0",
        usage_metadata=usage_of(120, 37),
        response_metadata={"token_usage": {"prompt_tokens": 120}},
    )
    for run_id, output in ((filled, {"token_usage": {"prompt_tokens": 120}}), (hit, None)):
        given.handler.on_chat_model_start({}, [[]], run_id=run_id)
        answer = LLMResult(generations=[[ChatGeneration(message=message)]], llm_output=output)
        given.handler.on_llm_end(answer, run_id=run_id)
    assert [row.cache_hit for row in rows(given)] == [None, True]
