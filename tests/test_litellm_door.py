"""LiteLLM's door: whole answers, errors, who and what, against the provider's own truth."""

from __future__ import annotations

import asyncio
import copy
import sys
import threading
from typing import Any

import litellm
import pytest
from litellm import completion as imported_early
from litellm.integrations.custom_logger import CustomLogger

from litellm_rig import CACHED, CLAUDE, CLAUDE_USAGE, HI, QUIET, Rig, agrees, provider, rig
from tokentrail import context
from tokentrail.demo.provider import MISSING, FakeProvider, Reply
from tokentrail.integrations.litellm import TokentrailLogger

__all__ = ["provider", "rig"]
pytestmark = QUIET


# --- tokens --------------------------------------------------------------------------------------


def test_sync_call_with_cached_and_reasoning_tokens(rig: Rig) -> None:
    """A plain call is a row with every count that the provider sent, and a price."""
    rig.provider.script("gpt-4o", Reply(usage=CACHED))
    litellm.completion(model="openai/gpt-4o", messages=HI, **rig.openai)
    row = rig.row()
    agrees(row, rig.provider.sent[0])
    assert (row.cache_read_tokens, row.reasoning_tokens) == (4_000, 400)
    assert (row.status, row.call_type, row.provider, row.model) == ("success", "chat", "openai", "gpt-4o")
    assert (row.requested_model, row.finish_reason, row.is_streaming) == ("openai/gpt-4o", "stop", False)
    assert (row.cost_usd, row.cost_source) == (0.03, "genai_prices")
    assert row.api_base == rig.provider.url.removeprefix("http://")
    assert row.source == "litellm"
    assert row.seen_by == ["litellm"]
    assert row.duration_ms > 0


async def test_async_call(rig: Rig) -> None:
    """The same awaited."""
    rig.provider.script("gpt-4o", Reply(usage=CACHED))
    answer = await litellm.acompletion(model="openai/gpt-4o", messages=HI, **rig.openai)
    row = await rig.arow()
    agrees(row, rig.provider.sent[0])
    assert row.response_id == answer.id
    assert row.request_id == answer._hidden_params["litellm_call_id"]


def test_unknown_model_has_tokens_and_no_price(rig: Rig) -> None:
    """What has no price has no cost; it does not cost nothing."""
    litellm.completion(model="openai/nobody-knows-1", messages=HI, **rig.openai)
    row = rig.row()
    agrees(row, rig.provider.sent[0])
    assert (row.cost_usd, row.cost_source) == (None, "unpriced")


@pytest.mark.parametrize("usage", [MISSING, None, {}], ids=["absent", "null", "empty"])
def test_an_answer_without_usage_is_missing_not_zero(rig: Rig, usage: Any) -> None:
    """LiteLLM makes 0/0/0 of an absent usage; the ledger does not believe it."""
    rig.provider.script("gpt-4o", Reply(usage=usage))
    litellm.completion(model="openai/gpt-4o", messages=HI, **rig.openai)
    row = rig.row()
    assert (row.input_tokens, row.output_tokens, row.total_tokens) == (None, None, None)
    assert (row.status, row.usage_source, row.cost_usd) == ("success", "missing", None)


def test_a_reported_zero_stays_a_zero(rig: Rig) -> None:
    """Zeros that the provider wrote itself are counts."""
    rig.provider.script(
        "gpt-4o", Reply(usage={"prompt_tokens": 0, "completion_tokens": 0, "total_tokens": 0})
    )
    litellm.completion(model="openai/gpt-4o", messages=HI, **rig.openai)
    row = rig.row()
    assert (row.input_tokens, row.output_tokens, row.usage_source) == (0, 0, "provider")


