"""`prune` and `archive`: delete the rows of old calls, or move them to files; their sums stay."""

from __future__ import annotations

from typing import Annotated

import typer

from tokentrail._cli import options
from tokentrail._cli.ledger import opened
from tokentrail._cli.show import Show, put_json
from tokentrail._query import Moment
from tokentrail.errors import ConfigurationError

Before = Annotated[
    str | None, typer.Option(metavar="WHEN", help="What started before: 2026-01-31 or 2026-01-31T08:00.")
]
OlderThan = Annotated[str | None, typer.Option(metavar="SPAN", help="What started longer ago: 90d, 24h.")]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Only say how many.")]


def prune(
    before: Before = None,
    older_than: OlderThan = None,
    tz: options.Zone = "UTC",
    dry_run: DryRun = False,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Delete without asking.")] = False,
    database: options.Database = None,
    as_json: options.AsJson = False,
) -> None:
    """Delete the rows of old calls, and what is kept beside them; totals, series and cost keep them."""
    mark = _mark(before, older_than)
    with opened(options.settings_for(database)) as questions:
        if not (dry_run or yes):
            old = questions.prune(mark, tz=tz, dry_run=True)
            typer.confirm(f"Delete the rows of {_calls(old)} before {mark}?", abort=True, err=True)
        count = questions.prune(mark, tz=tz, dry_run=dry_run)
    if as_json:
        put_json("prune", calls=count, before=str(mark), dry_run=dry_run)
        return
    Show().line(f"{'To delete' if dry_run else 'Deleted'}: {_calls(count)}.")


def archive(
    path: Annotated[str, typer.Argument(help="Where to: a folder that is not there yet.")],
    before: Before = None,
    older_than: OlderThan = None,
    tz: options.Zone = "UTC",
    format: Annotated[str, typer.Option(help="jsonl or csv.")] = "jsonl",
    dry_run: DryRun = False,
    database: options.Database = None,
    as_json: options.AsJson = False,
) -> None:
    """Move the rows of old calls, and what is kept beside them, to files; totals, series and cost stay."""
    mark = _mark(before, older_than)
    with opened(options.settings_for(database)) as questions:
        done = None if dry_run else questions.archive(mark, path, format=format, tz=tz)
        count = questions.prune(mark, tz=tz, dry_run=True) if done is None else done.calls
    if as_json:
        rows = {} if done is None else done.rows
        put_json("archive", calls=count, rows=rows, path=path, before=str(mark), dry_run=dry_run)
    elif done is None:
        Show().line(f"To archive: {_calls(count)}.")
    elif done.rows:
        Show().line(f"Archived: {_calls(count)} in {path}.")
    else:
        Show().line(f"Nothing is older than {mark}; {path} was not made.")


def _mark(before: str | None, older_than: str | None) -> Moment:
    mark = options.moment(before, "--before") or options.moment(older_than, "--older-than")
    if mark is None or (before and older_than):
        raise ConfigurationError("Say what is old, once: --before 2026-01-31 or --older-than 90d.")
    return mark


def _calls(count: int) -> str:
    return f"{count:,} call{'' if count == 1 else 's'}"
