"""`export`: rows to a file or a pipe; nothing but rows on stdout."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from tokentrail._cli import options
from tokentrail._cli.ledger import opened
from tokentrail._cli.progress import progress
from tokentrail._cli.show import put_json

if TYPE_CHECKING:
    from tokentrail._settings import Settings

PIPE = "-"


@options.asking
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
    *,
    settings: Settings,
    asked: dict[str, Any],
    as_json: bool,
) -> None:
    """Rows as CSV, JSON lines or Parquet, to a file or a pipe."""
    marked = path != PIPE if bom is None else bom
    with opened(settings) as questions, progress(questions, asked, limit) as tell:
        done = questions.export(kind, path, format, limit=limit, bom=marked, progress=tell, **asked)
    if as_json and path != PIPE:
        put_json(
            "export", export={"kind": kind, "path": str(done.path), "format": done.format, "rows": done.rows}
        )
    elif path != PIPE:
        typer.echo(
            f"{done.rows:,} row{'' if done.rows == 1 else 's'} in {done.path} ({done.format})", err=True
        )
