"""LangChain's provider packages against their providers' wire: each row says what was sent, or less."""

from __future__ import annotations

import asyncio
import gc
from collections.abc import Iterator
from typing import Any

import pytest

from providers.dialects import DIALECTS
from providers.situations import STREAMS, Limit, Situation, cases, limit_of
from providers.speakers import HOWS, SPEAKERS, Speaker
from tokentrail import Tracker
from tokentrail.demo.provider import FakeProvider, Reply, Sent
from tokentrail.integrations.langchain import TokentrailCallbackHandler
from tokentrail.models import LLMCall

# The packages warn of each other; what they say of ours would be a row.
pytestmark = pytest.mark.filterwarnings("ignore")

COUNTS = (
    "input_tokens", "output_tokens", "total_tokens", "cache_read_tokens", "cache_creation_tokens",
    "reasoning_tokens",
)  # fmt: skip


@pytest.fixture
def provider() -> Iterator[FakeProvider]:
    with FakeProvider(DIALECTS) as running:
        yield running
        assert running.faults == []


@pytest.fixture
def tracker() -> Iterator[Tracker]:
    with Tracker("memory://") as running:
        yield running


def ask(model: Any, how: str, config: Any) -> None:
    """Ask a model one way, to the end."""

    async def read() -> None:
        async for _ in model.astream("hello", config=config):
            pass

    if how == "invoke":
        model.invoke("hello", config=config)
    elif how == "stream":
        list(model.stream("hello", config=config))
    elif how == "ainvoke":
        asyncio.run(model.ainvoke("hello", config=config))
    else:
        asyncio.run(read())


def counts(row: LLMCall) -> dict[str, int]:
    return {name: count for name in COUNTS if (count := getattr(row, name)) is not None}


def expected(sent: Sent, limit: Limit | None) -> dict[str, int]:
    """What was sent, but for what a known limit takes away."""
    told = dict(sent.counts or {})
    if limit is not None:
        told = {name: count for name, count in told.items() if name not in limit.unknown} | dict(
            limit.instead
        )
    wholes = [told[name] for name in ("input_tokens", "output_tokens") if name in told]
    return {**told, "total_tokens": sum(wholes)} if wholes else told


def answered(speaker: Speaker, how: str) -> str:
    if how not in speaker.names_asked:
        return speaker.answered
    return speaker.asked.removeprefix("openai/") if speaker.name == "ChatLiteLLM" else speaker.asked


CASES = [
    pytest.param(*case, id=f"{case[0].name}-{case[1].name}-{case[2]}".replace(" ", "-")) for case in cases()
]


@pytest.mark.parametrize(("speaker", "situation", "how"), CASES)
def test_row_says_what_was_sent(
    provider: FakeProvider, tracker: Tracker, speaker: Speaker, situation: Situation, how: str
) -> None:
    """Tokens, parts, models, provider, status and streaming of a row are those of the call, or unknown."""
    pytest.importorskip(speaker.package)
    limit = limit_of(speaker, situation, how)
    provider.script("*", situation.script(speaker))
    model = speaker.model(provider.url, **situation.settings(provider.url))
    error: Exception | None = None
    try:
        ask(model, how, {"callbacks": [TokentrailCallbackHandler(tracker)]})
    except Exception as raised:
        error = raised
    gc.collect()
    assert tracker.flush(10)
    (sent,) = provider.sent
    (row,) = tracker.stats.calls().items
    status = situation.status if limit is None or limit.status is None else limit.status
    assert counts(row) == expected(sent, limit)
    assert row.usage_source == ("provider" if counts(row) else "missing")
    if not counts(row):
        assert row.usage_flags == ["missing_usage"]
    assert ("total_mismatch" in row.usage_flags) == (
        situation.name == "small-total" or (limit is not None and limit.flagged)
    )
    assert (error is not None) == (status == "error"), error
    streams = how in STREAMS and situation.chunks
    assert (row.status, row.is_streaming) == (status, streams)
    assert (row.provider, row.requested_model) == (speaker.provider, speaker.asked)
    if situation.status == "success" == status:
        assert row.model == answered(speaker, how)
    if sent.usage and "cost" in sent.usage and counts(row):
        assert (row.cost_usd, row.cost_source) == (sent.usage["cost"], "provider")
    health = tracker.health()
    assert (health["faults"], health["lost"], health["active"]) == ({}, {}, 0)


@pytest.mark.parametrize("how", HOWS)
def test_litellm_with_both_doors(
    provider: FakeProvider, tracker: Tracker, monkeypatch: pytest.MonkeyPatch, how: str
) -> None:
    """Where ChatLiteLLM does not say whether a usage is LiteLLM's estimate, LiteLLM's own door knows."""
    pytest.importorskip("langchain_litellm")
    import litellm

    from tokentrail.integrations.litellm import TokentrailLogger

    monkeypatch.setattr(litellm, "callbacks", [TokentrailLogger(tracker)])
    (speaker,) = (one for one in SPEAKERS if one.name == "ChatLiteLLM")
    provider.script("*", Reply(usage={"prompt_tokens": 31, "completion_tokens": 9, "total_tokens": 40}))
    ask(speaker.model(provider.url), how, {"callbacks": [TokentrailCallbackHandler(tracker)]})
    assert tracker.flush(10)
    (row,) = tracker.stats.calls().items
    assert counts(row) == expected(provider.sent[0], None)
    assert (row.seen_by, row.status) == (["langchain", "litellm"], "success")
