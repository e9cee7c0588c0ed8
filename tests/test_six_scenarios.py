"""Six things every program meets, through both doors, sync and async: each row exact, as the README says."""

from __future__ import annotations

import asyncio
import gc
import importlib
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from tokentrail._tracker import Tracker, set_tracker
from tokentrail.demo.provider import FakeProvider, Reply
from tokentrail.models import LLMCall

ROOT = Path(__file__).parent.parent
USAGE = {
    "prompt_tokens": 10_000,
    "completion_tokens": 1_000,
    "total_tokens": 11_000,
    "prompt_tokens_details": {"cached_tokens": 4_000},
    "completion_tokens_details": {"reasoning_tokens": 400},
}


class Scenario(NamedTuple):
    """What the provider does, what the program does, and the one row there must be."""

    name: str
    model: str
    reply: Reply
    streams: bool
    asks: bool
    reads: int | None
    """Chunks the program reads before it leaves; None: all."""
    row: tuple[Any, ...]
    """status, input, of it cached, output, of it reasoning, cost in dollars, usage source, cost source."""


EXACT = (10_000, 4_000, 1_000, 400)
NOTHING = (None, None, None, None)
SCENARIOS = [
    Scenario(
        "plain call, cached prompt", "gpt-4o", Reply(usage=USAGE), False, False, None,
        ("success", *EXACT, 0.03, "provider", "genai_prices"),
    ),
    Scenario(
        "unknown model", "acme-large-1", Reply(usage=USAGE), False, False, None,
        ("success", *EXACT, None, "provider", "unpriced"),
    ),
    Scenario(
        "stream, usage not asked for", "gpt-4o", Reply(usage=USAGE, usage_in="asked"), True, False, None,
        ("success", *NOTHING, None, "missing", "unpriced"),
    ),
    Scenario(
        "stream, `include_usage`", "gpt-4o", Reply(usage=USAGE, usage_in="asked"), True, True, None,
        ("success", *EXACT, 0.03, "provider", "genai_prices"),
    ),
    Scenario(
        "stream abandoned by the caller", "gpt-4o", Reply(usage=USAGE, usage_in="asked"), True, True, 2,
        ("abandoned", *NOTHING, None, "missing", "unpriced"),
    ),
    Scenario(
        "HTTP 429", "gpt-4o", Reply(status=429), False, False, None,
        ("error", *NOTHING, None, "missing", "unpriced"),
    ),
]  # fmt: skip
WAYS = ["LiteLLM", "LiteLLM async", "LangChain", "LangChain async"]


@pytest.fixture
def provider() -> Iterator[FakeProvider]:
    with FakeProvider() as provider:
        yield provider


@pytest.fixture
def tracker(tmp_path: Path) -> Iterator[Tracker]:
    """A tracker on a real SQLite file."""
    with Tracker(f"sqlite:///{tmp_path / 'usage.db'}", summary_interval=0) as tracker:
        yield tracker


def _litellm(tracker: Tracker) -> Any:
    litellm = importlib.import_module("litellm")
    door = importlib.import_module("tokentrail.integrations.litellm")
    litellm.callbacks = [door.TokentrailLogger(tracker)]
    return litellm


@pytest.fixture(autouse=True)
def _leave_no_door_open() -> Iterator[None]:
    yield
    importlib.import_module("tokentrail._install").uninstall()
    set_tracker(None)


def _arguments(provider: FakeProvider, scenario: Scenario) -> dict[str, Any]:
    options = {"stream_options": {"include_usage": True}} if scenario.asks else {}
    return {
        "model": f"openai/{scenario.model}",
        "messages": [{"role": "user", "content": "hello"}],
        "api_base": f"{provider.url}/v1",
        "api_key": "sk-test",
        "stream": scenario.streams,
        "max_retries": 0,
        **options,
    }


def _chat(provider: FakeProvider, tracker: Tracker, scenario: Scenario) -> Any:
    openai = importlib.import_module("langchain_openai")
    door = importlib.import_module("tokentrail.integrations.langchain")
    return openai.ChatOpenAI(
        model=scenario.model,
        base_url=f"{provider.url}/v1",
        api_key="sk-test",
        max_retries=0,
        stream_usage=scenario.asks,
        callbacks=[door.TokentrailCallbackHandler(tracker)],
    )


