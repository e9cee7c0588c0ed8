"""The API as a router: for the app of `create_app`, and for an app of yours."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Annotated, Any, Final

from fastapi import APIRouter, Depends, Request
from fastapi.params import Depends as DependsParameter

from tokentrail._tracker import Tracker
from tokentrail.errors import ConfigurationError
from tokentrail.server._access import EVERYTHING, Access
from tokentrail.server._answering import ExplainedRoute
from tokentrail.server._export import add_export
from tokentrail.server._feed import Feed
from tokentrail.server._gate import ACCESS, UNKNOWN, Refusal
from tokentrail.server._health import add_health
from tokentrail.server._keys import Keyring, keyring
from tokentrail.server._ledger import PATIENCE, Ledger
from tokentrail.server._lists import add_lists
from tokentrail.server._now import add_now
from tokentrail.server._statistics import add_statistics
from tokentrail.server._writing import add_writing

PREFIX: Final = "/api/v1"


def create_router(
    source: Tracker | str,
    *,
    dependencies: Sequence[DependsParameter] | None = None,
    access: Callable[..., Any] | None = None,
    token: str | None = None,
    tokens: Mapping[str, Access] | None = None,
    prefix: str = PREFIX,
    query_timeout: float = PATIENCE,
) -> APIRouter:
    """The API for a FastAPI app of yours, behind that app's own authentication.

    The app's host names, CORS and headers are the app's; without `dependencies` and `access` every route
    needs a token of ours, as in `create_app`.

    Args:
        source: a tracker, or the URL of a database that other programs write to.
        dependencies: what must be passed first, e.g. `[Depends(current_user)]`; who passes may do everything.
        access: a dependency that returns the `Access` of the one who asks, e.g. bound to an organisation.
        token: without `dependencies` and `access`: the token; default the one in the data directory.
        tokens: likewise, several: token → `Access`.
        prefix: where the API begins.
        query_timeout: seconds a question may take; then the answer is 503.

    Raises:
        ConfigurationError: tokens and an authentication of yours were both given, or a token is empty.

    Example:
        >>> app = FastAPI()
        >>> app.include_router(create_router(tracker, dependencies=[Depends(current_user)]))
    """
    ledger = Ledger(source, patience=query_timeout)
    own = dependencies is not None or access is not None
    if own and (token is not None or tokens is not None):
        raise ConfigurationError("token: dependencies or access say who may ask. Give these or a token.")
    if access is not None:
        admit = _by(access)
    elif own:
        admit = _everybody
    else:
        admit = _by_token(keyring(token, tokens, ledger.settings.data_dir))
    return api(ledger, Feed(ledger), prefix, [*(dependencies or ()), Depends(admit)])


def api(ledger: Ledger, feed: Feed, prefix: str, dependencies: Sequence[DependsParameter]) -> APIRouter:
    """All routes."""
    router = APIRouter(prefix=prefix, dependencies=list(dependencies), route_class=ExplainedRoute)
    add_now(router, ledger, feed)
    add_lists(router, ledger)
    add_export(router, ledger)
    add_health(router, ledger)
    add_writing(router, ledger)
    add_statistics(router, ledger)
    return router


# --- who is let in -------------------------------------------------------------------------------


def _everybody(request: Request) -> None:
    request.scope[ACCESS] = EVERYTHING


def _by(access: Callable[..., Any]) -> Callable[..., None]:
    def admit(request: Request, granted: Annotated[Any, Depends(access)]) -> None:
        if not isinstance(granted, Access):
            raise Refusal(403, "Nobody has said what you may do here.")
        request.scope[ACCESS] = granted

    # The annotation of a closure is no name that could be looked up later.
    admit.__annotations__ = {"request": Request, "granted": Annotated[Any, Depends(access)]}
    return admit


def _by_token(keys: Keyring) -> Callable[..., None]:
    def admit(request: Request) -> None:
        granted = keys.by_bearer(
            [value.encode("latin-1") for value in request.headers.getlist("authorization")]
        )
        if granted is None:
            raise Refusal(401, UNKNOWN, {"www-authenticate": "Bearer"})
        request.scope[ACCESS] = granted

    return admit