def test_wrong_total_is_flagged(rig: Rig) -> None:
    """A total below its parts is derived anew, and flagged."""
    rig.provider.script(
        "gpt-4o", Reply(usage={"prompt_tokens": 1311, "completion_tokens": 277, "total_tokens": 9})
    )
    litellm.completion(model="openai/gpt-4o", messages=HI, **rig.openai)
    row = rig.row()
    assert (row.input_tokens, row.output_tokens, row.total_tokens) == (1311, 277, 1588)
    assert row.usage_flags == ["total_mismatch"]


def test_usage_that_litellm_cannot_read_is_read_from_the_wire(rig: Rig) -> None:
    """LiteLLM raises on a count of 1311.5, but the provider has answered and bills: the counts are kept."""
    rig.provider.script(
        "gpt-4o", Reply(usage={"prompt_tokens": 1311.5, "completion_tokens": 277, "total_tokens": 1588})
    )
    with pytest.raises(litellm.InternalServerError):
        litellm.completion(model="openai/gpt-4o", messages=HI, **rig.openai)
    row = rig.row()
    assert (row.status, row.output_tokens, row.total_tokens) == ("error", 277, 1588)
    assert "loopback provider" not in row.error_message


def test_cost_that_the_gateway_states_is_the_cost(rig: Rig) -> None:
    """A provider that says what it charged is believed before any price list."""
    rig.provider.script("openai/gpt-4o", Reply(usage={**CACHED, "cost": 0.0123}))
    base = {**rig.openai, "api_base": f"{rig.provider.url}/v1"}
    litellm.completion(model="openrouter/openai/gpt-4o", messages=HI, **base)
    row = rig.row()
    assert (row.cost_usd, row.cost_source, row.provider) == (0.0123, "provider", "openrouter")


def test_a_cost_of_litellms_own_is_not_the_providers(rig: Rig) -> None:
    """LiteLLM stamps costs of its own making into usages of the Responses API; those are not taken."""
    list(litellm.responses(model="openai/gpt-4o", input="hello", stream=True, **rig.openai))
    assert rig.row().cost_source == "genai_prices"


def test_anthropic_cache_parts(rig: Rig) -> None:
    """Anthropic's cache reads and writes are parts of the input."""
    rig.provider.script("claude-haiku-4-5", Reply(usage=CLAUDE_USAGE))
    litellm.completion(model=CLAUDE, messages=HI, **rig.anthropic)
    row = rig.row()
    agrees(row, rig.provider.sent[0])
    assert (row.input_tokens, row.cache_read_tokens, row.cache_creation_tokens) == (2511, 700, 500)
    assert row.reasoning_tokens is None
    assert (row.provider, row.model) == ("anthropic", "claude-haiku-4-5")


def test_several_choices_are_one_call(rig: Rig) -> None:
    """`n=3` is one request and one usage."""
    litellm.completion(model="openai/gpt-4o", messages=HI, n=3, **rig.openai)
    row = rig.row()
    agrees(row, rig.provider.sent[0])
    assert row.params == {"n": 3}


def test_tool_calls_are_counted(rig: Rig) -> None:
    """The row says how many tools the answer called."""
    call = {"name": "lookup", "arguments": {"q": "x"}}
    rig.provider.script("gpt-4o", Reply(tool_calls=[call, call]))
    litellm.completion(model="openai/gpt-4o", messages=HI, **rig.openai)
    row = rig.row()
    assert (row.tool_call_count, row.finish_reason) == (2, "tool_calls")


# --- other calls ---------------------------------------------------------------------------------


async def test_embedding(rig: Rig) -> None:
    """Embeddings, sync and async, with the number of inputs."""
    litellm.embedding(model="openai/text-embedding-3-small", input=["a", "b"], **rig.openai)
    await litellm.aembedding(model="openai/text-embedding-3-small", input=["a"], **rig.openai)
    rows = await rig.arows(2)
    assert [row.call_type for row in rows] == ["embedding", "embedding"]
    assert [row.input_count for row in rows] == [2, 1]
    for row, sent in zip(rows, rig.provider.sent, strict=True):
        assert row.input_tokens == sent.usage["prompt_tokens"]