def _read(stream: Iterator[Any], chunks: int | None) -> None:
    for count, _ in enumerate(stream, 1):
        if count == chunks:
            break


async def _aread(stream: AsyncIterator[Any], chunks: int | None) -> None:
    count = 0
    async for _ in stream:
        count += 1
        if count == chunks:
            break


def _play(way: str, scenario: Scenario, provider: FakeProvider, tracker: Tracker) -> None:
    if way == "LiteLLM":
        answer = _litellm(tracker).completion(**_arguments(provider, scenario))
        if scenario.streams:
            _read(answer, scenario.reads)
    elif way == "LiteLLM async":
        asyncio.run(_acompletion(_litellm(tracker), scenario, provider))
    elif way == "LangChain":
        chat = _chat(provider, tracker, scenario)
        if scenario.streams:
            _read(chat.stream("hello"), scenario.reads)
        else:
            chat.invoke("hello")
    else:
        asyncio.run(_achat(_chat(provider, tracker, scenario), scenario))


async def _acompletion(litellm: Any, scenario: Scenario, provider: FakeProvider) -> None:
    answer = await litellm.acompletion(**_arguments(provider, scenario))
    if scenario.streams:
        await _aread(answer, scenario.reads)


async def _achat(chat: Any, scenario: Scenario) -> None:
    if scenario.streams:
        await _aread(chat.astream("hello"), scenario.reads)
    else:
        await chat.ainvoke("hello")


def _collect(tracker: Tracker) -> None:
    """Collect garbage until the dropped stream is gone: LiteLLM's own threads hold it for a moment."""
    deadline = time.monotonic() + 10
    gc.collect()
    while tracker.active() and time.monotonic() < deadline:
        gc.collect()


def _row(call: LLMCall) -> tuple[Any, ...]:
    return (
        call.status, call.input_tokens, call.cache_read_tokens, call.output_tokens, call.reasoning_tokens,
        call.cost_usd, call.usage_source, call.cost_source,
    )  # fmt: skip


@pytest.mark.filterwarnings("ignore")  # the libraries' own
@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("scenario", SCENARIOS, ids=lambda scenario: scenario.name)
def test_the_row_is_exact(way: str, scenario: Scenario, provider: FakeProvider, tracker: Tracker) -> None:
    """One request on the wire is one row, and the row says what was sent, or that it was not."""
    provider.script(scenario.model, scenario.reply)
    if scenario.reply.status == 200:
        _play(way, scenario, provider, tracker)
    else:
        with pytest.raises(Exception, match="(?i)429|rate"):
            _play(way, scenario, provider, tracker)
    _collect(tracker)
    [call] = tracker.stats.calls(limit=100).items
    assert len(provider.sent) == 1
    assert _row(call) == scenario.row
    assert (call.requested_model or "").removeprefix("openai/") == scenario.model
    assert call.is_streaming is scenario.streams
    assert tracker.active() == []
    health = tracker.health()
    assert (health["lost"], health["faults"]) == ({}, {})


def table() -> str:
    """The table of the README; a line stands for all of `WAYS`, because the test above does."""
    head = "| what happens | status | input (cached) | output (reasoning) | cost |"
    lines = [head, "|---|---|---|---|---|"]
    for scenario in SCENARIOS:
        status, given, cached, output, reasoning, cost, *_ = scenario.row
        tokens = "unknown | unknown"
        if given is not None:
            tokens = f"{given:,} ({cached:,}) | {output:,} ({reasoning})"
        money = "unknown" if cost is None else f"${cost:.4f}"
        lines.append(f"| {scenario.name} | `{status}` | {tokens} | {money} |")
    return "\n".join(lines)


def test_the_readme_shows_what_is_tested() -> None:
    """The README's table is this one."""
    assert table() in (ROOT / "README.md").read_text(encoding="utf-8")
