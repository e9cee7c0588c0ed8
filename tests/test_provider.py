"""The loopback provider: what it says it sent is what a client really got."""

from __future__ import annotations

import http.client
import json
import threading
from collections.abc import Iterator
from typing import Any

import pytest

from tokentrail.demo.provider import MISSING, FakeProvider, Reply

CACHED = {
    "prompt_tokens": 2511,
    "completion_tokens": 277,
    "total_tokens": 2788,
    "prompt_tokens_details": {"cached_tokens": 700, "cache_creation_tokens": 500},
    "completion_tokens_details": {"reasoning_tokens": 64},
}
CHAT = "/v1/chat/completions"


@pytest.fixture
def provider() -> Iterator[FakeProvider]:
    with FakeProvider() as running:
        yield running
    assert running.faults == []


def connect(provider: FakeProvider) -> http.client.HTTPConnection:
    return http.client.HTTPConnection(provider.url.removeprefix("http://"), timeout=10)


def post(provider: FakeProvider, path: str, **body: Any) -> tuple[int, dict[str, str], Any]:
    connection = connect(provider)
    try:
        connection.request("POST", path, json.dumps(body), {"content-type": "application/json"})
        answer = connection.getresponse()
        text = answer.read().decode()
        return answer.status, dict(answer.getheaders()), json.loads(text)
    finally:
        connection.close()


def events(provider: FakeProvider, path: str, **body: Any) -> list[Any]:
    connection = connect(provider)
    try:
        connection.request("POST", path, json.dumps({**body, "stream": True}))
        lines = connection.getresponse().read().decode().splitlines()
    finally:
        connection.close()
    found = [line.removeprefix("data: ") for line in lines if line.startswith("data: ")]
    return [text if text == "[DONE]" else json.loads(text) for text in found]


def said(chunks: list[Any]) -> list[int]:
    """Which chunks carry a usage."""
    return [index for index, chunk in enumerate(chunks) if isinstance(chunk, dict) and chunk.get("usage")]


def test_a_whole_chat_answer_and_its_truth(provider: FakeProvider) -> None:
    """What a client reads as usage, model and request id is what the truth log has."""
    status, headers, body = post(provider, CHAT, model="m", messages=[])
    (sent,) = provider.wait_for(1, ended=True)
    assert (status, body["model"], body["usage"]) == (200, "m", sent.usage)
    assert headers["x-request-id"] == sent.request_id
    assert sent.counts == {"input_tokens": 1311, "output_tokens": 277}
    assert (sent.completed, sent.client_gone, sent.stream) == (True, False, False)


def test_scripts_go_by_model_and_in_order(provider: FakeProvider) -> None:
    """Replies of a model come in order and the last one stays; other models get the script of `*`."""
    provider.script("a", Reply(status=429, headers={"retry-after": "0"}), Reply(text="second"))
    provider.script("*", Reply(text="other", model="answered-by"))
    assert [post(provider, CHAT, model="a")[0] for _ in range(3)] == [429, 200, 200]
    body = post(provider, CHAT, model="b")[2]
    assert (body["choices"][0]["message"]["content"], body["model"]) == ("other", "answered-by")


def test_usage_that_is_null_and_usage_that_is_not_there(provider: FakeProvider) -> None:
    """`None` is sent as null, `MISSING` leaves the key out, and both leave no truth behind."""
    provider.script("null", Reply(usage=None))
    provider.script("gone", Reply(usage=MISSING))
    assert post(provider, CHAT, model="null")[2]["usage"] is None
    assert "usage" not in post(provider, CHAT, model="gone")[2]
    assert [sent.usage for sent in provider.sent] == [None, None]


@pytest.mark.parametrize(
    ("place", "where"),
    [("last", [6]), ("finish", [5]), ("twice", [5, 6]), ("first", [0]), ("none", []), ("asked", [])],
)
def test_where_a_stream_says_its_usage(provider: FakeProvider, place: Any, where: list[int]) -> None:
    """Usage comes in the chunks the script names, in a chunk without choices when it comes by itself."""
    provider.script("m", Reply(usage_in=place))
    chunks = events(provider, CHAT, model="m")
    assert said(chunks) == where
    assert "".join(c["choices"][0]["delta"].get("content", "") for c in chunks[:5]) == Reply().text
    assert (chunks[-1], provider.sent[0].completed) == ("[DONE]", True)
    assert (provider.sent[0].counts is None) == (where == [])