async def test_text_completion(rig: Rig) -> None:
    """Text completions, also those that LiteLLM sends to a chat model, are one row of type `completion`."""
    instruct = "text-completion-openai/gpt-3.5-turbo-instruct"
    litellm.text_completion(model=instruct, prompt="hello", **rig.openai)
    await litellm.atext_completion(model=instruct, prompt="hello", **rig.openai)
    litellm.text_completion(model="openai/gpt-3.5-turbo", prompt="hello", **rig.openai)
    rows = await rig.arows(3)
    assert {row.call_type for row in rows} == {"completion"}
    for row, sent in zip(rows, rig.provider.sent, strict=True):
        agrees(row, sent)


async def test_responses(rig: Rig) -> None:
    """The Responses API, and chat over it: one row each, with the id that the provider gave."""
    litellm.responses(model="openai/gpt-4o", input="hello", **rig.openai)
    await litellm.aresponses(model="openai/gpt-4o", input="hello", **rig.openai)
    litellm.completion(model="openai/responses/gpt-4o", messages=HI, **rig.openai)
    rows = await rig.arows(3)
    assert [row.call_type for row in rows] == ["responses", "responses", "chat"]
    for row, sent in zip(rows, rig.provider.sent, strict=True):
        agrees(row, sent)
        assert row.response_id == f"resp_{sent.number:08d}" or row.response_id.startswith("resp")


async def test_responses_over_another_provider(rig: Rig) -> None:
    """The Responses API over Anthropic is one row, not one of each."""
    rig.provider.script("claude-haiku-4-5", Reply(usage=CLAUDE_USAGE))
    litellm.responses(model=CLAUDE, input="hello", **rig.anthropic)
    await litellm.aresponses(model=CLAUDE, input="hello", **rig.anthropic)
    rows = await rig.arows(2)
    for row, sent in zip(rows, rig.provider.sent, strict=True):
        agrees(row, sent)
        assert (row.call_type, row.requested_model) == ("responses", CLAUDE)


async def test_anthropic_messages(rig: Rig) -> None:
    """LiteLLM's `/v1/messages`, to Anthropic itself and translated for OpenAI."""
    rig.provider.script("claude-haiku-4-5", Reply(usage=CLAUDE_USAGE))
    await litellm.anthropic_messages(model=CLAUDE, messages=HI, max_tokens=9, **rig.anthropic)
    await litellm.anthropic_messages(model="openai/gpt-4o", messages=HI, max_tokens=9, **rig.openai)
    rows = await rig.arows(2)
    for row, sent in zip(rows, rig.provider.sent, strict=True):
        agrees(row, sent)
    assert rows[0].response_id.startswith("msg_")


def test_batch_completion_is_one_row_an_item(rig: Rig) -> None:
    """Three conversations in LiteLLM's own threads are three rows."""
    litellm.batch_completion(model="openai/gpt-4o", messages=[HI, HI, HI], **rig.openai)
    for row in rig.rows(3):
        agrees(row, rig.provider.sent[0])


async def test_mock_response_is_a_row_and_says_so(rig: Rig) -> None:
    """An answer that LiteLLM makes up is a call like any other, marked, and no request."""
    litellm.completion(model="openai/gpt-4o", messages=HI, mock_response="hey")
    await litellm.acompletion(model="openai/gpt-4o", messages=HI, mock_response="hey")
    rows = await rig.arows(2)
    assert [row.attributes for row in rows] == [{"mock_response": True}] * 2
    assert [row.total_tokens for row in rows] == [30, 30]
    assert rig.provider.sent == []


def test_mocked_error_is_an_error(rig: Rig) -> None:
    """A made-up failure fails."""
    with pytest.raises(litellm.RateLimitError):
        litellm.completion(model="openai/gpt-4o", messages=HI, mock_response="litellm.RateLimitError")
    assert (rig.row().status, rig.row().error_type) == ("error", "RateLimitError")


# --- LiteLLM's cache -----------------------------------------------------------------------------


