"""What tests of the server share: a token, some calls, and a client of an app in this process."""

from __future__ import annotations

import socket
import threading
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import httpx

from tokentrail import Tracker
from tokentrail.server._serving import Address, Server, listen

TOKEN = "a-token-for-tests-of-at-least-thirty-two-bytes-0"
USAGE = {"prompt_tokens": 1200, "completion_tokens": 300}


def fill(tracker: Tracker) -> None:
    """Record the calls of `tracker`."""
    of_acme: dict[str, Any] = {"organization_id": "acme", "session_id": "shared", "user_id": "alice"}
    of_rival: dict[str, Any] = {"organization_id": "rival", "session_id": "shared", "user_id": "bob"}
    for fields in (of_acme, of_acme, of_rival):
        tracker.record(model="gpt-4o", provider="openai", usage=USAGE, duration_ms=800, **fields)
    embedding: dict[str, Any] = {"model": "text-embedding-3-small", "call_type": "embedding"}
    tracker.record(provider="openai", usage={"prompt_tokens": 7, "total_tokens": 7}, **embedding, **of_rival)
    failed = {"status": "error", "error_type": "RateLimitError", "error_message": "slow down"}
    tracker.record(model="gpt-4o", provider="openai", **failed, **of_acme)


@asynccontextmanager
async def client_of(app: Any, token: str | None = TOKEN, **options: Any) -> AsyncIterator[httpx.AsyncClient]:
    """A client of an app in this process."""
    headers = {} if token is None else {"authorization": f"Bearer {token}"}
    transport = httpx.ASGITransport(app, raise_app_exceptions=True)
    given = {"base_url": "http://localhost", "headers": headers, **options}
    async with httpx.AsyncClient(transport=transport, **given) as client:
        yield client


class Serving:
    """An app on a port of loopback, by real uvicorn in a thread, as `tokentrail serve` runs it."""

    def __init__(self, app: Any) -> None:
        self._listening = listen(Address("127.0.0.1", 0))
        self.port: int = self._listening.getsockname()[1]
        self.url = f"http://127.0.0.1:{self.port}"
        ready = threading.Event()
        self._server = Server(app, Address("127.0.0.1", self.port), ready=ready.set)
        self._thread = threading.Thread(target=self._server.run, kwargs={"sockets": [self._listening]})
        self._thread.start()
        if not ready.wait(30):
            raise TimeoutError("the server does not start")

    def client(self, token: str | None = TOKEN) -> httpx.Client:
        """A client over the wire."""
        headers = {} if token is None else {"authorization": f"Bearer {token}"}
        return httpx.Client(base_url=self.url, headers=headers, timeout=30)

    def raw(self, data: bytes, wait: float = 10) -> bytes:
        """What comes back for bytes, until the server closes or is silent for so long."""
        with socket.create_connection(("127.0.0.1", self.port), timeout=wait) as wire:
            wire.sendall(data)
            found = b""
            try:
                while piece := wire.recv(65536):
                    found += piece
            except TimeoutError:
                pass
            return found

    def __enter__(self) -> Serving:
        return self

    def __exit__(self, *_: object) -> None:
        self._server.should_exit = True
        self._thread.join(30)
        self._listening.close()
