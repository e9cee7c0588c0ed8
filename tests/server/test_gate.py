"""Every route is behind the gate: no token, a foreign host, a foreign page or a fat body passes it."""

from __future__ import annotations

import json
import stat
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import fastapi.routing
import httpx
import pytest
from fastapi import FastAPI

from server_rig import TOKEN, client_of
from tokentrail import Tracker
from tokentrail.errors import ConfigurationError
from tokentrail.server import Access, create_app
from tokentrail.server._gate import MOST_BODY
from tokentrail.server._keys import LINK_SECONDS, Keyring, sign_link, token_of

OPEN = {"/healthz", "/open"}


def routes(app: FastAPI) -> Iterator[tuple[str, str]]:
    """Every method and path there is, found by walking the app: a new one cannot be forgotten."""
    for route in routes_of(app):
        for method in sorted(route.methods or {"GET"}):
            yield method, route.path.replace("{", "").replace("}", "")


def routes_of(app: FastAPI) -> list[Any]:
    """Those of included routers too, which older versions of FastAPI copied into the app."""
    walk = getattr(fastapi.routing, "iter_route_contexts", iter)
    return list(walk(app.routes))


async def send(client: httpx.AsyncClient, method: str, path: str, **headers: str) -> httpx.Response:
    """One request that would be good but for its headers."""
    given = {name.replace("_", "-"): value for name, value in headers.items()}
    if method == "POST":
        given.setdefault("content-type", "application/json")
    return await client.request(method, path, headers=given, content=b"{}" if method == "POST" else None)


def test_the_walk_finds_every_route(still_app: FastAPI) -> None:
    """The walk sees the routes of the included router too, or the tests below would test nothing."""
    found = {path for _, path in routes(still_app)}
    assert {
        "/healthz",
        "/metrics",
        "/",
        "/api/v1/overview",
        "/api/v1/active/stream",
        "/api/v1/calls",
    } <= found
    assert {f"{path}" for path in still_app.openapi()["paths"]} <= {
        route.path for route in routes_of(still_app)
    }


WRONG = {
    "no token": {},
    "wrong": {"authorization": "Bearer nonsense"},
    "empty": {"authorization": "Bearer "},
    "no scheme": {"authorization": TOKEN},
    "wrong scheme": {"authorization": f"Basic {TOKEN}"},
    "longer": {"authorization": f"Bearer {TOKEN}x"},
    "very long": {"authorization": "Bearer " + "x" * 50_000},
    "cookie": {"cookie": f"tokentrail_default={TOKEN}", "sec_fetch_site": "same-origin"},
    "query": {},
}


@pytest.mark.parametrize("how", WRONG)
async def test_without_a_good_token_every_route_says_the_same(still_app: FastAPI, how: str) -> None:
    """401, and one body for all of them."""
    async with client_of(still_app, token=None) as client:
        query = f"?token={TOKEN}" if how == "query" else ""
        answers = [
            await send(client, method, path + query, **WRONG[how])
            for method, path in routes(still_app)
            if path not in OPEN
        ]
        refused = await send(client, "GET", "/api/v1/overview", **WRONG[how])
    assert {answer.status_code for answer in answers} == {401}
    assert {answer.content for answer in answers} <= {refused.content, b""}  # nothing follows a HEAD
    assert refused.headers["www-authenticate"] == "Bearer"


async def test_tokens_that_are_no_text(still_app: FastAPI) -> None:
    """Bytes beyond ASCII are a wrong token and no error of ours; two headers are none."""
    async with client_of(still_app, token=None) as client:
        for value in (b"Bearer \xff\xfe", "Bearer münchen".encode(), b"Bearer \x00"):
            answer = await client.get("/api/v1/overview", headers=[(b"authorization", value)])
            assert answer.status_code == 401
        twice = [(b"authorization", f"Bearer {TOKEN}".encode())] * 2
        assert (await client.get("/api/v1/overview", headers=twice)).status_code == 401


async def test_a_path_that_is_none_needs_a_token_too(still_app: FastAPI) -> None:
    """Without a token nobody learns what is there."""
    async with client_of(still_app, token=None) as client:
        assert (await client.get("/nothing/here")).status_code == 401