@pytest.fixture
def cache() -> Any:
    """LiteLLM's local cache; in some versions it needs a library for sound files."""
    pytest.importorskip("soundfile")
    litellm.cache = litellm.Cache(type="local")
    yield litellm.cache
    litellm.cache = None


def test_sync_cache_hit_is_free(rig: Rig, cache: Any) -> None:
    """An answer from LiteLLM's cache is a row with the tokens of the answer, and cost 0."""
    for _ in range(3):
        litellm.completion(model="openai/gpt-4o", messages=HI, caching=True, **rig.openai)
    rows = rig.rows(3)
    assert [row.cache_hit for row in rows] == [None, True, True]
    assert [row.cost_usd for row in rows[1:]] == [0, 0]
    assert [row.total_tokens for row in rows] == [1588] * 3
    assert len(rig.provider.sent) == 1


def test_a_cache_hit_told_by_two_threads_is_one(
    rig: Rig, cache: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """LiteLLM's event may come while the look into the cache still tells of the same answer."""
    told = threading.Semaphore(0)

    class Bell(CustomLogger):
        def log_success_event(self, *args: Any, **kwargs: Any) -> None:
            told.release()

    monkeypatch.setattr(litellm, "callbacks", [*litellm.callbacks, Bell()])  # behind ours
    asked = {"model": "text-completion-openai/gpt-3.5-turbo-instruct", "prompt": "hello", "caching": True}
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        for _ in range(100):
            litellm.text_completion(**asked, **rig.openai)
    finally:
        sys.setswitchinterval(interval)
    assert all(told.acquire(timeout=30) for _ in range(100))
    assert len(rig.rows(100)) == 100
    assert rig.tracker.stats.overview().calls == 100
    assert len(rig.provider.sent) == 1


async def test_async_cache_hit(rig: Rig, cache: Any) -> None:
    """The same awaited: the event that LiteLLM sends later adds no second row."""
    await litellm.acompletion(model="openai/gpt-4o", messages=HI, caching=True, **rig.openai)
    while not cache.cache.cache_dict:
        await asyncio.sleep(0.01)
    await litellm.acompletion(model="openai/gpt-4o", messages=HI, caching=True, **rig.openai)
    await rig.arows(2)
    await litellm.litellm_core_utils.logging_worker.GLOBAL_LOGGING_WORKER.flush()
    assert [row.cache_hit for row in await rig.arows(2)] == [None, True]


def test_streamed_cache_hit(rig: Rig, cache: Any) -> None:
    """A stream from the cache as well."""
    for _ in range(2):
        list(litellm.completion(model="openai/gpt-4o", messages=HI, caching=True, stream=True, **rig.openai))
        rig.rows(len(rig.provider.sent), 0.5) if _ == 0 else None
    rows = rig.rows(2)
    assert [row.cache_hit for row in rows] == [None, True]
    assert rows[1].total_tokens == 1588


# --- failures ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("status", "error", "name"),
    [
        (429, litellm.RateLimitError, "RateLimitError"),
        (500, litellm.InternalServerError, "InternalServerError"),
        (401, litellm.AuthenticationError, "AuthenticationError"),
        (400, litellm.BadRequestError, "BadRequestError"),
    ],
)
async def test_http_errors(rig: Rig, status: int, error: type[Exception], name: str) -> None:
    """An HTTP error is one row with its type, tokens unknown, and goes on to the caller unchanged."""
    rig.provider.script("gpt-4o", Reply(status=status))
    with pytest.raises(error):
        litellm.completion(model="openai/gpt-4o", messages=HI, **rig.openai)
    with pytest.raises(error):
        await litellm.acompletion(model="openai/gpt-4o", messages=HI, **rig.openai)
    for row in await rig.arows(2):
        assert (row.status, row.error_type, row.usage_source) == ("error", name, "missing")
        assert "litellm" in str(row.stack_trace)
        assert "Scripted failure" in row.error_message
        assert "canary" not in row.error_message


