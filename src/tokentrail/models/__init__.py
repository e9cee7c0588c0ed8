"""The tables, for `select(LLMCall).where(...)`: exact integers inside, kind units outside."""

from tokentrail.models._calls import LLMCall, LLMPayload
from tokentrail.models._money import Budget, BudgetAlert, ModelPrice
from tokentrail.models._neighbours import ErrorRecord, Feedback, Message, Neighbour, SessionActivity, ToolCall

__all__ = [
    "Budget",
    "BudgetAlert",
    "ErrorRecord",
    "Feedback",
    "LLMCall",
    "LLMPayload",
    "Message",
    "ModelPrice",
    "Neighbour",
    "SessionActivity",
    "ToolCall",
]
