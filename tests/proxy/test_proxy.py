"""`proxy_handler` in a real LiteLLM proxy: every call a row, and whose it was."""

from __future__ import annotations

from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

import pytest

from proxy.rig import Proxy
from tokentrail.demo.provider import FakeProvider, Reply

pytestmark = pytest.mark.skipif(
    find_spec("litellm_proxy_extras") is None, reason="litellm[proxy] is not installed"
)

HI = [{"role": "user", "content": "a prompt canary"}]
CHAT = "/v1/chat/completions"


@pytest.fixture(scope="module")
def proxy(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Proxy]:
    """One proxy for all tests, which ask under users of their own: to start one takes half a minute."""
    folder = tmp_path_factory.mktemp("proxy")
    with pytest.MonkeyPatch.context() as patch, FakeProvider() as provider:
        patch.setenv("TOKENTRAIL_DATA_DIR", str(folder / "data"))
        provider.script("endless", Reply(stall_after=2))
        provider.script("claude-haiku-4-5", Reply(status=500), Reply())
        with Proxy(folder, provider) as proxy:
            yield proxy


def test_a_call_and_whose_it_was(proxy: Proxy) -> None:
    """Key, team, organisation, end user and tags are columns; the model asked for is the public one."""
    body = {
        "model": "public",
        "messages": HI,
        "user": "alice",
        "metadata": {"tags": ["beta"], "color": "red"},
    }
    assert proxy.ask(CHAT, **body) == 200
    (row,) = proxy.rows(1, user_id="alice")
    assert (row.status, row.model, row.requested_model) == ("success", "gpt-4o-mini", "public")
    assert (row.input_tokens, row.output_tokens, row.usage_source) == (1311, 277, "provider")
    assert (row.client_id, row.organization_id, row.project_id) == ("shop", "org-1", "team-1")
    assert (row.user_id, row.tags, row.attributes["color"]) == ("alice", ["beta"], "red")
    assert row.attributes["key_user_id"] == "employee"
    assert row.attributes["team_alias"] == "One"
    assert row.cost_usd is not None


def test_a_stream_by_headers(proxy: Proxy) -> None:
    """A stream has its usage though its client never asked for one; headers name user, tags and trace."""
    headers = {"x-litellm-customer-id": "bob", "x-litellm-tags": "x,y", "x-litellm-trace-id": "trace-1"}
    assert proxy.ask(CHAT, headers, model="public", messages=HI, stream=True) == 200
    (row,) = proxy.rows(1, user_id="bob")
    assert (row.is_streaming, row.total_tokens, row.status) == (True, 1588, "success")
    assert (row.tags, row.trace_id) == (["x", "y"], "trace-1")


def test_a_client_that_leaves(proxy: Proxy) -> None:
    """LiteLLM calls it a success and guesses its tokens; here it is cancelled, and they are unknown."""
    body = {"model": "endless", "messages": HI, "stream": True, "user": "carol"}
    connection, response = proxy.send(CHAT, body, {}, "sk-good")
    assert response.readline().startswith(b"data:")
    response.close()
    connection.close()
    (row,) = proxy.rows(1, user_id="carol")
    assert (row.status, row.input_tokens, row.usage_source) == ("cancelled", None, "missing")


def test_a_failure_and_its_retry(proxy: Proxy) -> None:
    """Two requests, two rows, one operation."""
    assert proxy.ask(CHAT, model="shaky", messages=HI, user="dave") == 200
    rows = proxy.rows(2, user_id="dave")
    assert [(row.status, row.attempt_kind) for row in rows] == [("error", "first"), ("success", "retry")]
    assert rows[0].operation_id == rows[1].operation_id


def test_embeddings_and_messages(proxy: Proxy) -> None:
    """Other endpoints, other dialects."""
    assert proxy.ask("/v1/embeddings", model="public", input=["a", "b"], user="erin") == 200
    body = {"model": "shaky", "max_tokens": 10, "messages": HI, "metadata": {"user_id": "frank"}}
    assert proxy.ask("/v1/messages", **body) == 200
    (embedding,) = proxy.rows(1, user_id="erin")
    assert (embedding.call_type, embedding.input_count, embedding.input_tokens) == ("embedding", 2, 1311)
    (message,) = proxy.rows(1, user_id="frank")
    assert (message.provider, message.input_tokens, message.output_tokens) == ("anthropic", 1311, 277)


def test_what_never_reached_a_provider_is_no_call(proxy: Proxy) -> None:
    """A wrong key and an unknown model are refused by the proxy: nothing was sent, so nothing is recorded."""
    before = len(proxy.provider.sent)
    assert proxy.ask(CHAT, key="sk-bad", model="public", messages=HI, user="grace") != 200
    assert proxy.ask(CHAT, model="unknown", messages=HI, user="grace") == 400
    assert proxy.ask(CHAT, model="public", messages=HI, user="grace") == 200
    assert len(proxy.provider.sent) == before + 1
    assert [row.status for row in proxy.rows(1, user_id="grace")] == ["success"]


def test_the_last_answers_before_a_stop_are_rows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A proxy that is stopped right after an answer has lost nothing, and no secret or prompt is on disk."""
    monkeypatch.setenv("TOKENTRAIL_DATA_DIR", str(tmp_path / "data"))
    with FakeProvider() as provider:
        with Proxy(tmp_path, provider) as proxy:
            for _ in range(5):
                assert proxy.ask(CHAT, model="public", messages=HI) == 200
        assert len(proxy.rows(5)) == 5
    kept = [path for path in (*tmp_path.glob("usage.db*"), *tmp_path.glob("data/**/*")) if path.is_file()]
    assert kept
    for path in kept:
        assert b"canary" not in path.read_bytes(), path
