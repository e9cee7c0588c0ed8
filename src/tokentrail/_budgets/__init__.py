"""Budgets: what some calls may use in a window of time, what they have used, and who is told when."""

from tokentrail._budgets._answers import BudgetCheck, BudgetInfo, BudgetNotice, Budgets
from tokentrail._budgets._plan import Plan, Who, from_row, plan, to_row
from tokentrail._budgets._spent import ask, info, infos, plans
from tokentrail._budgets._watch import Watch

__all__ = [
    "BudgetCheck",
    "BudgetInfo",
    "BudgetNotice",
    "Budgets",
    "Plan",
    "Watch",
    "Who",
    "ask",
    "from_row",
    "info",
    "infos",
    "plan",
    "plans",
    "to_row",
]
