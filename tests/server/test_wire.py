"""Over the wire, by real uvicorn: live events, slow and broken clients, many at once, the command line."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import httpx
import pytest

from server_rig import TOKEN, USAGE, Serving, client_of
from tokentrail import Stats, Tracker
from tokentrail.errors import ConfigurationError, QueryTimeoutError, StoreError
from tokentrail.server import _gate, _serving, create_app
from tokentrail.server._feed import Feed
from tokentrail.server._ledger import Ledger
from tokentrail.server._serving import Address

API = "/api/v1"


def eventually(happens: Callable[[], bool], seconds: float = 20) -> None:
    """Wait until something is so."""
    deadline = time.monotonic() + seconds
    while not happens():
        assert time.monotonic() < deadline, "it never happened"
        time.sleep(0.01)


class Listener:
    """Reads server-sent events in a thread, until it is closed."""

    def __init__(self, serving: Serving, path: str = "active/stream") -> None:
        self.events: list[tuple[str, Any]] = []
        self.comments = 0
        self._client = serving.client()
        self._stream = self._client.stream("GET", f"{API}/{path}")
        self.response = self._stream.__enter__()
        threading.Thread(target=self._read, daemon=True).start()

    def _read(self) -> None:
        name = ""
        try:
            for line in self.response.iter_lines():
                kind, _, value = line.partition(": ")
                if kind == "event":
                    name = value
                elif kind == "data":
                    self.events.append((name, json.loads(value)))
                elif line.startswith(":"):
                    self.comments += 1
        except httpx.HTTPError:
            return

    def models(self) -> list[list[str]]:
        """What ran, event by event."""
        return [[call["model"] for call in data["items"]] for _, data in self.events]

    def close(self) -> None:
        """Leave."""
        self.response.close()
        self._client.close()


@pytest.fixture(params=["tracker", "url"])
def serving(request: pytest.FixtureRequest, tracker: Tracker) -> Iterator[Serving]:
    """The app over a tracker, and over its URL, on a port."""
    with Serving(
        create_app(tracker if request.param == "tracker" else tracker.database_url, token=TOKEN)
    ) as made:
        yield made


def test_listeners_see_changes_and_only_changes(serving: Serving, tracker: Tracker) -> None:
    """At once what runs; then one event a change; none for the time that goes by."""
    tracker.start(model="first")
    listener = Listener(serving)
    try:
        assert listener.response.headers["content-type"].startswith("text/event-stream")
        eventually(lambda: listener.models() == [["first"]])
        call_id = tracker.start(model="second")
        eventually(lambda: listener.models()[-1] == ["second", "first"])
        tracker.finish(call_id, usage=USAGE)
        eventually(lambda: listener.models()[-1] == ["first"])
        assert listener.models() == [["first"], ["second", "first"], ["first"]]
        assert {name for name, _ in listener.events} == {"update"}
    finally:
        listener.close()


def test_a_listener_may_choose(serving: Serving, tracker: Tracker) -> None:
    """Filters are those of `active`."""
    listener = Listener(serving, "active/stream?model=chosen*")
    try:
        eventually(lambda: listener.models() == [[]])
        tracker.start(model="other")
        tracker.start(model="chosen-1")
        eventually(lambda: listener.models() == [[], ["chosen-1"]])
    finally:
        listener.close()


def test_many_listeners_leave_nothing_behind(tracker: Tracker) -> None:
    """One look serves them all; when the last is gone, nobody looks any more."""
    app = create_app(tracker, token=TOKEN)
    feed = app.state.feed
    with Serving(app) as serving:
        for _ in range(2):
            listeners = [Listener(serving) for _ in range(10)]
            eventually(lambda: feed.listeners == 10)
            call_id = tracker.start(model="seen by all")
            for listener in listeners:
                eventually(partial(_shows, listener, ["seen by all"]))
            tracker.finish(call_id)
            for listener in listeners:
                listener.close()
            eventually(lambda: feed.listeners == 0 and feed._watching is None)


def _shows(listener: Listener, models: list[str]) -> bool:
    return listener.models()[-1:] == [models]


async def test_silence_is_filled_with_comments(tracker: Tracker) -> None:
    """So that proxies keep the connection."""
    feed = Feed(Ledger(tracker), heartbeat=0.05)
    events = feed.events(lambda _: True)
    assert (await anext(events)).startswith("event: update\n")
    assert await anext(events) == ": still here\n\n"
    assert await anext(events) == ": still here\n\n"
    await events.aclose()  # type: ignore[attr-defined]
    assert feed.listeners == 0


async def test_a_tracker_that_is_off_ends_the_stream(tmp_path: Path) -> None:
    """With a word of how to turn it on."""
    tracker = Tracker(f"sqlite:///{tmp_path}/off.db", enabled=False)
    events = [event async for event in Feed(Ledger(tracker)).events(lambda _: True)]
    assert len(events) == 1
    assert events[0].startswith("event: disabled\n")
    assert "TOKENTRAIL_ENABLED" in events[0]
    tracker.close()


def test_calls_of_other_processes_are_seen(serving: Serving, tracker: Tracker) -> None:
    """Through their journal, until they end or their process dies; then as a row."""
    code = (
        "import sys, tokentrail\n"
        "tracker = tokentrail.Tracker(sys.argv[1])\n"
        "tracker.start(model='elsewhere')\n"
        "print('started', flush=True)\n"
        "sys.stdin.read()"
    )
    listener = Listener(serving)
    other = subprocess.Popen(
        [sys.executable, "-c", code, tracker.database_url],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        assert other.stdout is not None
        assert other.stdout.readline() == "started\n"
        eventually(lambda: listener.models()[-1:] == [["elsewhere"]])
        with serving.client() as client:
            assert client.get(f"{API}/active").json()["items"][0]["model"] == "elsewhere"
            other.kill()
            other.wait()
            eventually(lambda: listener.models()[-1:] == [[]])
            rows = client.get(f"{API}/llm-calls?model=elsewhere").json()["items"]
            assert [row["status"] for row in rows] == ["interrupted"]
    finally:
        listener.close()
        other.kill()
        other.communicate()


# --- clients that mean no good -------------------------------------------------------------------


@pytest.fixture(scope="module")
def wire(still_tracker: Tracker) -> Iterator[Serving]:
    """The app on a port, for those who only ask."""
    with Serving(create_app(still_tracker, token=TOKEN)) as made:
        yield made


HEAD = f"Authorization: Bearer {TOKEN}\r\nContent-Type: application/json\r\n".encode()


@pytest.mark.parametrize(
    ("head", "status"),
    [
        (b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n", b"200"),
        (b"GET /healthz HTTP/1.1\r\nHost: evil.example\r\n", b"421"),
        (b"GET /healthz HTTP/1.1\r\nHost: localhost\r\nHost: evil.example\r\n", b"4"),
        (b"GET /healthz HTTP/1.1\r\n", b"4"),
        (b"GET http://evil.example/healthz HTTP/1.1\r\nHost: evil.example\r\n", b"4"),
        (b"GET /page.css/..%2f..%2f..%2fetc/passwd HTTP/1.1\r\nHost: localhost\r\n" + HEAD, b"404"),
        (b"GET /..\\..\\etc\\passwd HTTP/1.1\r\nHost: localhost\r\n" + HEAD, b"404"),
        (b"GET //etc/passwd HTTP/1.1\r\nHost: localhost\r\n" + HEAD, b"404"),
        (b"GET /page.css%00 HTTP/1.1\r\nHost: localhost\r\n" + HEAD, b"404"),
        (b"POST /api/v1/calls HTTP/1.1\r\nHost: localhost\r\nContent-Length: 9999999\r\n" + HEAD, b"413"),
        (b"POST /api/v1/calls HTTP/1.1\r\nHost: localhost\r\nContent-Length: -1\r\n" + HEAD, b"400"),
        (b"GET /api/v1/active/stream HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\n", b"401"),
    ],
)
def test_on_the_wire(wire: Serving, head: bytes, status: bytes) -> None:
    """What no HTTP library would send."""
    answer = wire.raw(head + b"Connection: close\r\n\r\n")
    assert answer.startswith(b"HTTP/1.1 " + status), answer[:200]
    assert b"root:" not in answer


def test_a_body_without_an_end_is_cut_off(wire: Serving) -> None:
    """Chunk after chunk, and no last one: refused at the limit, not collected."""
    chunk = b"8000\r\n" + b" " * 0x8000 + b"\r\n"
    head = (
        b"POST /api/v1/calls HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n" + HEAD + b"\r\n"
    )
    assert wire.raw(head + chunk * 3, wait=5).startswith(b"HTTP/1.1 413")


def test_a_slow_body_is_given_up(wire: Serving, monkeypatch: pytest.MonkeyPatch) -> None:
    """It has its seconds, and no more."""
    monkeypatch.setattr(_gate, "BODY_SECONDS", 0.2)
    head = b"POST /api/v1/calls HTTP/1.1\r\nHost: localhost\r\nContent-Length: 50\r\n" + HEAD + b"\r\n"
    assert wire.raw(head + b"{", wait=5).startswith(b"HTTP/1.1 408")


def test_half_a_head_is_given_up(wire: Serving, monkeypatch: pytest.MonkeyPatch) -> None:
    """While a request is served its client may be silent."""
    monkeypatch.setattr(_serving, "HEADER_SECONDS", 0.3)
    assert wire.raw(b"GET /healthz HTTP/1.1\r\nHost: loc", wait=20) == b""
    listener = Listener(wire)
    eventually(lambda: bool(listener.events))
    with pytest.raises(AssertionError):
        eventually(lambda: listener.response.is_closed, seconds=1)
    listener.close()


def test_slow_clients_keep_nobody_else_waiting(wire: Serving) -> None:
    """A hundred that dawdle, and one that does not."""
    slow = [socket.create_connection(("127.0.0.1", wire.port)) for _ in range(100)]
    try:
        for client in slow:
            client.sendall(b"GET /healthz HTTP/1.1\r\nHo")
        with wire.client() as client:
            assert client.get(f"{API}/overview").status_code == 200
    finally:
        for client in slow:
            client.close()


ENDLESS = "WITH RECURSIVE n(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM n) SELECT count(*) FROM n"


@pytest.mark.parametrize("by_url", [False, True])
def test_questions_that_last_too_long_are_stopped(still_tracker: Tracker, by_url: bool) -> None:
    """After the patience given; the next one is answered. And nothing can be written that way."""
    ledger = Ledger(still_tracker.database_url if by_url else still_tracker, patience=0.3)

    def ask(statement: str) -> Any:
        with ledger.stats._opened()._reading() as connection:  # type: ignore[attr-defined]
            return connection.exec_driver_sql(statement).scalar()

    with pytest.raises(QueryTimeoutError):
        ledger._patiently(ask, (ENDLESS,))
    assert ledger._patiently(ledger.stats.overview, ()).total_calls == 5
    with pytest.raises(StoreError, match="readonly"):
        ledger._patiently(ask, ("DELETE FROM llm_call",))
    ledger.close()


async def test_a_question_that_lasts_too_long_is_503(
    still_tracker: Tracker, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With the sentence that says what to do."""
    app = create_app(still_tracker, token=TOKEN, query_timeout=0.2)

    def overview(stats: Stats, **_: object) -> None:
        with stats._opened()._reading() as connection:  # type: ignore[attr-defined]
            connection.exec_driver_sql(ENDLESS)

    monkeypatch.setattr(Stats, "overview", overview)
    async with client_of(app) as client:
        answer = await client.get(f"{API}/overview")
    assert (answer.status_code, answer.headers["retry-after"]) == (503, "5")
    assert "less time" in answer.json()["detail"]


