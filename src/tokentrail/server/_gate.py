"""The gate: what every request must pass before any route sees it, and what every answer carries.

A closed door by construction: it stands in front of the whole app, so a new route cannot be forgotten.
"""

from __future__ import annotations

import asyncio
import json
import logging
import secrets
from collections import defaultdict
from collections.abc import Mapping
from typing import Any, Final

from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from tokentrail.server._access import Access
from tokentrail.server._hosts import Place, is_own_origin, place_of
from tokentrail.server._keys import Keyring

MOST_BODY: Final = 64 * 1024
BODY_SECONDS: Final = 10.0
ACCESS: Final = "tokentrail.access"
"""Where the scope of a request holds its `Access`."""

_log = logging.getLogger("tokentrail.server")
_CSP: Final = (
    b"default-src 'self'; img-src 'self' data:; object-src 'none'; base-uri 'none'; form-action 'none'; "
    b"frame-ancestors 'none'"
)
_HEADERS: Final = (
    (b"cache-control", b"no-store"),
    (b"content-security-policy", _CSP),
    (b"cross-origin-opener-policy", b"same-origin"),
    (b"cross-origin-resource-policy", b"same-origin"),
    (b"referrer-policy", b"no-referrer"),
    (b"x-content-type-options", b"nosniff"),
    (b"x-frame-options", b"DENY"),
)  # fmt: skip
_NAMES: Final = frozenset(name for name, _ in _HEADERS)
_HANG_UP: Final = {"connection": "close"}
"""The rest of a body is not waited for."""
_SAFE: Final = ("GET", "HEAD", "OPTIONS")

Headers = dict[bytes, list[bytes]]


class Refusal(HTTPException):
    """A request that goes no further; an HTTPException, because FastAPI lets no other pass from a body."""


UNKNOWN: Final = "A token is needed: the header Authorization: Bearer <token>. For the page:  tokentrail open"


