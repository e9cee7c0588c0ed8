"""The questions about prices and budgets."""

from __future__ import annotations

from collections.abc import Callable
from typing import Unpack

from tokentrail._pricing import Pricer
from tokentrail._stats._arguments import FilterArguments
from tokentrail._stats._asking import Asking
from tokentrail._stats._reprice import Repricing, reprice


class Money(Asking):
    """`Stats`, the part that knows prices."""

    def reprice(
        self,
        *,
        dry_run: bool = False,
        forget: bool = False,
        progress: Callable[[int], object] | None = None,
        **where: Unpack[FilterArguments],
    ) -> Repricing:
        """Price stored calls anew: with today's lists and own prices, at each call's own time.

        What a provider itself stated stands. What no list prices any more keeps its cost, unless an own price
        was the reason for it, which is gone.

        Args:
            dry_run: say what would change, and write nothing.
            forget: also forget a cost that no list knows any more.
            progress: called with the number of calls looked at so far.
            where: filters.
        """
        asked = self._begin(**where)
        pricer = Pricer(health=self._health)
        return reprice(self._opened(), pricer, asked, dry_run=dry_run, forget=forget, progress=progress)
