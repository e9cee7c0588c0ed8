"""What a ledger need not keep for ever: the rows of old calls, whose sums stay."""

from __future__ import annotations

from tokentrail._query import Moment, filters
from tokentrail._records import from_us
from tokentrail._stats._asking import Asking
from tokentrail.errors import QueryError


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
        mark = filters(start=before, tz=tz).start_us
        if mark is None:
            raise QueryError("before: it is missing. Give a date or a time.")
        self._before()
        return self._opened().prune(from_us(mark), dry_run=dry_run)