def test_a_running_total_in_every_chunk(provider: FakeProvider) -> None:
    """With `every` the output grows and the last figure is the whole."""
    provider.script("m", Reply(usage_in="every"))
    chunks = events(provider, CHAT, model="m")[:-1]
    outputs = [chunk["usage"]["completion_tokens"] for chunk in chunks]
    assert outputs == sorted(outputs)
    assert outputs[-1] == 277


def test_usage_only_when_asked(provider: FakeProvider) -> None:
    """With `asked` only a request with `include_usage` gets a usage, and null in the chunks before it."""
    provider.script("m", Reply(usage_in="asked"))
    chunks = events(provider, CHAT, model="m", stream_options={"include_usage": True})
    assert [chunk["usage"] for chunk in chunks[:6]] == [None] * 6
    assert chunks[6] == {**chunks[6], "choices": [], "usage": dict(Reply().usage)}  # type: ignore[arg-type]


@pytest.mark.parametrize("after", [0, 2, 6])
def test_a_cut_stream(provider: FakeProvider, after: int) -> None:
    """A cut closes the socket after just so many chunks, and the truth knows how far it came."""
    provider.script("m", Reply(cut_after=after))
    with pytest.raises(http.client.IncompleteRead) as cut:
        events(provider, CHAT, model="m")
    (sent,) = provider.wait_for(1, ended=True)
    assert cut.value.partial.count(b"data:") == sent.chunks_sent == after
    assert (sent.completed, sent.client_gone, sent.usage) == (False, False, None)


def test_a_stalled_stream_goes_on_when_released(provider: FakeProvider) -> None:
    """A stalled answer waits for `release()` and is then whole."""
    provider.script("m", Reply(stall_after=3))
    got: list[Any] = []
    reader = threading.Thread(target=lambda: got.extend(events(provider, CHAT, model="m")))
    reader.start()
    (sent,) = provider.wait_for(1, chunks=3)
    assert (sent.chunks_sent, sent.ended, got) == (3, False, [])
    provider.release()
    reader.join()
    assert (len(got), sent.completed) == (8, True)


def test_a_client_that_leaves_is_noticed(provider: FakeProvider) -> None:
    """A client that hangs up during a stall ends the answer and is marked as gone."""
    provider.script("m", Reply(stall_after=1))
    connection = connect(provider)
    connection.request("POST", CHAT, json.dumps({"model": "m", "stream": True}))
    answer = connection.getresponse()
    provider.wait_for(1, chunks=1)
    answer.close()
    connection.close()
    (sent,) = provider.wait_for(1, ended=True)
    assert (sent.client_gone, sent.completed, sent.chunks_sent) == (True, False, 1)


def test_an_error_inside_a_stream(provider: FakeProvider) -> None:
    """`error_after` sends an error event where the next chunk would be, and nothing after it."""
    provider.script("m", Reply(error_after=2))
    chunks = events(provider, CHAT, model="m")
    assert [("error" in chunk) for chunk in chunks[:3]] == [False, False, True]


def test_close_ends_a_stalled_answer() -> None:
    """Closing the provider cuts what still waits and leaves no thread behind."""
    provider = FakeProvider()
    provider.script("m", Reply(stall_after=0))
    failures: list[BaseException] = []

    def read() -> None:
        try:
            events(provider, CHAT, model="m")
        except http.client.HTTPException as error:
            failures.append(error)

    reader = threading.Thread(target=read)
    reader.start()
    provider.wait_for(1)
    provider.close()
    reader.join()
    provider.close()
    assert len(failures) == 1
    assert [one.name for one in threading.enumerate() if one.name == "loopback-provider"] == []


def test_waiting_in_vain_says_what_there_is(provider: FakeProvider) -> None:
    """A wait that runs out names the requests that did come."""
    post(provider, CHAT, model="m")
    with pytest.raises(TimeoutError, match="chat/completions"):
        provider.wait_for(2, timeout=0.01)


def test_tool_calls_and_choices(provider: FakeProvider) -> None:
    """Tool calls come with arguments as text and a finish reason of their own; `n` choices are all there."""
    provider.script("m", Reply(tool_calls=[{"name": "look", "arguments": {"at": "sky"}}]))
    choice = post(provider, CHAT, model="m")[2]["choices"][0]
    assert choice["finish_reason"] == "tool_calls"
    assert json.loads(choice["message"]["tool_calls"][0]["function"]["arguments"]) == {"at": "sky"}
    delta = events(provider, CHAT, model="m")[0]["choices"][0]["delta"]
    assert delta["tool_calls"][0]["function"]["name"] == "look"
    assert len(post(provider, CHAT, model="other", n=3)[2]["choices"]) == 3


