"""The tables, for `select(LLMCall).where(...)`: exact integers inside, kind units outside."""

from tokentrail.models._calls import LLMCall, LLMPayload

__all__ = ["LLMCall", "LLMPayload"]
