"""Routes about now: what runs, what ended lately, totals since the tracker was made, and its health."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from typing import Any, Final

from fastapi import APIRouter, Request, Response
from fastapi.responses import StreamingResponse

from tokentrail._query import filters, matcher
from tokentrail._records import iso, now_us
from tokentrail._stats._answers import Answer
from tokentrail._stats._catalog import Parameter
from tokentrail.server._access import READ, Access
from tokentrail.server._answering import access_of, as_json, problem, problems
from tokentrail.server._feed import MOST_LISTENERS, Feed
from tokentrail.server._ledger import OFF, Ledger
from tokentrail.server._parameters import Parameters

_MOST_RECENT: Final = 1000
_MOST_ACTIVE: Final = 10_000
_WHICH: Final = tuple(
    Parameter(name, str, several=True, help=f"Only calls of this {name}; * and ? are allowed.")
    for name in ("provider", "model")
)
_TOTALS: Final = Parameters(
    (
        Parameter(
            "provider", str, help="Only these; * and ? are allowed, upper and lower case are the same."
        ),
        Parameter("model", str, help="Likewise; a call without a model passes no such filter."),
        Parameter("include_active", bool, True, help="Whether running calls count: once, and in no average."),
        Parameter("format", str, "json", choices=("json", "yaml"), help="Or say it with Accept."),
    )
)


class RunningCall(Answer):
    """A call that runs, or has ended lately."""

    id: str
    request_id: str
    """The caller's own name for it, else the id."""
    provider: str | None
    model: str | None
    is_streaming: bool
    duration_ms: float | None
    input_tokens: int | None
    output_tokens: int | None
    cache_read_tokens: int | None
    cache_creation_tokens: int | None
    tool_uses: int | None
    tool_results: int | None
    tool_calls: int | None
    organization_id: str | None
    project_id: str | None
    client_id: str | None
    user_id: str | None
    agent_id: str | None
    session_id: str | None
    call_type: str | None
    status: str


class ActiveCall(RunningCall):
    """A call that runs."""

    requested_model: str | None
    resolved_model: str | None
    qualified_model: str | None
    start_time: float
    """Seconds since the epoch."""
    started_at: str
    request_size: int | None
    message_count: int | None


class Trace(RunningCall):
    """A call that has ended."""

    seq: int
    """Grows from call to call; `since` takes the one last seen."""
    ts: str
    """When it ended."""
    error: str | None
    error_type: str | None


class _Page(Answer):
    total: int
    limit: int
    offset: int = 0
    next_cursor: str | None = None
    enabled: bool
    hint: str | None = None
    """Where recording is off: how to turn it on."""


class ActiveCalls(_Page):
    """The calls that run now, newest first."""

    items: list[ActiveCall]


class Traces(_Page):
    """Calls that ended lately, newest first."""

    items: list[Trace]


def add_now(router: APIRouter, ledger: Ledger, feed: Feed) -> None:
    """Add the routes."""
    _add_active(router, ledger, feed)
    _add_recent(router, ledger, "traces", "Calls that ended lately, newest first", 200)
    _add_recent(router, ledger, "errors", "Calls that failed lately, newest first", 100)
    _add_totals(router, ledger)


def _state(ledger: Ledger) -> dict[str, Any]:
    return {"enabled": ledger.is_enabled, "hint": None if ledger.is_enabled else OFF}


# --- running -------------------------------------------------------------------------------------


def _wanted(arguments: Mapping[str, Any], access: Access) -> Callable[[Mapping[str, Any]], bool]:
    chosen = filters(provider=arguments.get("provider"), model=arguments.get("model")).wanted
    matchers = {name: matcher(name, values) for name, values in chosen.items()}
    return lambda call: access.sees(call) and all(matches(call[name]) for name, matches in matchers.items())


