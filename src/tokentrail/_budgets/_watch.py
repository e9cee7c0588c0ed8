"""Watch: tells, once for each window, that a threshold of a budget is reached; in the writer's thread."""

from __future__ import annotations

import time
from collections import OrderedDict, deque
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Final

from tokentrail._budgets._answers import BudgetNotice, Callback
from tokentrail._budgets._plan import TOKENS, USD, Plan, from_row, to_row
from tokentrail._budgets._spent import amount, spent, told
from tokentrail._guard import guarded
from tokentrail._health import Health, logger
from tokentrail._records import Record, from_us, now_us, to_us

if TYPE_CHECKING:
    from tokentrail.stores.base import Store

_STALE: Final = 30.0
"""Seconds after which budgets are read again: another process may have set one."""
_DOUBTED: Final = 60_000_000
"""Microseconds after which a sum is asked for again: other processes add to it, and windows roll on."""
_REMEMBERED: Final = 10_000
"""Keys whose sums are remembered."""


@dataclass
class _Known:
    """A sum as it was when it was last asked for, and what has been delivered since."""

    used: int
    window_start: int | None
    asked_at: int
    told: set[float] = field(default_factory=set)


class Watch:
    """The budgets of a store, as one process sees them.

    Between two looks at the store a sum is what was delivered since: enough to know when to look. What is
    told was looked up, and claimed in the store, so that of all processes one tells it, once.

    Args:
        health: where faults are counted.
        now: the clock.
    """

    def __init__(self, health: Health, now: Callable[[], int] = now_us) -> None:
        self._health = health
        self._now = now
        self._plans: list[Plan] = []
        self._unsaved: deque[Plan] = deque()
        self._callbacks: list[tuple[str | None, Callback]] = []
        self._known: OrderedDict[tuple[str, str | None], _Known] = OrderedDict()
        self._read_at = 0.0

    def set(self, plan: Plan) -> None:
        """Let a budget hold; the writer's thread keeps it."""
        self._unsaved.append(plan)

    def on_threshold(self, callback: Callback, name: str | None = None) -> None:
        """Call this when a threshold of that budget is reached, or of any."""
        self._callbacks.append((name, callback))

    @property
    def is_waiting(self) -> bool:
        """Whether a budget is not in the store yet."""
        return bool(self._unsaved)

    def prepare(self, store: Store) -> None:
        """Keep the budgets that were set, and read those of others if that was long ago.

        Raises:
            StoreError: the store cannot be read or written; what waits goes on waiting.
        """
        if not self._unsaved and time.monotonic() < self._read_at:
            return
        from tokentrail.models import Budget

        for plan in list(self._unsaved):
            store.keep(to_row(plan, self._now()))
            self._unsaved.popleft()
            self._forget(plan.name)
        found = []
        for row in store.kept(Budget):
            with guarded(self._health, "budget.row"):  # whatever somebody wrote into the table
                found.append(from_row(row))
        self._plans = found
        self._read_at = time.monotonic() + _STALE

    def _forget(self, name: str) -> None:
        for known in [known for known in self._known if known[0] == name]:
            del self._known[known]

    # --- after calls were delivered --------------------------------------------------------------

    def count(self, store: Store, rows: Sequence[Record]) -> list[Callable[[], object]]:
        """Add calls that are in the store now; returns what there is to tell."""
        notices = [notice for plan in self._plans for notice in self._count(store, plan, rows)]
        return [partial(self._tell, notice) for notice in notices]

    def _count(self, store: Store, plan: Plan, rows: Sequence[Record]) -> Iterable[BudgetNotice]:
        now = self._now()
        added = self._added(plan, rows, plan.window(now)[0])
        doubtful = [key for key, more in added.items() if self._is_doubtful(plan, key, more, now)]
        if not doubtful:
            return ()
        groups = spent(store, plan, now, doubtful)
        notices = []
        for key in doubtful:
            if key not in groups:
                continue
            used, known = amount(plan, groups[key]), self._remember(plan, key, now)
            known.used = used
            due = set(plan.due(used))
            known.told &= due  # a rolling window may fall below a threshold, and reach it again
            for threshold in sorted(due - known.told):
                if self._claim(store, plan, key, threshold, now):
                    budget = told(plan, key, groups[key], now)
                    notices.append(
                        BudgetNotice(
                            name=plan.name, key=key, threshold=threshold, at=from_us(now), budget=budget
                        )
                    )
                known.told.add(threshold)
        return notices

    def _added(self, plan: Plan, rows: Sequence[Record], start: int | None) -> dict[str | None, int]:
        column = "cost_nanos" if plan.unit == USD else "total_tokens"
        added: dict[str | None, int] = {}
        for row in rows:
            if (start is not None and row["started_at"] < start) or not plan.covers(row):
                continue
            if plan.unit == TOKENS and row.get("cache_hit"):
                continue  # those tokens nobody bills
            key, more = plan.key_of(row), row.get(column)
            if plan.per is None or key is not None:
                added[key] = added.get(key, 0) + (0 if more is None else more)
        return added

    def _is_doubtful(self, plan: Plan, key: str | None, more: int, now: int) -> bool:
        """Whether to look: nothing is known, it is old, or a threshold that was not told seems reached."""
        known = self._known.get((plan.name, key))
        if known is None or not 0 <= now - known.asked_at < _DOUBTED:
            return True
        if plan.span_us is None and known.window_start != plan.window(now)[0]:
            return True
        known.used += more
        return bool(set(plan.due(known.used)) - known.told)

    def _remember(self, plan: Plan, key: str | None, now: int) -> _Known:
        start = plan.window(now)[0]
        known = self._known.pop((plan.name, key), None)
        if known is None or (plan.span_us is None and known.window_start != start):
            known = _Known(0, start, now)
        known.asked_at = now
        self._known[plan.name, key] = known
        while len(self._known) > _REMEMBERED:
            self._known.popitem(last=False)
        return known

    def _claim(self, store: Store, plan: Plan, key: str | None, threshold: float, now: int) -> bool:
        from tokentrail.models import BudgetAlert

        start, span = plan.window(now)[0], plan.span_us
        window = start if span is None else now // span
        if span is not None and self._was_told(store, plan, key, threshold, now - span):
            return False
        return store.claim(
            BudgetAlert(
                id="|".join(map(str, (plan.name, key, threshold, plan.limit, window))),
                budget=plan.name,
                key=key,
                threshold=threshold,
                window_start=None if start is None else from_us(start),
                fired_at=from_us(now),
            )
        )

    def _was_told(self, store: Store, plan: Plan, key: str | None, threshold: float, since: int) -> bool:
        from tokentrail.models import BudgetAlert

        return any(
            (alert.budget, alert.key, alert.threshold) == (plan.name, key, threshold)
            and alert.fired_at is not None
            and to_us(alert.fired_at) > since
            for alert in store.kept(BudgetAlert)
        )

    def _tell(self, notice: BudgetNotice) -> None:
        logger.warning(
            "tokentrail: budget %r%s is used to %.0f %%: %g of %g %s",
            notice.name,
            "" if notice.key is None else f" of {notice.key!r}",
            notice.budget.budget_used_percent,
            notice.budget.used,
            notice.budget.total_budget,
            notice.budget.unit,
        )
        for name, callback in list(self._callbacks):
            if name is None or name == notice.name:
                with guarded(self._health, "budget.callback"):
                    callback(notice)
