"""Lists that are calls of one kind, and everything at once."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from fastapi import APIRouter, Request, Response

from tokentrail._query import Exact
from tokentrail._stats._answers import Answer, CallPage, Overview
from tokentrail._stats._catalog import STATS, Parameter
from tokentrail._stats._conversation_answers import ErrorPage, FeedbackPage, MessagePage, ToolCallPage
from tokentrail._stats._sessions import SessionPage
from tokentrail.server._access import READ, Access
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
_FIRST: Final = 50


class Data(Answer):
    """Everything a first look needs."""

    overview: Overview
    llm_calls: CallPage
    embedding_calls: CallPage
    tool_calls: ToolCallPage
    messages: MessagePage
    sessions: SessionPage
    errors: ErrorPage
    feedback: FeedbackPage
    total_count: dict[str, int]
    """How many there are of each."""


def add_lists(router: APIRouter, ledger: Ledger) -> None:
    """Add the routes."""
    for path, (name, summary, fixed) in _PAGES.items():
        _add_page(router, ledger, path, name, summary, fixed)
    _add_data(router, ledger)


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


def _add_data(router: APIRouter, ledger: Ledger) -> None:
    limit = Parameter("limit", int, _FIRST, least=1, most=1000, help="Rows of each list.")
    parameters = Parameters((limit,), filtered=True)

    @router.get(
        "/data",
        response_model=Data,
        responses=problems(422, 503),
        operation_id="data",
        tags=["lists"],
        openapi_extra={"parameters": parameters.describe()},
    )
    async def data(request: Request) -> Response:
        """The overview, and the first page of each list."""
        access = access_of(request, READ)
        return as_json(await ledger.run(_data, ledger, parameters.read(request.query_params), access))


def _data(ledger: Ledger, given: dict[str, Any], access: Access) -> Data:
    limit, stats = given.pop("limit", _FIRST), ledger.stats
    asked = access.narrow(given)
    pages: dict[str, Any] = {
        name: stats.calls(limit, **{**asked, **fixed}) for name, _, fixed in _PAGES.values()
    }
    pages |= {
        "llm_calls": stats.calls(limit, **asked),
        "tool_calls": stats.tool_calls(limit, **asked),
        "messages": stats.messages(limit, **asked),
        "sessions": stats.sessions(limit, **asked),
        "errors": stats.errors(limit, **asked),
        "feedback": stats.feedback(limit, **asked),
    }
    counts = {name: page.total for name, page in pages.items()}
    return Data(overview=stats.overview(**asked), total_count=counts, **pages)
