"""How the ledger itself is doing."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter, Request, Response
from pydantic import Field

from tokentrail import __version__
from tokentrail._stats._answers import Answer
from tokentrail.server._access import READ
from tokentrail.server._answering import access_of, as_json, problems
from tokentrail.server._ledger import OFF, Ledger


class Health(Answer):
    """How the ledger itself is doing."""

    status: str
    """`ok`; `disabled`; `degraded` while calls wait for a store that does not answer, or some were lost."""
    version: str
    enabled: bool
    hint: str | None = None
    """Where recording is off: how to turn it on."""
    active: int | None = None
    """Calls that run now."""
    tracker: dict[str, Any] | None = Field(
        default=None,
        description="`Tracker.health()`: backlog, written, lost by reason, durability, warnings.",
    )


def add_health(router: APIRouter, ledger: Ledger) -> None:
    """Add the route."""

    @router.get(
        "/health", response_model=Health, responses=problems(503), operation_id="health", tags=["now"]
    )
    async def health(request: Request) -> Response:
        """Backlog, rows written, what was lost and why, durability, warnings.

        A token that sees only a part of the calls learns only whether they are recorded.
        """
        access = access_of(request, READ)
        return as_json(await ledger.run(_health, ledger, bool(access.where)))


def _health(ledger: Ledger, in_short: bool) -> Health:
    enabled = ledger.is_enabled
    told: dict[str, Any] = {"version": __version__, "enabled": enabled, "hint": None if enabled else OFF}
    if in_short:
        return Health(status="ok" if enabled else "disabled", **told)
    inner = None if ledger.tracker is None else ledger.tracker.health()
    if inner is not None:
        inner.pop("journal", None)  # a path of this machine
    unwell = inner is not None and bool(inner["lost"] or inner["last_error"])
    status = "disabled" if not enabled else "degraded" if unwell else "ok"
    return Health(status=status, active=len(ledger.running()), tracker=inner, **told)
