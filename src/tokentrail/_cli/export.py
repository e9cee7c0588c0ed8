"""`export`: rows to a file or a pipe; nothing but rows on stdout."""

from __future__ import annotations

from typing import Annotated

import typer

from tokentrail._cli import options
from tokentrail._cli.ledger import opened
from tokentrail._cli.progress import progress

PIPE = "-"


def export(
    kind: Annotated[
        str,
        typer.Argument(help="What: calls (every column), llm-calls, embedding-calls, errors, …"),
    ] = "calls",
    path: Annotated[
        str, typer.Argument(help="Where to: a file, whose ending says the format; - is stdout.")
    ] = PIPE,
    format: Annotated[
        str | None,
        typer.Option(help="csv, jsonl or parquet.", show_default="as the path ends, else csv"),
    ] = None,
    limit: Annotated[int | None, typer.Option(min=1, help="How many rows at most, newest first.")] = None,
    bom: Annotated[
        bool | None,
        typer.Option(
            "--bom/--no-bom",
            help="Begin CSV with a byte order mark, for spreadsheets.",
            show_default="in files, not in pipes",
        ),
    ] = None,
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
) -> None:
    """Rows as CSV, JSON lines or Parquet, to a file or a pipe."""
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
    marked = path != PIPE if bom is None else bom
    with opened(options.settings_for(database)) as questions, progress(questions, asked, limit) as tell:
        done = questions.export(kind, path, format, limit=limit, bom=marked, progress=tell, **asked)
    if path != PIPE:
        typer.echo(
            f"{done.rows:,} row{'' if done.rows == 1 else 's'} in {done.path} ({done.format})", err=True
        )
