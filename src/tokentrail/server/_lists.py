"""Lists that are calls of one kind."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from fastapi import APIRouter, Request, Response

from tokentrail._query import Exact
from tokentrail._stats._answers import CallPage
from tokentrail._stats._catalog import STATS
from tokentrail.server._access import READ
from tokentrail.server._answering import access_of, as_json, problems
from tokentrail.server._ledger import Ledger
from tokentrail.server._parameters import Parameters

_PAGES: Final[Mapping[str, tuple[str, str, dict[str, Any]]]] = {
    "embedding-calls": (
        "embedding_calls",
        "Calls of embedding models, newest first",
        {"call_type": Exact("embedding")},
    ),
}
"""Path → name, what it is, and the filter that makes it so."""


def add_lists(router: APIRouter, ledger: Ledger) -> None:
    """Add the routes."""
    for path, (name, summary, fixed) in _PAGES.items():
        _add_page(router, ledger, path, name, summary, fixed)


def _add_page(
    router: APIRouter, ledger: Ledger, path: str, name: str, summary: str, fixed: dict[str, Any]
) -> None:
    parameters = Parameters(STATS["calls"].parameters, filtered=True).without(fixed)

    async def page(request: Request) -> Response:
        access = access_of(request, READ)
        asked = access.narrow(parameters.read(request.query_params))
        return as_json(await ledger.run(lambda: ledger.stats.calls(**asked, **fixed)))

    router.add_api_route(
        f"/{path}",
        page,
        response_model=CallPage,
        responses=problems(422, 503),
        summary=summary,
        operation_id=name,
        tags=["lists"],
        openapi_extra={"parameters": parameters.describe()},
    )
