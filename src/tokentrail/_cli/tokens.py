"""`token`: who else may ask the server, what, and about whose calls."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from tokentrail._cli import options
from tokentrail._cli.show import TEXT, Show, put_json

if TYPE_CHECKING:
    from tokentrail.server import Access
    from tokentrail.server._tokens import NamedTokens

token = typer.Typer(
    help="Tokens for `tokentrail serve`, each with its own reach. A change counts at once.",
    no_args_is_help=True,
    rich_markup_mode=None,
)
_Name = Annotated[str, typer.Argument(help="The token's name.")]
_Owner = Annotated[str | None, typer.Option(help="Only what is this one's.")]


@token.command("add")
def add(
    name: _Name,
    scope: Annotated[
        list[str] | None,
        typer.Option(help="read, export (whole rows) or write; repeatable.", show_default="read"),
    ] = None,
    organization: _Owner = None,
    project: _Owner = None,
    client: _Owner = None,
    user: _Owner = None,
    as_json: options.AsJson = False,
) -> None:
    """Make a token. It is shown once, and only its digest is kept."""
    from tokentrail.server import Access

    owners = {"organization_id": organization, "project_id": project, "client_id": client, "user_id": user}
    where = {field: value for field, value in owners.items() if value is not None}
    made = _tokens().add(name, Access(scopes=scope or ("read",), where=where))
    if as_json:
        put_json("token", name=name, token=made)
    else:
        Show().line(made)


@token.command("list")
def list_tokens(as_json: options.AsJson = False) -> None:
    """The names, and what each may do."""
    found = _tokens().all()
    if as_json:
        told = [
            {"name": name, "scopes": sorted(each.scopes), "where": dict(each.where)}
            for name, each in found.items()
        ]
        put_json("tokens", tokens=told)
    elif not found:
        Show().line(
            "There is only the server's own. To make one:  tokentrail token add dashboard --scope read"
        )
    else:
        columns = (("token", TEXT), ("may", TEXT), ("sees", TEXT))
        Show().table(columns, [[name, *_reach(each)] for name, each in found.items()])


@token.command("remove")
def remove(name: _Name) -> None:
    """Let a token open nothing any more."""
    _tokens().remove(name)
    Show().line(f"Removed: {name}")


def _reach(access: Access) -> tuple[str, str]:
    bounds = [f"{field}={value}" for field, value in access.where.items()]
    return ", ".join(sorted(access.scopes)), ", ".join(bounds) if bounds else "everything"


def _tokens() -> NamedTokens:
    from tokentrail.server._tokens import NamedTokens

    return NamedTokens(options.settings_for(None).data_dir)
