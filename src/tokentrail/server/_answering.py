"""How a route answers: pydantic models as JSON, and what is wrong as one sentence."""

from __future__ import annotations

import logging
from collections.abc import Callable, Coroutine
from typing import Any, Final

from fastapi import Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.routing import APIRoute
from pydantic import BaseModel, TypeAdapter
from starlette.exceptions import HTTPException

from tokentrail._stats._answers import Answer
from tokentrail.errors import ConfigurationError, QueryError, QueryTimeoutError, StoreError
from tokentrail.server._access import Access, ForbiddenError
from tokentrail.server._gate import ACCESS, UNKNOWN

_log = logging.getLogger("tokentrail.server")
_ANY: Final = TypeAdapter(Any)


class Problem(Answer):
    """Why there is no answer."""

    detail: str
    """One sentence; where a parameter is wrong, it begins with its name."""


class NotFoundError(Exception):
    """There is no such thing, or none that this access may see."""


_PROBLEMS: Final = {
    401: "No token, or one that is not known.",
    403: "The token does not reach that far.",
    404: "There is no such thing.",
    413: "The body is too large.",
    415: "The body is no JSON.",
    421: "Not one of this server's host names.",
    422: "A parameter or the body is wrong; the sentence names it.",
    503: "The database does not answer, or not in time.",
}


def problems(*codes: int) -> dict[int | str, dict[str, Any]]:
    """What may go wrong, for OpenAPI."""
    return {code: {"model": Problem, "description": _PROBLEMS[code]} for code in (401, 403, 421, *codes)}


def problem(status: int, detail: str, headers: dict[str, str] | None = None) -> Response:
    """An answer that says why there is none."""
    return Response(Problem(detail=detail).model_dump_json(), status, headers, media_type="application/json")


def as_json(answer: BaseModel | dict[str, Any], status: int = 200) -> Response:
    """An answer as JSON."""
    body = answer.model_dump_json() if isinstance(answer, BaseModel) else _ANY.dump_json(answer)
    return Response(body, status, media_type="application/json")


def access_of(request: Request, scope: str) -> Access:
    """What this request may do, provided it may do that.

    Raises:
        ForbiddenError: it may not.
    """
    access: Access | None = request.scope.get(ACCESS)
    if access is None:
        raise ForbiddenError("Nobody has said who may ask this.")
    access.require(scope)
    return access


class ExplainedRoute(APIRoute):
    """A route whose errors are answers: also in an app that knows nothing of our exceptions."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        """The handler, guarded."""
        handle = super().get_route_handler()

        async def explained(request: Request) -> Response:
            try:
                return await handle(request)
            except Exception as error:
                answer = _explain(error)
                if answer is None:
                    raise
                return answer

        return explained


def _explain(error: Exception) -> Response | None:
    if isinstance(error, QueryError):
        return problem(422, str(error))
    if isinstance(error, RequestValidationError):
        return problem(422, _sentence(error))
    if isinstance(error, HTTPException) and error.status_code == 400:  # FastAPI's word for a broken body
        return problem(422, "body: it is no JSON.")
    if isinstance(error, ForbiddenError):
        return problem(403, str(error))
    if isinstance(error, NotFoundError):
        return problem(404, str(error))
    if isinstance(error, QueryTimeoutError):
        return problem(503, str(error), {"retry-after": "5"})
    if isinstance(error, (StoreError, ConfigurationError)):
        # Its text names hosts and paths, and is for the one who runs the server.
        _log.error("%s", error)
        return problem(503, "The database does not answer. The server's log says more.", {"retry-after": "5"})
    return None


def _sentence(error: RequestValidationError) -> str:
    first = error.errors()[0]
    place = ".".join(str(part) for part in first["loc"] if part != "body")
    return f"{place or 'body'}: {str(first['msg']).removeprefix('Value error, ')}"


def unauthorised() -> Response:
    """The one answer to every request without a good token."""
    return problem(401, UNKNOWN, {"www-authenticate": "Bearer"})