def test_text_completions(provider: FakeProvider) -> None:
    """The completions endpoint answers with texts, whole and in chunks."""
    whole = post(provider, "/v1/completions", model="m", prompt="x")[2]
    chunks = events(provider, "/v1/completions", model="m", prompt="x")
    assert whole["choices"][0]["text"] == "".join(c["choices"][0]["text"] for c in chunks[:5]) == Reply().text
    assert said(chunks) == [6]


def test_embeddings(provider: FakeProvider) -> None:
    """One vector an input, and a usage without output."""
    body = post(provider, "/v1/embeddings", model="m", input=["a", "b"])[2]
    assert [item["index"] for item in body["data"]] == [0, 1]
    assert provider.sent[0].counts == {"input_tokens": 1311}
    single = post(provider, "/v1/embeddings", model="m", input="a", encoding_format="base64")[2]
    assert single["data"][0]["embedding"] == "AACAPgAAAL8AAAA+"


def test_responses(provider: FakeProvider) -> None:
    """The responses endpoint has its own names for usage; the stream says it when completed."""
    provider.script("m", Reply(usage=CACHED))
    body = post(provider, "/v1/responses", model="m", input="x")[2]
    assert body["usage"]["input_tokens_details"]["cached_tokens"] == 700
    steps = events(provider, "/v1/responses", model="m", input="x")
    assert "".join(s["delta"] for s in steps if s["type"] == "response.output_text.delta") == Reply().text
    assert (steps[-1]["type"], steps[-1]["response"]["usage"]) == ("response.completed", body["usage"])
    assert [s["sequence_number"] for s in steps] == list(range(len(steps)))
    assert provider.sent[0].counts == provider.sent[1].counts


def test_anthropic_messages(provider: FakeProvider) -> None:
    """Anthropic's usage has cached input beside the rest; the truth has it inside, streamed or not."""
    provider.script("m", Reply(usage=CACHED))
    body = post(provider, "/v1/messages", model="m", messages=[])[2]
    assert body["usage"] == {
        "input_tokens": 1311,
        "cache_read_input_tokens": 700,
        "cache_creation_input_tokens": 500,
        "output_tokens": 277,
    }
    steps = events(provider, "/v1/messages", model="m", messages=[])
    assert [step["type"] for step in steps[:3]] == ["message_start", "ping", "content_block_start"]
    assert steps[0]["message"]["usage"]["input_tokens"] == 1311
    assert (steps[-2]["usage"], steps[-1]["type"]) == ({"output_tokens": 277}, "message_stop")
    whole, streamed = provider.sent
    assert (
        whole.counts
        == streamed.counts
        == {
            "input_tokens": 2511,
            "output_tokens": 277,
            "cache_read_tokens": 700,
            "cache_creation_tokens": 500,
        }
    )


def test_anthropic_stream_cut_before_its_end(provider: FakeProvider) -> None:
    """A messages stream that is cut has told its input and a first count of output."""
    provider.script("m", Reply(cut_after=2))
    with pytest.raises(http.client.IncompleteRead):
        events(provider, "/v1/messages", model="m", messages=[])
    (sent,) = provider.wait_for(1, ended=True)
    assert sent.counts is not None
    assert (sent.counts["input_tokens"], sent.counts["output_tokens"], sent.chunks_sent) == (1311, 1, 2)


def test_errors_have_the_form_of_their_endpoint(provider: FakeProvider) -> None:
    """OpenAI's and Anthropic's errors look as theirs do, and say no usage."""
    provider.script("m", Reply(status=429))
    assert post(provider, CHAT, model="m")[2]["error"]["code"] == "rate_limit_exceeded"
    assert post(provider, "/v1/messages", model="m")[2]["error"]["type"] == "rate_limit_error"
    assert post(provider, "/v1/nowhere", model="m")[0] == 404
    assert [sent.usage for sent in provider.sent] == [None, None]


def test_a_connection_is_kept(provider: FakeProvider) -> None:
    """Two requests go over one connection, as clients with pools do."""
    connection = connect(provider)
    for _ in range(2):
        connection.request("POST", CHAT, json.dumps({"model": "m"}))
        connection.getresponse().read()
    connection.close()
    assert len(provider.sent) == 2
