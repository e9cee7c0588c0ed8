"""One route for each statistic of the catalog: a new statistic has one by itself."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any, Final

from fastapi import APIRouter, Request, Response

from tokentrail._stats._catalog import STATS, Statistic
from tokentrail.errors import QueryError
from tokentrail.server._access import READ, Access
from tokentrail.server._answering import NotFoundError, access_of, as_json, problems
from tokentrail.server._ledger import Ledger
from tokentrail.server._parameters import Parameters

OWN: Final = frozenset({"running-totals"})
"""Paths that have routes elsewhere, because a tracker knows more than the store."""


def add_statistics(router: APIRouter, ledger: Ledger) -> None:
    """Add the routes."""
    for statistic in STATS.values():
        if statistic.path not in OWN:
            _add(router, ledger, statistic)


def _add(router: APIRouter, ledger: Ledger, statistic: Statistic) -> None:
    parameters = Parameters(statistic.parameters, filtered=statistic.filtered)
    in_path = [name for name in parameters.known if f"{{{name}}}" in statistic.path]
    router.add_api_route(
        f"/{statistic.path}",
        _endpoint(ledger, statistic, parameters),
        response_model=statistic.answer,
        responses=problems(422, 503, *([404] if statistic.may_be_missing or in_path else [])),
        summary=statistic.summary.split(". ")[0].rstrip("."),
        description=statistic.summary,
        operation_id=statistic.name,
        tags=["statistics"],
        openapi_extra={"parameters": parameters.describe(path=in_path)},
    )


def _endpoint(
    ledger: Ledger, statistic: Statistic, parameters: Parameters
) -> Callable[[Request], Awaitable[Response]]:
    async def endpoint(request: Request) -> Response:
        access = access_of(request, READ)
        arguments = parameters.read(request.query_params, path=request.path_params)
        return as_json(
            await ledger.run(answer, ledger, statistic, {**arguments, **request.path_params}, access)
        )

    return endpoint


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
