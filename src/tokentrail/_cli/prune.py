"""`prune`: delete the rows of old calls; their sums stay."""

from __future__ import annotations

from typing import Annotated

import typer

from tokentrail._cli import options
from tokentrail._cli.ledger import opened
from tokentrail._cli.show import Show, put_json
from tokentrail.errors import ConfigurationError


def prune(
    before: Annotated[
        str | None, typer.Option(metavar="WHEN", help="What started before: 2026-01-31 or 2026-01-31T08:00.")
    ] = None,
    older_than: Annotated[
        str | None, typer.Option(metavar="SPAN", help="What started longer ago: 90d, 24h.")
    ] = None,
    tz: options.Zone = "UTC",
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say how many.")] = False,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Delete without asking.")] = False,
    database: options.Database = None,
    as_json: options.AsJson = False,
) -> None:
    """Delete the rows of old calls, and what is kept beside them; totals, series and cost keep them."""
    mark = options.moment(before, "--before") or options.moment(older_than, "--older-than")
    if mark is None or (before and older_than):
        raise ConfigurationError("Say what is old, once: --before 2026-01-31 or --older-than 90d.")
    with opened(options.settings_for(database)) as questions:
        if not (dry_run or yes):
            old = questions.prune(mark, tz=tz, dry_run=True)
            typer.confirm(f"Delete the rows of {old:,} calls before {mark}?", abort=True, err=True)
        count = questions.prune(mark, tz=tz, dry_run=dry_run)
    if as_json:
        put_json("prune", calls=count, before=str(mark), dry_run=dry_run)
        return
    Show().line(f"{'To delete' if dry_run else 'Deleted'}: {count:,} call{'' if count == 1 else 's'}.")
