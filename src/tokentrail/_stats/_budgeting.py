"""The questions about budgets."""

from __future__ import annotations

from typing import Any

from tokentrail._budgets import (
    BudgetCheck,
    BudgetInfo,
    Budgets,
    Plan,
    ask,
    info,
    infos,
    plan,
    plans,
    to_row,
)
from tokentrail._stats._asking import Asking
from tokentrail.errors import QueryError


class Budgeting(Asking):
    """`Stats`, the part that knows budgets."""

    def budgets(self, name: str | None = None) -> Budgets:
        """All budgets and how far they are used; where each value has its own, those that used most.

        Args:
            name: only this budget.
        """
        self._before()
        store, now = self._opened(), self._now()
        meant = plans(store) if name is None else [self._plan(name)]
        return Budgets(items=[info for plan in meant for info in infos(store, plan, now)])

    def budget_info(self, name: str, key: str | None = None) -> BudgetInfo:
        """How far a budget is used in its present window.

        Args:
            name: the budget.
            key: whose, where each value has its own.

        Raises:
            QueryError: there is no such budget, or it is not said whose.
        """
        self._before()
        store = self._opened()
        plan = self._plan(name)
        if (plan.per is None) != (key is None):
            raise QueryError(
                f"key: budget {name!r} " + ("has none." if plan.per is None else f"needs a {plan.per}.")
            )
        return info(store, plan, self._now(), key)

    def set_budget(self, name: str, **terms: Any) -> BudgetInfo | None:
        """Set a budget, or replace it; see `Tracker.set_budget`. Returns how far it is used, if it is one.

        Raises:
            ConfigurationError: the sentence names the argument.
        """
        made = plan(name, **terms)
        self._opened().keep(to_row(made, self._now()))
        return None if made.per is not None else self.budget_info(name)

    def remove_budget(self, name: str) -> bool:
        """Forget a budget, and what was told of it; whether there was one."""
        from tokentrail.models import Budget, BudgetAlert

        store = self._opened()
        for alert in store.kept(BudgetAlert):
            if alert.budget == name:
                store.discard(BudgetAlert, alert.id)
        return store.discard(Budget, name)

    def check_budget(
        self,
        *,
        name: str | None = None,
        projected_cost: float | None = None,
        projected_tokens: int | None = None,
        is_projected: bool = False,
        **who: Any,
    ) -> BudgetCheck:
        """Whether one more call fits into every budget that covers it; true or false, with the figures.

        Args:
            name: only this budget; default all.
            projected_cost: dollars that the call would cost.
            projected_tokens: tokens that it would use.
            is_projected: whether a projection that is `None` was asked for, and does not fit.
            who: fields of the call: `user_id`, `model`, `tags`, …

        Raises:
            QueryError: there is no budget of that name.
        """
        self._before()
        store = self._opened()
        meant = plans(store) if name is None else [self._plan(name)]
        return ask(
            store,
            meant,
            who,
            self._now(),
            projected_cost=projected_cost,
            projected_tokens=projected_tokens,
            is_projected=is_projected,
        )

    def _plan(self, name: str) -> Plan:
        known = {plan.name: plan for plan in plans(self._opened())}
        if name not in known:
            raise QueryError(f"name: there is no budget {name!r}. There are: {', '.join(known) or 'none'}.")
        return known[name]
