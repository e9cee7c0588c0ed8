"""`user`: hand out, or delete, all that is kept about one user."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from tokentrail._cli import options
from tokentrail._cli.ledger import opened
from tokentrail._cli.show import Show, put_json

if TYPE_CHECKING:
    from tokentrail._stats._users import UserData

user = typer.Typer(
    help="All that is kept about one user: hand it out, or delete it.",
    no_args_is_help=True,
    rich_markup_mode=None,
)
_Id = Annotated[str, typer.Argument(metavar="USER_ID", help="Exactly this user; no patterns.")]
_Yes = Annotated[bool, typer.Option("--yes", "-y", help="Delete without asking.")]


@user.command("export")
def export_user(
    user_id: _Id,
    path: Annotated[str, typer.Argument(help="A file of JSON lines; - for the standard output.")],
    organization: options.Organization = None,
    database: options.Database = None,
    as_json: options.AsJson = False,
) -> None:
    """Write calls, payloads, messages, tool calls, feedback, sessions and errors of a user to a file."""
    with opened(options.settings_for(database)) as questions:
        found = questions.export_user(user_id, path, organization_id=organization)
    if path != "-":
        _put("user_export", found, "Written", as_json=as_json)


@user.command("delete")
def delete_user(
    user_id: _Id,
    organization: options.Organization = None,
    yes: _Yes = False,
    database: options.Database = None,
    as_json: options.AsJson = False,
) -> None:
    """Delete all that is kept about a user, from every table and every sum."""
    if not yes:
        typer.confirm(f"Delete all that is kept about user {user_id!r}?", abort=True, err=True)
    with opened(options.settings_for(database)) as questions:
        found = questions.delete_user(user_id, organization_id=organization)
    _put("user_delete", found, "Deleted", as_json=as_json)


def _put(kind: str, found: UserData, done: str, *, as_json: bool) -> None:
    if as_json:
        put_json(kind, **found.model_dump(mode="json"))
        return
    parts = [f"{count:,} {name.replace('_', ' ')}" for name, count in found.rows.items() if count]
    show = Show()
    show.line(f"{done}: {', '.join(parts)}." if parts else f"Nothing is kept about user {found.user_id!r}.")