HOSTS = (
    "evil.example", "127.0.0.1.evil.example", "localhost.", "localhost.evil.example",
    "localhost:evil.example", "127.0.0.1:80@evil", "10.0.0.1", "192.168.0.1:8000",
    "[::2]", "localhost:999999", "", "local host",
)  # fmt: skip


@pytest.mark.parametrize("host", HOSTS)
async def test_a_foreign_host_is_refused_by_every_route(still_app: FastAPI, host: str) -> None:
    """Also with the token, also by `/healthz`."""
    async with client_of(still_app) as client:
        for method, path in routes(still_app):
            assert (await send(client, method, path, host=host)).status_code == 421, path


@pytest.mark.parametrize(
    "host", ["localhost", "LOCALHOST:8377", "127.0.0.1:1", "[::1]:8377", "stats.example"]
)
async def test_own_hosts_are_answered(still_tracker: Tracker, host: str) -> None:
    """Loopback's names, and those that were named."""
    app = create_app(still_tracker, token=TOKEN, allowed_hosts=["stats.example"])
    async with client_of(app) as client:
        assert (await client.get("/healthz", headers={"host": host})).status_code == 200


@pytest.mark.parametrize("name", ["*", "*.example.com", "10.*", "example.com:80", "http://x", ""])
def test_hosts_are_exact_names(still_tracker: Tracker, name: str) -> None:
    """No patterns, no ports."""
    with pytest.raises(ConfigurationError, match="no host name"):
        create_app(still_tracker, token=TOKEN, allowed_hosts=[name])


@pytest.mark.parametrize(
    "headers",
    [
        {"origin": "https://evil.example"},
        {"origin": "null"},
        {"origin": "http://localhost:9999"},
        {"origin": "http://["},
        {"sec_fetch_site": "cross-site"},
        {"sec_fetch_site": "same-site"},
    ],
)
async def test_pages_of_others_are_refused_by_every_route(
    still_app: FastAPI, headers: dict[str, str]
) -> None:
    """Even with the token; and nothing says that another origin may read."""
    async with client_of(still_app) as client:
        for method, path in routes(still_app):
            answer = await send(client, method, path, **headers)
            assert answer.status_code == 403, path
            assert not [name for name in answer.headers if name.startswith("access-control")]


async def test_every_answer_carries_the_headers(still_app: FastAPI) -> None:
    """Good ones and bad ones."""
    async with client_of(still_app) as client:
        for method, path in (("GET", "/api/v1/overview"), ("GET", "/nothing"), ("POST", "/api/v1/calls")):
            headers = (await send(client, method, path)).headers
            assert headers["cache-control"] == "no-store"
            assert headers["x-content-type-options"] == "nosniff"
            assert headers["referrer-policy"] == "no-referrer"
            assert "default-src 'self'" in headers["content-security-policy"]
            assert "frame-ancestors 'none'" in headers["content-security-policy"]
            assert "unsafe" not in headers["content-security-policy"]


# --- bodies --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "kind", ["", "text/plain", "application/x-www-form-urlencoded", "multipart/form-data"]
)
async def test_a_form_of_another_site_is_no_json(asker: httpx.AsyncClient, kind: str) -> None:
    """What a browser sends anywhere without asking is not taken."""
    answer = await asker.post("/api/v1/calls", content=b'{"model": "m"}', headers={"content-type": kind})
    assert answer.status_code == 415


async def test_a_fat_body_is_refused(asker: httpx.AsyncClient) -> None:
    """By its length, and by counting where no length is told."""
    fat = json.dumps({"model": "m", "error_message": "x" * MOST_BODY}).encode()
    headers = {"content-type": "application/json"}
    assert (await asker.post("/api/v1/calls", content=fat, headers=headers)).status_code == 413

    async def pieces() -> object:
        for start in range(0, len(fat), 1000):
            yield fat[start : start + 1000]

    assert (await asker.post("/api/v1/calls", content=pieces(), headers=headers)).status_code == 413


