"""`TokentrailEmbeddings`: embeddings, of which LangChain tells nobody, are rows; unknown stays unknown."""

from __future__ import annotations

import asyncio
import contextlib
import copy
import pickle
from collections.abc import Iterator
from typing import Any

import litellm
import pytest
from langchain_core.embeddings import Embeddings
from langchain_core.runnables import RunnableLambda
from langchain_core.vectorstores import InMemoryVectorStore
from langchain_openai import OpenAIEmbeddings

import tokentrail
from litellm_rig import QUIET
from tokentrail import Tracker
from tokentrail.demo.provider import FakeProvider, Reply
from tokentrail.integrations.langchain import TokentrailCallbackHandler, TokentrailEmbeddings
from tokentrail.integrations.litellm import TokentrailLogger, disarm
from tokentrail.models import LLMCall

pytestmark = QUIET
MODEL = "text-embedding-3-small"


class Own(Embeddings):
    """A class of the user's own, of which nothing is known."""

    def embed_documents(self, texts: list[str]) -> list[list[float]]:
        return [[0.5] for _ in texts]

    def embed_query(self, text: str) -> list[float]:
        return [0.5]


@pytest.fixture
def provider() -> Iterator[FakeProvider]:
    with FakeProvider() as running:
        yield running
        running.release()
        assert running.faults == []


@pytest.fixture
def tracker() -> Iterator[Tracker]:
    with Tracker("memory://") as running:
        yield running
        health = running.health()
        assert (health["faults"], health["lost"], health["active"]) == ({}, {}, 0)


def openai(provider: FakeProvider, tracker: Tracker, **more: Any) -> TokentrailEmbeddings:
    arguments: Any = {"check_embedding_ctx_length": False, "max_retries": 0, **more}
    url = f"{provider.url}/v1"
    return TokentrailEmbeddings(
        OpenAIEmbeddings(model=MODEL, base_url=url, api_key="key", **arguments), tracker
    )


def litellm_embeddings(provider: FakeProvider) -> Embeddings:
    """LiteLLM's, which the oldest `langchain-litellm` does not have."""
    module = pytest.importorskip("langchain_litellm")
    if not hasattr(module, "LiteLLMEmbeddings"):
        pytest.skip("this langchain-litellm has no embeddings")
    inner: Embeddings = module.LiteLLMEmbeddings(
        model=f"openai/{MODEL}", api_base=f"{provider.url}/v1", api_key="none"
    )
    return inner


def rows(tracker: Tracker) -> list[LLMCall]:
    assert tracker.flush(10)
    return list(reversed(tracker.stats.calls(limit=100).items))


async def test_each_method_is_a_row(provider: FakeProvider, tracker: Tracker) -> None:
    """Sync and async, lists and queries: what was asked, of whom, how many; no usage, for none was told."""
    embeddings = openai(provider, tracker, dimensions=3)
    assert len(embeddings.embed_documents(["a", "b", "c"])) == 3
    assert len(embeddings.embed_query("a")) == 3
    assert len(await embeddings.aembed_documents(["a", "b"])) == 2
    assert len(await embeddings.aembed_query("a")) == 3
    found = rows(tracker)
    assert len(found) == len(provider.sent) == 4
    assert [row.input_count for row in found] == [3, 1, 2, 1]
    for row in found:
        assert (row.call_type, row.source, row.status) == ("embedding", "langchain", "success")
        assert (row.provider, row.model, row.requested_model) == ("openai", MODEL, MODEL)
        assert (row.usage_source, row.input_tokens, row.total_tokens, row.cost_usd) == (
            "missing", None, None, None,
        )  # fmt: skip
        assert row.params == {"dimensions": 3}
        assert row.api_base == provider.url.removeprefix("http://")
        assert row.duration_ms is not None


def test_failures(provider: FakeProvider, tracker: Tracker) -> None:
    """What the provider refuses is an error, what takes too long a timeout; the caller gets the exception."""
    provider.script(MODEL, Reply(status=429), Reply(stall_after=0))
    embeddings = openai(provider, tracker, timeout=0.2)
    with pytest.raises(Exception, match="429"):
        embeddings.embed_query("a")
    with pytest.raises(Exception, match="timed out"):
        embeddings.embed_query("a")
    assert [(row.status, row.error_type) for row in rows(tracker)] == [
        ("error", "RateLimitError"), ("timeout", "APITimeoutError"),
    ]  # fmt: skip


async def test_cancelled(provider: FakeProvider, tracker: Tracker) -> None:
    """A cancelled task is a cancelled row."""
    provider.script(MODEL, Reply(stall_after=0))
    task = asyncio.create_task(openai(provider, tracker).aembed_query("a"))
    await asyncio.to_thread(provider.wait_for, 1)
    task.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await task
    (row,) = rows(tracker)
    assert (row.status, row.error_type) == ("cancelled", None)