class Gate:
    """ASGI middleware: Host, origin, token, size and content of a body; headers of every answer.

    Args:
        app: what lies behind.
        keys: who is known.
        hosts: the names we answer to.
        open_paths: paths that need no token, because they tell nothing.
    """

    def __init__(
        self, app: ASGIApp, *, keys: Keyring, hosts: frozenset[str], open_paths: frozenset[str]
    ) -> None:
        self._app = app
        self._keys = keys
        self._hosts = hosts
        self._open = open_paths

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Let a request through, or answer it here."""
        if scope["type"] == "websocket":
            await send({"type": "websocket.close", "code": 1008})
        elif scope["type"] != "http":
            await self._app(scope, receive, send)
        else:
            await self._pass(scope, receive, _Answer(send))

    async def _pass(self, scope: Scope, receive: Receive, answer: _Answer) -> None:
        headers: Headers = defaultdict(list)
        for name, value in scope["headers"]:
            headers[name.lower()].append(value)
        try:
            place = self._check_host(headers)
            _check_fetch(headers, place)
            scope[ACCESS] = self._authenticate(scope, headers, place)
            if scope["method"] not in _SAFE:
                receive = _Body(headers, receive)
            await self._app(scope, receive, answer)
        except Refusal as refusal:
            await answer.refuse(refusal)
        except Exception as error:  # noqa: BLE001  nothing of it may reach the other side
            await answer.fail(error)

    def _check_host(self, headers: Headers) -> Place:
        given = headers[b"host"]
        place = place_of(given[0].decode("latin-1")) if len(given) == 1 else None
        if place is None or place[0] not in self._hosts:
            raise Refusal(
                421,
                "This server does not answer to that host name. --allowed-host (allowed_hosts=) adds one.",
            )
        return place

    def _authenticate(self, scope: Scope, headers: Headers, place: Place) -> Access | None:
        if path_of(scope) in self._open:
            return None
        given = headers[b"authorization"]
        access = self._keys.by_bearer(given) if given else self._by_cookie(headers, place)
        if access is None:
            raise Refusal(401, UNKNOWN, {"www-authenticate": "Bearer"})
        return access

    def _by_cookie(self, headers: Headers, place: Place) -> Access | None:
        # A cookie comes by itself, so the browser must say that a page of ours sent the request.
        if _fetch_site(headers) not in ("same-origin", "none"):
            return None
        return self._keys.by_cookie(headers[b"cookie"], cookie_name(place))


# --- what is looked at ---------------------------------------------------------------------------


def path_of(scope: Scope) -> str:
    """The path below where we are mounted."""
    path: str = scope["path"]
    root = scope.get("root_path", "")
    return path[len(root) :] if root and path.startswith(f"{root}/") else path


def cookie_name(place: Place) -> str:
    """Cookies know no ports, and two servers may run on one machine."""
    return f"tokentrail_{place[1] or 'default'}"


def _fetch_site(headers: Headers) -> str:
    return headers[b"sec-fetch-site"][0].decode("latin-1") if headers[b"sec-fetch-site"] else ""


def _check_fetch(headers: Headers, place: Place) -> None:
    if _fetch_site(headers) not in ("", "same-origin", "none"):
        raise Refusal(403, "This request comes from a page of another site.")
    for origin in headers[b"origin"]:
        if not is_own_origin(origin.decode("latin-1"), place):
            raise Refusal(403, "This request comes from a page of another origin.")


def _check_content(headers: Headers) -> None:
    # A form of any site can be sent here without asking; JSON cannot.
    kinds = [kind.partition(b";")[0].strip().lower() for kind in headers[b"content-type"]]
    if kinds != [b"application/json"]:
        raise Refusal(415, "The body must be JSON: send Content-Type: application/json.")
    if headers[b"content-encoding"]:
        raise Refusal(415, "A compressed body is not taken.")
    told = headers[b"content-length"]
    if told and (not told[0].isdigit() or int(told[0]) > MOST_BODY):
        raise _too_large()
    if headers[b"cookie"] and not headers[b"authorization"] and not headers[b"origin"]:
        raise Refusal(403, "A browser's request must say its origin.")


class _Body:
    """`receive`, up to limits, and of JSON only; looked at when somebody wants the body."""

    def __init__(self, headers: Headers, receive: Receive) -> None:
        self._headers = headers
        self._receive = receive
        self._size = 0
        self._deadline: float | None = None

    async def __call__(self) -> Message:
        if self._deadline is None:
            _check_content(self._headers)
            self._deadline = asyncio.get_running_loop().time() + BODY_SECONDS
        try:
            async with asyncio.timeout_at(self._deadline):
                message = await self._receive()
        except TimeoutError:
            raise Refusal(408, "The body did not come in time.", _HANG_UP) from None
        self._size += len(message.get("body", b""))
        if self._size > MOST_BODY:
            raise _too_large()
        return message


def _too_large() -> Refusal:
    return Refusal(413, f"The body is larger than {MOST_BODY // 1024} KiB.", _HANG_UP)


# --- what every answer carries -------------------------------------------------------------------


class _Answer:
    """`send`, with our headers, and with words for what went wrong."""

    def __init__(self, send: Send) -> None:
        self._send = send
        self._begun = False

    async def __call__(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self._begun = True
            given = [(name, value) for name, value in message["headers"] if name.lower() not in _NAMES]
            message = {**message, "headers": [*given, *_HEADERS]}
        await self._send(message)

    async def refuse(self, refusal: Refusal) -> None:
        await self._tell(refusal.status_code, refusal.detail, refusal.headers or {})

    async def fail(self, error: Exception) -> None:
        number = secrets.token_hex(6)
        _log.error("request %s failed", number, exc_info=error)
        if not self._begun:
            await self._tell(
                500, f"Something went wrong here. It is in the server's log as request {number}.", {}
            )
            return
        raise error

    async def _tell(self, status: int, detail: str, headers: Mapping[str, str]) -> None:
        body = json.dumps({"detail": detail}).encode()
        start: dict[str, Any] = {
            "type": "http.response.start",
            "status": status,
            "headers": [
                (b"content-type", b"application/json"),
                (b"content-length", str(len(body)).encode()),
                *((name.encode(), value.encode()) for name, value in headers.items()),
            ],
        }
        await self(start)
        await self._send({"type": "http.response.body", "body": body})