@pytest.mark.parametrize(
    "body", [b"", b"{", b"[" * 30_000, b'{"a":' * 10_000, b"\xff", b"null", b'"text"', b"NaN"]
)
async def test_a_body_that_is_none(asker: httpx.AsyncClient, body: bytes) -> None:
    """Deep, broken or of another kind: the sentence says so, and nothing falls over."""
    answer = await asker.post("/api/v1/calls", content=body, headers={"content-type": "application/json"})
    assert answer.status_code == 422
    assert isinstance(answer.json()["detail"], str)


# --- tokens and links ----------------------------------------------------------------------------


def test_the_token_is_made_once_and_for_us_only(tmp_path: Path) -> None:
    """43 characters of randomness in a file that only its owner may read."""
    folder = tmp_path / "data"
    token = token_of(folder)
    assert len(token) == 43
    assert token_of(folder) == token
    file = folder / "server-token"
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert [path.name for path in folder.iterdir()] == ["server-token"]
    file.chmod(0o644)
    with pytest.raises(ConfigurationError, match="read by others"):
        token_of(folder)


def test_a_planted_link_is_no_token(tmp_path: Path) -> None:
    """A symbolic link is refused, not followed."""
    (tmp_path / "elsewhere").write_text("x" * 50)
    (tmp_path / "server-token").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(ConfigurationError, match="cannot be used"):
        token_of(tmp_path)


async def test_the_kept_token_opens_the_app(still_tracker: Tracker) -> None:
    """Without `token=` the one in the data directory counts."""
    app = create_app(still_tracker)
    async with client_of(app, token=token_of(still_tracker.settings.data_dir)) as client:
        assert (await client.get("/api/v1/overview")).status_code == 200
    async with client_of(app, token=TOKEN) as client:
        assert (await client.get("/api/v1/overview")).status_code == 401


def test_an_empty_token_is_refused(still_tracker: Tracker) -> None:
    """Loudly, and before anything is served."""
    with pytest.raises(ConfigurationError, match="empty"):
        create_app(still_tracker, token="")


async def test_a_link_opens_the_page_once(still_tracker: Tracker) -> None:
    """A code becomes a cookie that no script reads and no other site sends; a second time it is spent."""
    app = create_app(still_tracker, token=TOKEN)
    async with client_of(app, token=None, base_url="http://127.0.0.1:8377") as client:
        code = sign_link(TOKEN, time.time())
        answer = await client.get("/open", params={"code": code})
        assert (answer.status_code, answer.headers["location"]) == (303, "/")
        cookie = answer.headers["set-cookie"]
        assert cookie.startswith("tokentrail_8377=")
        assert {"HttpOnly", "SameSite=strict", "Path=/"} <= {part.strip() for part in cookie.split(";")}
        assert TOKEN not in cookie
        own = {"sec-fetch-site": "same-origin"}
        assert (await client.get("/api/v1/overview", headers=own)).status_code == 200
        assert (await client.get("/", headers={"sec-fetch-site": "none"})).status_code == 200
        # A cookie comes by itself: without the browser's word for whose page it was, it is nothing.
        assert (await client.get("/api/v1/overview")).status_code == 401
        assert (
            await client.get("/api/v1/overview", headers={"sec-fetch-site": "cross-site"})
        ).status_code == 403
        assert (await client.get("/open", params={"code": code})).status_code == 401
        # And a page's POST must say its origin.
        body = {"json": {"model": "m"}}
        assert (await client.post("/api/v1/calls", **body, headers=own)).status_code == 403
        own["origin"] = "http://127.0.0.1:8377"
        assert (await client.post("/api/v1/calls", **body, headers=own)).status_code == 201


def test_links_run_out_and_cannot_be_made_up() -> None:
    """Only the holder of the token can sign one, and only for a while."""
    now = 1_000_000.0
    keys = Keyring({TOKEN: Access()}, now=lambda: now)
    good = sign_link(TOKEN, now)
    for code in ("", "..", "x", good[:-1], sign_link("another token", now), f"9{good}", "٣.x." + "0" * 64):
        assert keys.redeem(code) is None
    assert keys.redeem(sign_link(TOKEN, now - LINK_SECONDS)) is None
    assert keys.redeem(sign_link(TOKEN, now + 10_000)) is None
    assert keys.redeem(good) is not None
