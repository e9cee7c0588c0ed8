"""`budget`: set, list, check and remove; a check ends with 1 where a budget is used up, for CI."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from tokentrail._cli import options
from tokentrail._cli.ledger import opened
from tokentrail._cli.questions import field_of
from tokentrail._cli.show import COUNT, DOLLARS, SHARE, TEXT, Show, put_json, written
from tokentrail.errors import QueryError

if TYPE_CHECKING:
    from tokentrail._budgets import BudgetInfo

OVER: Final = 1
"""The exit code where a budget is used up."""

budget = typer.Typer(
    help="What calls may cost: soft limits, that warn and that CI can ask.",
    no_args_is_help=True,
    rich_markup_mode=None,
)
_Name = Annotated[str, typer.Argument(help="The budget's name.")]


@budget.command("set")
def set_budget(
    name: _Name,
    usd: Annotated[float | None, typer.Option(help="Dollars in each window; or")] = None,
    tokens: Annotated[int | None, typer.Option(help="billed tokens in each window.")] = None,
    period: Annotated[
        str, typer.Option(help="hour, day, week, month, total, or a rolling span: 24h, 30d.")
    ] = "month",
    tz: options.Zone = "UTC",
    per: Annotated[
        str | None, typer.Option(help="A field each of whose values has this budget: user, session, model, …")
    ] = None,
    threshold: Annotated[
        list[float] | None,
        typer.Option(help="A share of the limit at which to warn; repeatable.", show_default="0.8 and 1"),
    ] = None,
    model: options.Model = None,
    provider: options.Provider = None,
    user: options.User = None,
    session: options.Session = None,
    client: options.Client = None,
    project: Annotated[list[str] | None, typer.Option(help="Only this project.")] = None,
    organization: Annotated[list[str] | None, typer.Option(help="Only this organization.")] = None,
    call_type: options.CallType = None,
    tag: options.Tag = None,
    database: options.Database = None,
    as_json: options.AsJson = False,
) -> None:
    """Set a budget, or replace the one of that name."""
    scope = {
        "model": model,
        "provider": provider,
        "user_id": user,
        "session_id": session,
        "client_id": client,
        "project_id": project,
        "organization_id": organization,
        "call_type": call_type,
        "tag": tag,
    }
    with opened(options.settings_for(database)) as questions:
        questions.set_budget(
            name,
            limit_usd=usd,
            limit_tokens=tokens,
            period=period,
            tz=tz,
            per=None if per is None else field_of(per),
            thresholds=threshold or (0.8, 1.0),
            **{field: wanted for field, wanted in scope.items() if wanted},
        )
        found = questions.budgets(name).items
    _put(found, as_json=as_json)


@budget.command("list")
def list_budgets(database: options.Database = None, as_json: options.AsJson = False) -> None:
    """All budgets, and how far each is used."""
    with opened(options.settings_for(database)) as questions:
        found = questions.budgets().items
    _put(found, as_json=as_json)


@budget.command("check")
def check(
    name: Annotated[str | None, typer.Argument(help="Only this budget.", show_default="all")] = None,
    database: options.Database = None,
    as_json: options.AsJson = False,
) -> None:
    """End with 1 if a budget is used up, with 0 if none is."""
    with opened(options.settings_for(database)) as questions:
        found = questions.budgets(name).items
    over = [each for each in found if each.is_over]
    if as_json:
        put_json("budget_check", ok=not over, budgets=[each.model_dump(mode="json") for each in found])
    else:
        _put(found, as_json=False)
        for each in over:
            Show().line(f"Used up: {_named(each)}")
    if over:
        raise typer.Exit(OVER)


@budget.command("remove")
def remove(name: _Name, database: options.Database = None) -> None:
    """Forget a budget."""
    with opened(options.settings_for(database)) as questions:
        if not questions.remove_budget(name):
            raise QueryError(f"There is no budget {name!r}. `tokentrail budget list` shows them.")
    Show().line(f"Removed: {name}")


# --- showing -------------------------------------------------------------------------------------


def _put(found: Sequence[BudgetInfo], *, as_json: bool) -> None:
    if as_json:
        put_json("budgets", budgets=[each.model_dump(mode="json") for each in found])
        return
    show = Show()
    if not found:
        show.line("No budget is set, or nothing was used. To set one:  tokentrail budget set team --usd 100")
        return
    columns = (
        ("budget", TEXT),
        ("window", TEXT),
        ("used", TEXT),
        ("limit", TEXT),
        ("left", TEXT),
        ("share", SHARE),
        ("calls", COUNT),
        ("no price", COUNT),
        ("no usage", COUNT),
    )
    show.table(columns, [_cells(each) for each in found])


def _cells(found: BudgetInfo) -> list[Any]:
    kind = DOLLARS if found.unit == "usd" else COUNT
    window = found.period if found.window_end is None else f"{found.period} ({found.tz})"
    return [
        _named(found),
        window,
        *(written(kind, value) for value in (found.used, found.total_budget, found.remaining_budget)),
        found.budget_used_percent / 100,
        found.total_requests,
        found.unpriced_requests,
        found.missing_usage_requests,
    ]


def _named(found: BudgetInfo) -> str:
    return found.name if found.key is None else f"{found.name} · {found.key}"