async def test_timeout(rig: Rig) -> None:
    """A request that takes too long is a `timeout`."""
    rig.provider.script("gpt-4o", Reply(stall_after=0))
    with pytest.raises(litellm.Timeout):
        litellm.completion(model="openai/gpt-4o", messages=HI, timeout=0.2, **rig.openai)
    with pytest.raises(litellm.Timeout):
        await litellm.acompletion(model="openai/gpt-4o", messages=HI, timeout=0.2, **rig.openai)
    assert [row.status for row in await rig.arows(2)] == ["timeout", "timeout"]


def test_connection_refused(rig: Rig) -> None:
    """Nobody there: an error, and no tokens."""
    nowhere = {**rig.openai, "api_base": "http://127.0.0.1:9/v1"}
    with pytest.raises(litellm.InternalServerError):
        litellm.completion(model="openai/gpt-4o", messages=HI, **nowhere)
    row = rig.row()
    assert (row.status, row.api_base, row.usage_source) == ("error", "127.0.0.1:9", "missing")


async def test_a_call_that_fails_before_any_request(rig: Rig) -> None:
    """A model that LiteLLM cannot place is a row too: the call was started."""
    with pytest.raises(litellm.BadRequestError):
        litellm.completion(model="what-is-this", messages=HI)
    with pytest.raises(litellm.BadRequestError):
        await litellm.acompletion(model="what-is-this", messages=HI)
    rows = await rig.arows(2)
    assert [row.status for row in rows] == ["error", "error"]
    assert [row.model for row in rows] == ["what-is-this"] * 2


async def test_cancelled_call(rig: Rig) -> None:
    """A cancelled task is `cancelled`, and stays cancelled."""
    rig.provider.script("gpt-4o", Reply(stall_after=0))
    task = asyncio.create_task(litellm.acompletion(model="openai/gpt-4o", messages=HI, **rig.openai))
    await asyncio.to_thread(rig.provider.wait_for, 1)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert (await rig.arow()).status == "cancelled"


async def test_wait_for(rig: Rig) -> None:
    """`asyncio.wait_for` cancels the call inside it: that is all the call sees of the time limit."""
    rig.provider.script("gpt-4o", Reply(stall_after=0))
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(litellm.acompletion(model="openai/gpt-4o", messages=HI, **rig.openai), 0.5)
    assert (await rig.arow()).status == "cancelled"


def test_keyboard_interrupt_goes_through(rig: Rig) -> None:
    """Ctrl-C stays Ctrl-C; the call is `cancelled`."""

    class Interrupting(litellm.CustomLLM):
        def completion(self, *args: Any, **kwargs: Any) -> Any:
            raise KeyboardInterrupt

    litellm.custom_provider_map = [{"provider": "mine", "custom_handler": Interrupting()}]
    try:
        with pytest.raises(KeyboardInterrupt):
            litellm.completion(model="mine/model", messages=HI)
    finally:
        litellm.custom_provider_map = []
    assert rig.row().status == "cancelled"


# --- who and what --------------------------------------------------------------------------------


def test_identity_tags_and_metadata(rig: Rig) -> None:
    """User, session, tags and labels reach the row; the caller's own dicts are not touched by us."""
    metadata = {
        "session_id": "s1",
        "tags": ["beta", "eu"],
        "feature": "search",
        "secret_token": "sk-canary-1234567",
    }
    before = copy.deepcopy(metadata)
    litellm.completion(
        model="openai/gpt-4o",
        messages=HI,
        user="u1",
        metadata=metadata,
        temperature=0.5,
        max_tokens=9,
        **rig.openai,
    )
    row = rig.row()
    assert (row.user_id, row.session_id, row.tags) == ("u1", "s1", ["beta", "eu"])
    assert row.attributes["feature"] == "search"
    assert row.params == {"temperature": 0.5, "max_tokens": 9}
    assert row.message_count == 1
    assert "canary" not in repr(row)
    assert {name: metadata[name] for name in before} == before