# --- the command line ----------------------------------------------------------------------------


def test_serve_and_open(tmp_path: Path) -> None:
    """It says where it is and how to get in; the link works once; Ctrl-C ends it; no log has the token."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = str(probe.getsockname()[1])
    tokentrail = [sys.executable, "-m", "tokentrail"]
    environment = {**os.environ, "TOKENTRAIL_DATA_DIR": str(tmp_path / "data")}
    server = subprocess.Popen(
        [*tokentrail, "serve", "--port", port],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env=environment,
    )
    try:
        assert server.stdout is not None
        told = [server.stdout.readline() for _ in range(4)]
        assert f"http://127.0.0.1:{port}" in told[0]
        assert f"tokentrail open --port {port}" in told[1]
        link = subprocess.run(
            [*tokentrail, "open", "--port", port, "--show"],
            capture_output=True,
            text=True,
            env=environment,
            check=True,
        ).stdout.strip()
        with httpx.Client(headers={"sec-fetch-site": "none"}, follow_redirects=True) as browser:
            page = browser.get(link)
            assert page.status_code == 200
            assert page.headers["content-type"].startswith("text/html")
            for name in re.findall(r'(?:href|src)="(page[^"]+)"', page.text):
                assert browser.get(f"http://127.0.0.1:{port}/{name}").status_code == 200
            assert browser.get(f"http://127.0.0.1:{port}{API}/overview").json()["total_calls"] == 0
            browser.cookies.clear()
            assert browser.get(link).status_code == 401
        server.send_signal(signal.SIGINT)
        rest, _ = server.communicate(timeout=20)
        assert server.returncode in (0, 130, -2)
        token = (tmp_path / "data" / "server-token").read_text()
        assert token not in "".join(told) + rest
        assert "Traceback" not in rest
    finally:
        server.kill()
        server.communicate()


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.168.1.2", "example.com"])
def test_others_are_let_in_only_over_tls(host: str) -> None:
    """Refused, with the sentence that says what is needed."""
    with pytest.raises(ConfigurationError, match="--behind-proxy"):
        Address(host, 8377)
    assert Address(host, 8377, behind_proxy=True).url.startswith("http://")
    assert Address(host, 8377, certificate="c.pem", key="k.pem").url.startswith("https://")


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "::1", "127.0.0.2"])
def test_loopback_needs_nothing(host: str) -> None:
    """Only this machine reaches it."""
    assert Address(host, 8377).host == host


def test_a_port_that_is_taken_is_said() -> None:
    """With the way out."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        with pytest.raises(ConfigurationError, match="--port"):
            _serving.listen(Address("127.0.0.1", taken.getsockname()[1]))