def test_through_litellm_is_one_row_with_its_usage(provider: FakeProvider, tracker: Tracker) -> None:
    """LiteLLM's door, which is nearer to the provider, knows the usage; the row is the same one."""
    litellm.callbacks = [TokentrailLogger(tracker)]
    try:
        embeddings = TokentrailEmbeddings(litellm_embeddings(provider), tracker)
        embeddings.embed_documents(["a", "b"])
        asyncio.run(embeddings.aembed_query("a"))
    finally:
        disarm()
    found = rows(tracker)
    assert [sorted(row.seen_by) for row in found] == [["langchain", "litellm"]] * 2
    assert [row.input_count for row in found] == [2, 1]
    for row, sent in zip(found, provider.sent, strict=True):
        assert sent.counts is not None
        assert (row.input_tokens, row.usage_source) == (sent.counts["input_tokens"], "provider")
        assert (row.provider, row.model, row.requested_model) == ("openai", MODEL, f"openai/{MODEL}")
        assert row.cost_usd


def test_litellm_without_its_door(provider: FakeProvider, tracker: Tracker) -> None:
    """Without LiteLLM's door the row names the provider behind LiteLLM, and knows no usage."""
    TokentrailEmbeddings(litellm_embeddings(provider), tracker).embed_query("a")
    (row,) = rows(tracker)
    assert (row.provider, row.model, row.usage_source) == ("openai", MODEL, "missing")


def test_estimate_only_where_asked_for(provider: FakeProvider) -> None:
    """With `estimate_missing` the input is counted locally and marked; an unknown model is not guessed at."""
    from litellm.litellm_core_utils.default_encoding import encoding  # comes with LiteLLM; nothing is fetched

    texts = ["hello there, general", "another one"]
    with Tracker("memory://", estimate_missing=True) as tracker:
        openai(provider, tracker).embed_documents(texts)
        TokentrailEmbeddings(Own(), tracker).embed_query("x")
        row, unknown = rows(tracker)
    assert (row.usage_source, row.output_tokens) == ("estimated", None)
    assert row.input_tokens == sum(len(encoding.encode(text)) for text in texts)
    assert row.cost_usd is not None
    assert (unknown.usage_source, unknown.input_tokens) == ("missing", None)
    assert (unknown.provider, unknown.model) == (None, None)


def test_what_the_chain_around_says(provider: FakeProvider, tracker: Tracker) -> None:
    """Inside a chain the row has its run, its metadata and its tags; `context()` holds everywhere."""
    embeddings = openai(provider, tracker)
    chain = RunnableLambda(embeddings.embed_query)
    config: Any = {
        "callbacks": [TokentrailCallbackHandler(tracker)],
        "metadata": {"session_id": "s1"},
        "tags": ["rag"],
    }
    chain.invoke("a", config=config)
    with tokentrail.context(user_id="u1", session_id="s2"):
        embeddings.embed_query("b")
    inside, alone = rows(tracker)
    assert (inside.session_id, inside.tags) == ("s1", ["rag"])
    assert inside.parent_id is not None
    assert (alone.user_id, alone.session_id, alone.parent_id) == ("u1", "s2", None)


def test_texts_are_kept_only_if_asked_for(provider: FakeProvider) -> None:
    """Without capture no text is anywhere; with it the texts are in the request."""
    for capture in ("none", "full"):
        with Tracker("memory://", capture=capture) as tracker:
            openai(provider, tracker).embed_documents(["SECRET"])
            (trace,) = tracker._live.traces(1, None)
        assert ("SECRET" in repr(trace)) == (capture == "full")


def test_as_an_embeddings_among_others(provider: FakeProvider, tracker: Tracker) -> None:
    """Vector stores take it; attributes are those of what it wraps; nothing asked is no row."""
    embeddings = openai(provider, tracker)
    assert isinstance(embeddings, Embeddings)
    assert (embeddings.model, embeddings.chunk_size) == (MODEL, 1000)
    assert not hasattr(embeddings, "no_such_thing")
    assert embeddings.embed_documents([]) == []
    store = InMemoryVectorStore(embeddings)
    store.add_texts(["a", "b"])
    assert [row.input_count for row in rows(tracker)] == [2]
    assert copy.copy(embeddings).embeddings is embeddings.embeddings


def test_default_tracker_and_pickle(provider: FakeProvider, tracker: Tracker) -> None:
    """Without a tracker it follows the default one, and can be pickled as far as what it wraps can."""
    fake = TokentrailEmbeddings(Own())
    previous = tokentrail.set_tracker(tracker)
    try:
        again = pickle.loads(pickle.dumps(fake))
        assert again.embed_query("a") == fake.embed_query("a")
    finally:
        tokentrail.set_tracker(previous)
    assert len(rows(tracker)) == 2


def test_odd_classes_cost_themselves_only(tracker: Tracker) -> None:
    """A class whose attributes raise, or are no names, is recorded as far as it goes."""

    class Odd(Own):
        @property
        def model(self) -> Any:
            return 7

        @property
        def base_url(self) -> Any:
            return object()

    TokentrailEmbeddings(Odd(), tracker).embed_query("a")
    (row,) = rows(tracker)
    assert (row.model, row.provider, row.api_base, row.status) == (None, None, None, "success")
