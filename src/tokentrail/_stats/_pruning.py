"""What a ledger need not keep for ever: the rows of old calls, whose sums stay."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

from tokentrail._query import Moment, filters
from tokentrail._records import from_us
from tokentrail._stats._asking import Asking
from tokentrail.errors import QueryError

if TYPE_CHECKING:
    from tokentrail._export import Archived


class Pruning(Asking):
    """`Stats`, the part that deletes what is old."""

    def prune(self, before: Moment, *, tz: str = "UTC", dry_run: bool = False) -> int:
        """Delete the calls that started before a moment, and what is kept beside them; sums keep them.

        Args:
            before: first moment that stays. Naive times and dates are in `tz`.
            tz: IANA name of a time zone.
            dry_run: only count.

        Returns:
            How many calls were deleted, or would be.

        Raises:
            QueryError: `before` is no moment.
        """
        mark = _moment(before, tz)
        self._before()
        return self._opened().prune(mark, dry_run=dry_run)

    def archive(
        self, before: Moment, path: str | Path, *, format: str = "jsonl", tz: str = "UTC"
    ) -> Archived:
        """`prune`, but what is deleted is written to files first: every row of every table, all its fields.

        Some rows at a time are written, brought to the medium and deleted. Whenever it is broken off, each
        row is in the ledger or in the archive; a few may be in both.

        Args:
            before: first moment that stays. Naive times and dates are in `tz`.
            path: a folder that is not there yet. Only its owner may read it.
            format: `jsonl` or `csv`.
            tz: IANA name of a time zone.

        Raises:
            QueryError: `before` is no moment, or the format is unknown.
            ConfigurationError: the folder is there already, or cannot be written.
        """
        from tokentrail._export import Archived, archive_in

        mark = _moment(before, tz)
        self._before()
        store = self._opened()
        with archive_in(path, format) as archive:
            calls = store.prune(mark, take=archive.take)
        return Archived(str(path), calls, archive.rows)


def _moment(before: Moment, tz: str) -> datetime:
    mark = filters(start=before, tz=tz).start_us
    if mark is None:
        raise QueryError("before: it is missing. Give a date or a time.")
    return from_us(mark)
