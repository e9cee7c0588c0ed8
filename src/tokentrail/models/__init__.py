"""The tables, for `select(LLMCall).where(...)`: exact integers inside, kind units outside."""

from tokentrail.models._calls import LLMCall, LLMPayload
from tokentrail.models._money import Budget, BudgetAlert, ModelPrice

__all__ = ["Budget", "BudgetAlert", "LLMCall", "LLMPayload", "ModelPrice"]
