"""One route for each statistic of the catalog: a new statistic has one by itself."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any, Final

from fastapi import APIRouter, Request, Response
from pydantic import BaseModel

from tokentrail._stats._catalog import STATS, Statistic
from tokentrail.errors import QueryError
from tokentrail.server._access import READ, Access
from tokentrail.server._answering import NotFoundError, access_of, problems
from tokentrail.server._answers import Answers
from tokentrail.server._ledger import Ledger
from tokentrail.server._parameters import Parameters

OWN: Final = frozenset({"running-totals"})
"""Paths that have routes elsewhere, because a tracker knows more than the store."""


def add_statistics(router: APIRouter, ledger: Ledger) -> None:
    """Add the routes."""
    answers = Answers(ledger)
    for statistic in STATS.values():
        if statistic.path not in OWN:
            _add(router, ledger, answers, statistic)


def _add(router: APIRouter, ledger: Ledger, answers: Answers, statistic: Statistic) -> None:
    parameters = Parameters(statistic.parameters, filtered=statistic.filtered)
    in_path = [name for name in parameters.known if f"{{{name}}}" in statistic.path]
    router.add_api_route(
        f"/{statistic.path}",
        _endpoint(ledger, answers, statistic, parameters),
        response_model=statistic.answer,
        responses=problems(422, 503, *([404] if statistic.may_be_missing or in_path else [])),
        summary=statistic.summary.split(". ")[0].rstrip("."),
        description=statistic.summary,
        operation_id=statistic.name,
        tags=["statistics"],
        openapi_extra={"parameters": parameters.describe(path=in_path)},
    )


def _endpoint(
    ledger: Ledger, answers: Answers, statistic: Statistic, parameters: Parameters
) -> Callable[[Request], Awaitable[Response]]:
    async def endpoint(request: Request) -> Response:
        access = access_of(request, READ)
        given = parameters.read(request.query_params, path=request.path_params)
        arguments = {**given, **request.path_params}
        question = (statistic.name, repr(sorted(arguments.items())), repr(sorted(access.where.items())))
        body = await answers.find(question, _body, ledger, statistic, arguments, access)
        return Response(body, media_type="application/json")

    return endpoint


def _body(ledger: Ledger, statistic: Statistic, arguments: dict[str, Any], access: Access) -> bytes:
    found: BaseModel = answer(ledger, statistic, arguments, access)
    return found.model_dump_json().encode()


def answer(ledger: Ledger, statistic: Statistic, arguments: dict[str, Any], access: Access) -> Any:
    """Ask a statistic on behalf of somebody.

    Raises:
        NotFoundError: there is nothing, or nothing that they may see.
    """
    if any("\0" in value for value in arguments.values() if isinstance(value, str)):
        raise QueryError("A NUL is in no name.")
    if statistic.filtered:
        arguments = access.narrow(arguments)
    found = statistic.ask(ledger.stats, **arguments)
    if (
        found is None
        or not getattr(found, "found", True)
        or (not statistic.filtered and not access.sees(found))
    ):
        raise NotFoundError(f"There is no such {statistic.name.replace('_', ' ')}.")
    return found
