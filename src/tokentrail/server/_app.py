"""The whole app: the API, `/healthz`, `/metrics` and the page, behind one gate."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable, Mapping
from contextlib import asynccontextmanager
from typing import Any, Final

from fastapi import FastAPI, Request, Response
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException
from starlette.routing import Match

from tokentrail import __version__
from tokentrail._tracker import Tracker
from tokentrail.server._access import Access
from tokentrail.server._answering import Problem, problem
from tokentrail.server._feed import Feed
from tokentrail.server._gate import Gate
from tokentrail.server._hosts import allowed
from tokentrail.server._keys import Keyring, keyring
from tokentrail.server._ledger import PATIENCE, Ledger
from tokentrail.server._metrics import add_metrics
from tokentrail.server._page import OPEN, add_page
from tokentrail.server._router import PREFIX, api

HEALTHZ: Final = "/healthz"
_METHODS: Final = ("GET", "POST")
_ABOUT: Final = """What programs used of language models: the answers of `tokentrail.Stats`, over HTTP.

Unknown is `null` and never zero; a total comes with its `coverage`. Money is US dollars, durations are
milliseconds, times are ISO 8601 with a zone. Every filter may be repeated, and may hold `*` and `?`. A wrong
or unknown parameter is 422 with a sentence; a `limit` above the cap is taken for the cap, and echoed."""


def create_app(
    source: Tracker | str,
    *,
    token: str | None = None,
    tokens: Mapping[str, Access] | None = None,
    allowed_hosts: Iterable[str] = (),
    query_timeout: float = PATIENCE,
) -> FastAPI:
    """The stats API as an app of its own, to be served, or mounted: `app.mount("/usage", create_app(url))`.

    It needs no lifespan to be run. Every path but `/healthz` needs a token; only requests for loopback's
    names and `allowed_hosts` are answered, and none from pages of other origins.

    Args:
        source: a tracker, or the URL of a database that other programs write to.
        token: what may do everything; default the one in the data directory (`server-token`, mode 0600,
            made when first needed).
        tokens: more of them: token → `Access`, with scopes, bound to an organisation or client if you like.
        allowed_hosts: exact names, without ports, that clients call this server by, beside loopback's.
        query_timeout: seconds a question may take; then the answer is 503.

    Raises:
        ConfigurationError: a token is empty, a host is no name, the token's file cannot be used.
    """
    ledger = Ledger(source, patience=query_timeout)
    return build_app(ledger, keyring(token, tokens, ledger.settings.data_dir), allowed_hosts)


def build_app(ledger: Ledger, keys: Keyring, allowed_hosts: Iterable[str]) -> FastAPI:
    """The app over a ledger."""
    app = FastAPI(
        title="tokentrail",
        version=__version__,
        description=_ABOUT,
        openapi_url=f"{PREFIX}/openapi.json",
        docs_url=None,
        redoc_url=None,
        lifespan=_closing(ledger),
        exception_handlers={HTTPException: _explain_http},
    )
    app.add_middleware(Gate, keys=keys, hosts=allowed(allowed_hosts), open_paths=frozenset((HEALTHZ, OPEN)))
    _add_healthz(app)
    app.state.feed = Feed(ledger)
    app.include_router(api(ledger, app.state.feed, PREFIX, ()))
    add_metrics(app, ledger)
    add_page(app, keys)
    _secure(app)
    return app


def _closing(ledger: Ledger) -> Any:
    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        yield
        ledger.close()

    return lifespan


async def _explain_http(request: Request, error: Exception) -> Response:
    if not isinstance(error, HTTPException):
        raise error
    headers = dict(error.headers or {})
    if error.status_code == 405:
        headers["Allow"] = ", ".join(method for method in _METHODS if _has(request, method))
    return problem(error.status_code, str(error.detail), headers)


def _has(request: Request, method: str) -> bool:
    """Whether a path takes a method. The router itself names those of the first route alone."""
    asked = {**request.scope, "method": method}
    return any(route.matches(asked)[0] is Match.FULL for route in request.app.routes)


def _add_healthz(app: FastAPI) -> None:
    @app.get(HEALTHZ, operation_id="healthz", tags=["operation"], responses={421: {"model": Problem}})
    async def healthz() -> JSONResponse:
        """Whether this server runs. Needs no token, and tells nothing else."""
        return JSONResponse({"status": "ok"})


def _secure(app: FastAPI) -> None:
    """Say in the OpenAPI document that everything else needs a token."""
    make = app.openapi

    def openapi() -> dict[str, Any]:
        if app.openapi_schema is None:
            made = make()
            made.setdefault("components", {})["securitySchemes"] = {
                "token": {"type": "http", "scheme": "bearer"}
            }
            made["security"] = [{"token": []}]
            made["paths"][HEALTHZ]["get"]["security"] = []
            app.openapi_schema = made
        return app.openapi_schema

    app.openapi = openapi  # type: ignore[method-assign]
