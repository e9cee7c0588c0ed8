"""What tests of the server share: a token, some calls, and a client of an app in this process."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import httpx

from tokentrail import Tracker

TOKEN = "a-token-for-tests-of-at-least-thirty-two-bytes-0"
USAGE = {"prompt_tokens": 1200, "completion_tokens": 300}


def fill(tracker: Tracker) -> None:
    """Record the calls of `tracker`."""
    of_acme: dict[str, Any] = {"organization_id": "acme", "session_id": "s-acme", "user_id": "alice"}
    of_rival: dict[str, Any] = {"organization_id": "rival", "session_id": "s-rival", "user_id": "bob"}
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
