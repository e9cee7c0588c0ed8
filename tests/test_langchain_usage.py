"""Where LangChain's form of a usage and the wire's own disagree."""

from __future__ import annotations

from typing import Any

from langchain_core.messages import AIMessage

from langchain_models import Scripted, usage_of
from tokentrail import Tracker
from tokentrail.integrations.langchain import TokentrailCallbackHandler
from tokentrail.models import LLMCall

REASONED = {"completion_tokens_details": {"reasoning_tokens": 21}}


def row_of(model: Scripted) -> LLMCall:
    with Tracker("memory://") as tracker:
        model.invoke("hello", config={"callbacks": [TokentrailCallbackHandler(tracker)]})
        (row,) = tracker.stats.calls().items
        return row


def twice_counted(**wire: Any) -> LLMCall:
    """An answer of ChatXAI, which adds reasoning (21) to an output (37) that has it inside already."""
    usage = usage_of(120, 58, 157, output_token_details={"reasoning": 21})
    told = {"prompt_tokens": 120, "completion_tokens": 37, **REASONED, **wire}
    return row_of(
        Scripted(
            provider="xai",
            answers=[AIMessage("x", usage_metadata=usage)],
            llm_output={"token_usage": told},
        )
    )


def test_wire_settles_what_contradicts_itself() -> None:
    """Counts that do not fit their total give way to the wire's own, where these fit theirs."""
    row = twice_counted(total_tokens=157)
    assert (row.input_tokens, row.output_tokens, row.total_tokens, row.reasoning_tokens) == (120, 37, 157, 21)
    assert row.usage_flags == []


def test_wire_without_a_total_settles_nothing() -> None:
    """A wire that has no total proves nothing; the contradiction stands in the row's flags."""
    row = twice_counted()
    assert (row.output_tokens, row.usage_flags) == (58, ["total_mismatch"])


def test_empty_usage_of_a_chat_is_no_part_of_a_batch() -> None:
    """A chat answer without usage is just that; only completions are sent several at once."""
    row = row_of(Scripted(answers=[AIMessage("x")], llm_output={"token_usage": {}}))
    assert (row.input_tokens, row.usage_flags) == (None, ["missing_usage"])
