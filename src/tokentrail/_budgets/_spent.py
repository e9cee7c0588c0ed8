"""What was used of a budget, asked of the store; and whether one more call fits."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final

from tokentrail._budgets._answers import BudgetCheck, BudgetInfo
from tokentrail._budgets._plan import TOKENS, USD, Plan, Who, from_row
from tokentrail._query import Exact, Filters, Query
from tokentrail._records import MONEY, SCALES, from_us

if TYPE_CHECKING:
    from tokentrail.stores.base import Store

_MEASURES: Final = ("calls", "cost_usd", "priced_calls", "total_tokens", "billed_calls", "counted_calls")
_MOST: Final = 1_000
"""Values of which a budget for each is shown, those that used most."""
_NOTHING: Final[Mapping[str, Any]] = dict.fromkeys(_MEASURES, 0)

Group = Mapping[str, Any]


def spent(
    store: Store, plan: Plan, now_us: int, keys: Sequence[str | None] | None = None
) -> dict[str | None, Group]:
    """Sums of the window, by key; of these keys, or of all that used something."""
    wanted = dict(plan.wanted)
    if plan.per is not None and keys is not None:
        wanted[plan.per] = tuple(None if key is None else Exact(key) for key in keys)
    asked = Filters(plan.window(now_us)[0], None, plan.zone, wanted)
    if plan.per is None:
        (group,) = store.aggregate(Query(_MEASURES, filters=asked))
        return {None: group}
    largest = "-cost_usd" if plan.unit == USD else "-total_tokens"
    most = _MOST if keys is None else None
    groups = store.aggregate(Query(_MEASURES, by=(plan.per,), filters=asked, order=largest, limit=most))
    return {group[plan.per]: group for group in groups}


def amount(plan: Plan, group: Group) -> int:
    """What is known to have been used, in the unit of the plan. What is not known is told beside it."""
    return _known(group["cost_usd"] if plan.unit == USD else group["total_tokens"])


def _known(value: int | None) -> int:
    return 0 if value is None else value


def told(plan: Plan, key: str | None, group: Group, now_us: int) -> BudgetInfo:
    """Sums as an answer."""
    used, (start, end) = amount(plan, group), plan.window(now_us)
    return BudgetInfo(
        name=plan.name,
        scope={name: list(wanted) for name, wanted in plan.wanted.items()},
        per=plan.per,
        key=key,
        period=plan.period,
        tz=plan.zone.key,
        window_start=None if start is None else from_us(start).astimezone(plan.zone),
        window_end=None if end is None else from_us(end).astimezone(plan.zone),
        unit=plan.unit,
        total_budget=plan.shown(plan.limit),
        used=plan.shown(used),
        remaining_budget=plan.shown(plan.limit - used),
        budget_used_percent=100 * used / plan.limit,
        is_over=used >= plan.limit,
        thresholds=list(plan.thresholds),
        reached=plan.due(used),
        current_cost=_known(group["cost_usd"]) / SCALES[MONEY],
        current_tokens=_known(group["total_tokens"]),
        total_requests=group["calls"],
        unpriced_requests=group["calls"] - group["priced_calls"],
        missing_usage_requests=group["billed_calls"] - group["counted_calls"],
    )


def plans(store: Store) -> list[Plan]:
    """The budgets of a store, by name."""
    from tokentrail.models import Budget

    return [from_row(row) for row in store.kept(Budget)]


def info(store: Store, plan: Plan, now_us: int, key: str | None = None) -> BudgetInfo:
    """How far one budget is used; for one key, where each has its own."""
    groups = spent(store, plan, now_us, [key])
    return told(plan, key, groups.get(key, _NOTHING), now_us)


def infos(store: Store, plan: Plan, now_us: int) -> list[BudgetInfo]:
    """How far a budget is used; where each value has its own, by all that used something, most first."""
    if plan.per is None:
        return [info(store, plan, now_us)]
    found = spent(store, plan, now_us)
    return [told(plan, key, group, now_us) for key, group in found.items() if key is not None]


def ask(
    store: Store,
    meant: Iterable[Plan],
    who: Who,
    now_us: int,
    *,
    projected_cost: float | None = None,
    projected_tokens: int | None = None,
    is_projected: bool = False,
) -> BudgetCheck:
    """Whether a call of these fields fits into the budgets that cover it.

    Args:
        store: where calls are.
        meant: the budgets that may be meant.
        who: fields of the call.
        now_us: the clock.
        projected_cost: dollars it would cost.
        projected_tokens: tokens it would use.
        is_projected: whether an unknown projection is one that was asked for, and so does not fit.
    """
    budgets, verdict = [], None
    for plan in meant:
        key = plan.key_of(who)
        if not plan.covers(who) or (plan.per is not None and key is None):
            continue
        found = info(store, plan, now_us, key)
        budgets.append(found)
        more = projected_cost if plan.unit == USD else projected_tokens
        verdict = verdict or _refusal(found, more, is_projected=is_projected)
    return BudgetCheck(
        ok=verdict is None,
        reason=None if verdict is None else verdict[1],
        budget=None if verdict is None else verdict[0],
        projected_cost=projected_cost,
        projected_tokens=projected_tokens,
        budgets=budgets,
    )


def _refusal(found: BudgetInfo, more: float | None, *, is_projected: bool) -> tuple[str, str] | None:
    of = f"budget {found.name!r}" + ("" if found.key is None else f" of {found.per} {found.key!r}")
    state = f"{_amount(found, found.used)} of {_amount(found, found.total_budget)} are used"
    if found.is_over:
        return found.name, f"The {of} is used up: {state}."
    if more is None:
        if is_projected:
            return found.name, f"What the call would use of the {of} is not known: its model has no price."
        return None
    if found.used + more > found.total_budget:
        return (
            found.name,
            f"The call would exceed the {of}: {state}, and it would use {_amount(found, more)}.",
        )
    return None


def _amount(found: BudgetInfo, value: float) -> str:
    return f"{value:,.0f} tokens" if found.unit == TOKENS else f"${value:,.6g}"