def _add_active(router: APIRouter, ledger: Ledger, feed: Feed) -> None:
    page = Parameters((*_WHICH, Parameter("limit", int, 1000, least=1, most=_MOST_ACTIVE, help="How many.")))
    stream = Parameters(_WHICH)

    @router.get(
        "/active",
        response_model=ActiveCalls,
        responses=problems(422, 503),
        operation_id="active",
        tags=["now"],
        openapi_extra={"parameters": page.describe()},
    )
    async def active(request: Request) -> Response:
        """The calls that run now, in every process that writes to the ledger, newest first."""
        access = access_of(request, READ)
        arguments = page.read(request.query_params)
        wanted, limit = _wanted(arguments, access), arguments.get("limit", 1000)
        calls = [call for call in await ledger.run(ledger.running) if wanted(call)]
        return as_json(
            {"items": calls[:limit], "total": len(calls), "limit": limit, **_REST, **_state(ledger)}
        )

    @router.get(
        "/active/stream",
        response_class=StreamingResponse,
        responses={200: {"content": {"text/event-stream": {}}}, **problems(422, 503)},
        operation_id="active_stream",
        tags=["now"],
        openapi_extra={"parameters": stream.describe()},
    )
    async def active_stream(request: Request) -> Response:
        """The same as server-sent events: `update` at once and on every change; comments in between."""
        wanted = _wanted(stream.read(request.query_params), access_of(request, READ))
        if feed.listeners >= MOST_LISTENERS:
            return problem(503, "Too many listen already.", {"retry-after": "30"})
        return StreamingResponse(
            feed.events(wanted), media_type="text/event-stream", headers={"x-accel-buffering": "no"}
        )


_REST: Final = {"offset": 0, "next_cursor": None}


# --- lately --------------------------------------------------------------------------------------


def _add_recent(router: APIRouter, ledger: Ledger, what: str, summary: str, usual: int) -> None:
    parameters = Parameters(
        (
            Parameter("limit", int, usual, least=1, most=_MOST_RECENT, help="How many."),
            Parameter("since", int, help="The seq of the last one already seen."),
        )
    )

    async def recent(request: Request) -> Response:
        access = access_of(request, READ)
        arguments = parameters.read(request.query_params)
        limit = arguments.get("limit", usual)
        found = await ledger.run(ledger.recent, what, arguments.get("since"), access.where)
        page = {"items": found[:limit], "total": len(found), "limit": limit, **_REST, **_state(ledger)}
        return as_json(page)

    router.add_api_route(
        f"/recent/{what}",
        recent,
        response_model=Traces,
        responses=problems(422, 503),
        summary=summary,
        operation_id=f"recent_{what}",
        tags=["now"],
        openapi_extra={"parameters": parameters.describe()},
    )


# --- totals --------------------------------------------------------------------------------------


def _add_totals(router: APIRouter, ledger: Ledger) -> None:
    @router.get(
        "/running-totals",
        responses={
            200: {"content": {"application/json": {"schema": {"type": "object"}}, "application/yaml": {}}},
            **problems(422, 503),
        },
        operation_id="running_totals",
        tags=["now"],
        openapi_extra={"parameters": _TOTALS.describe()},
    )
    async def running_totals(request: Request) -> Response:
        """Totals: provider → model → total, streaming, non_streaming; as JSON, or YAML when asked.

        With a tracker of its own the server tells the totals since that tracker was made; else those of the
        whole ledger.
        """
        access = access_of(request, READ)
        arguments = _TOTALS.read(request.query_params)
        asked = {name: arguments.get(name) for name in ("provider", "model")}
        include = arguments.get("include_active", True)
        totals = await ledger.run(partial(ledger.running_totals, asked, access.where, include_active=include))
        if _wants_yaml(request, arguments.get("format")):
            return Response("\n".join(_yaml_page(totals, asked)) + "\n", media_type="application/yaml")
        return as_json({**_state(ledger), **totals})


def _wants_yaml(request: Request, said: str | None) -> bool:
    return said == "yaml" or (said is None and "yaml" in request.headers.get("accept", ""))


def _yaml_page(totals: Mapping[str, Any], asked: Mapping[str, Any]) -> Iterator[str]:
    yield f"# Running totals of {iso(now_us())}"
    for name, value in asked.items():
        if value is not None:
            yield f"# {name}: {json.dumps(value)}"
    yield from _yaml(totals)


def _yaml(value: Mapping[str, Any], indent: str = "") -> Iterator[str]:
    """Nested mappings as YAML: every key and value is a JSON scalar, which YAML reads as it is."""
    for key, inner in value.items():
        name = f"{indent}{json.dumps(key)}:"
        if isinstance(inner, Mapping) and inner:
            yield name
            yield from _yaml(inner, indent + "  ")
        else:
            yield f"{name} {json.dumps(inner)}"