def test_context_and_metadata_meet(rig: Rig) -> None:
    """`context()` gives what the call itself does not say."""
    with context(session_id="outer", client_id="app", tags=["a"]):
        litellm.completion(model="openai/gpt-4o", messages=HI, metadata={"tags": ["b"]}, **rig.openai)
    row = rig.row()
    assert (row.session_id, row.client_id, row.tags) == ("outer", "app", ["a", "b"])


def test_no_log_keeps_tokens_and_forgets_the_rest(rig: Rig) -> None:
    """`no-log` is obeyed for identity and content; tokens, cost and times are bookkeeping."""
    with context(session_id="hidden"):
        litellm.completion(
            model="openai/gpt-4o",
            messages=HI,
            user="hidden",
            metadata={"tags": ["hidden"], "who": "hidden"},
            **rig.openai,
            **{"no-log": True},
        )
    row = rig.row()
    agrees(row, rig.provider.sent[0])
    assert row.cost_usd is not None
    assert "hidden" not in repr(row)
    assert (row.request_id, row.response_id, row.message_count) == (None, None, None)


def test_nothing_secret_and_no_content_is_stored(rig: Rig) -> None:
    """Neither keys nor prompts nor answers are in a row unless asked for."""
    litellm.completion(model="openai/gpt-4o", messages=HI, **rig.openai)
    text = repr(rig.row())
    assert "canary" not in text
    assert "say hello" not in text
    assert "loopback provider" not in text


def test_captured_content(provider: FakeProvider) -> None:
    """With `capture` on, request and answer are kept, streamed answers too."""
    rig = Rig(provider, capture="cut")
    litellm.completion(model="openai/gpt-4o", messages=HI, **rig.openai)
    list(litellm.completion(model="openai/gpt-4o", messages=HI, stream=True, **rig.openai))
    rig.rows(2)
    kept = [record for _, record in rig.tracker._live.traces(10, None)]
    for record in kept:
        assert "say hello" in record["request"]
        assert "loopback provider" in record["response"]
    rig.close()


# --- registration --------------------------------------------------------------------------------


def test_imported_before_us(rig: Rig) -> None:
    """`from litellm import completion`, said before the door was there, is seen as well."""
    imported_early(model="openai/gpt-4o", messages=HI, **rig.openai)
    agrees(rig.row(), rig.provider.sent[0])


def test_registered_twice_and_thrice_is_one_row(rig: Rig) -> None:
    """The same logger in several lists, a second logger of the same tracker, a bound method: one row."""
    again = TokentrailLogger(rig.tracker)
    litellm.callbacks = [rig.logger, rig.logger, again]
    litellm.success_callback = [rig.logger, again.log_success_event]
    litellm.input_callback = [rig.logger, again]
    litellm.completion(model="openai/gpt-4o", messages=HI, **rig.openai)
    list(litellm.completion(model="openai/gpt-4o", messages=HI, stream=True, **rig.openai))
    rig.rows(2)


async def test_beside_a_plain_function(rig: Rig) -> None:
    """A plain function beside ours makes LiteLLM say things twice; it is still one row."""
    heard: list[str] = []
    litellm.success_callback = [lambda *_: heard.append("sync")]
    await litellm.acompletion(model="openai/gpt-4o", messages=HI, **rig.openai)
    litellm.completion(model="openai/gpt-4o", messages=HI, **rig.openai)
    await rig.arows(2)


def test_two_trackers(rig: Rig) -> None:
    """Two loggers with a tracker each: each ledger has the call once."""
    other = Rig(rig.provider)
    litellm.callbacks = [rig.logger, other.logger]
    litellm.completion(model="openai/gpt-4o", messages=HI, **rig.openai)
    assert [len(one.rows()) for one in (rig, other)] == [1, 1]
    assert rig.row().id != other.row().id
    other.tracker.close(5)


