"""`reprice` and `prices`: what calls cost by today's knowledge, and what that knowledge is."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from tokentrail._cli import options
from tokentrail._cli.progress import progress
from tokentrail._cli.questions import opened
from tokentrail._cli.show import COUNT, DOLLARS, TEXT, Show, put_json, written

if TYPE_CHECKING:
    from tokentrail._stats._reprice import Repriced, Repricing

_COLUMNS: Final = (
    ("calls", "calls", COUNT),
    ("changed", "changed_calls", COUNT),
    ("old", "old_cost_usd", DOLLARS),
    ("new", "new_cost_usd", DOLLARS),
    ("difference", "difference_usd", DOLLARS),
    ("newly priced", "newly_priced", COUNT),
    ("no longer", "no_longer_priced", COUNT),
)
"""Title, attribute of `Repriced`, kind."""


def reprice(
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what would change; write nothing.")] = False,
    forget: Annotated[
        bool, typer.Option("--forget", help="Also forget a cost that no price list knows any more.")
    ] = False,
    database: options.Database = None,
    since: options.Since = None,
    until: options.Until = None,
    tz: options.Zone = "UTC",
    model: options.Model = None,
    provider: options.Provider = None,
    user: options.User = None,
    session: options.Session = None,
    client: options.Client = None,
    call_type: options.CallType = None,
    status: options.Status = None,
    tag: options.Tag = None,
    as_json: options.AsJson = False,
) -> None:
    """Price stored calls anew, with today's lists and your own prices, at each call's own time."""
    asked = options.filters(
        since,
        until,
        tz,
        model=model,
        provider=provider,
        user_id=user,
        session_id=session,
        client_id=client,
        call_type=call_type,
        status=status,
        tag=tag,
    )
    with opened(options.settings_for(database)) as questions, progress(questions, asked) as tell:
        done = questions.reprice(dry_run=dry_run, forget=forget, progress=tell, **asked)
    if as_json:
        put_json("reprice", reprice=done.model_dump(mode="json"))
    else:
        _show(done)


def _show(done: Repricing) -> None:
    show = Show()
    changed = [model for model in done.models if model.changed_calls]
    if changed:
        columns = [("model", TEXT), ("provider", TEXT), *((title, kind) for title, _, kind in _COLUMNS)]
        rows = [(model.model, model.provider, *_cells(model)) for model in changed]
        show.table(columns, rows)
        show.line()
    what = "would change" if done.dry_run else "changed"
    old, new = (written(DOLLARS, value) for value in (done.old_cost_usd, done.new_cost_usd))
    show.line(f"{done.changed_calls:,} of {done.calls:,} calls {what}: {old} before, {new} now")
    if done.provider_stated_calls:
        show.line(f"{done.provider_stated_calls:,} calls keep the cost that their provider stated")
    if done.kept:
        show.line(
            f"{done.kept:,} calls keep a cost that no list knows any more (--forget would make it unknown)"
        )
    if done.dry_run and done.changed_calls:
        show.line("Nothing was written. Without --dry-run it will be.")


def _cells(model: Repriced) -> list[Any]:
    return [getattr(model, attribute) for _, attribute, _ in _COLUMNS]