def test_only_as_success_callback(rig: Rig) -> None:
    """Registered where LiteLLM does not announce requests, calls are seen all the same."""
    from tokentrail.integrations.litellm import LISTS

    for name in LISTS:
        setattr(litellm, name, [])
    litellm.success_callback = [rig.logger]
    litellm.completion(model="openai/gpt-4o", messages=HI, **rig.openai)
    row = rig.row()
    agrees(row, rig.provider.sent[0])
    assert row.duration_ms > 0
    assert row.started_at <= row.ended_at


def test_another_callback_that_raises(rig: Rig) -> None:
    """A neighbour's fault is not ours and costs no row."""

    class Broken(litellm.integrations.custom_logger.CustomLogger):
        def logging_hook(self, *args: Any, **kwargs: Any) -> Any:
            raise ValueError

        def log_pre_api_call(self, *args: Any, **kwargs: Any) -> Any:
            raise ValueError

    litellm.callbacks = [Broken(), rig.logger]
    litellm.completion(model="openai/gpt-4o", messages=HI, **rig.openai)
    agrees(rig.row(), rig.provider.sent[0])


def test_four_threads_with_a_loop_each(rig: Rig) -> None:
    """Calls from several event loops at once, where LiteLLM loses most of its events, are all rows."""

    async def some() -> None:
        await asyncio.gather(
            *(litellm.acompletion(model="openai/gpt-4o", messages=HI, **rig.openai) for _ in range(10))
        )

    threads = [threading.Thread(target=asyncio.run, args=(some(),)) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert {row.status for row in rig.rows(40)} == {"success"}


def test_a_chosen_call_id_may_be_reused(rig: Rig) -> None:
    """Two calls with one `litellm_call_id` are two calls."""
    for _ in range(2):
        litellm.completion(model="openai/gpt-4o", messages=HI, litellm_call_id="mine", **rig.openai)
    assert [row.request_id for row in rig.rows(2)] == ["mine", "mine"]


def test_constant_response_ids(rig: Rig) -> None:
    """A gateway that gives every answer the same id, or none, still makes as many rows as calls."""
    rig.provider.script("gpt-4o", Reply(id="same"), Reply(id="same"), Reply(id=""))
    for _ in range(3):
        litellm.completion(model="openai/gpt-4o", messages=HI, **rig.openai)
    assert len(rig.rows(3)) == 3


def test_proxy_handler() -> None:
    """The proxy's configuration names a logger of the default tracker, made when it is asked for."""
    from tokentrail.integrations import litellm as door

    assert isinstance(door.proxy_handler, TokentrailLogger)
    assert door.proxy_handler is door.proxy_handler
    with pytest.raises(AttributeError):
        door.nothing_of_that_name  # noqa: B018
    door.disarm()


def test_a_fault_of_ours_is_counted_and_costs_nothing(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever breaks inside the door, the caller gets its answer and the ledger counts the fault."""
    from tokentrail import _guard
    from tokentrail.integrations import _litellm_frames as frames
    from tokentrail.integrations import _litellm_tokens as tokens

    def broken(*args: Any, **kwargs: Any) -> Any:
        raise MemoryError

    monkeypatch.setattr(_guard, "STRICT", False)
    for place, name in (
        (frames, "Frame"),
        (frames, "fields_of"),
        (frames, "usage_of"),
        (frames.streams, "watch"),
        (tokens.Token, "saw"),
        (tokens, "answer_fields"),
    ):
        with monkeypatch.context() as patched:
            patched.setattr(place, name, broken)
            answer = litellm.completion(model="openai/gpt-4o", messages=HI, **rig.openai)
            assert answer.usage.total_tokens == 1588
            chunks = list(litellm.completion(model="openai/gpt-4o", messages=HI, stream=True, **rig.openai))
            assert chunks[-1].choices[0].finish_reason == "stop"
    faults = rig.tracker.health()["faults"]
    assert sum(faults.values()) >= 6
    rig.tracker.health_counters._faults.clear()
