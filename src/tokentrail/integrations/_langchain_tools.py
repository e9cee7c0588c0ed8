"""Tools that LangChain runs: each is a tool call, of the model call that asked for it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Final
from uuid import UUID

from tokentrail.integrations._langchain_fields import who_fields
from tokentrail.integrations._langchain_runs import Runs

_PAUSE: Final = "GraphBubbleUp"
"""What LangGraph raises through a tool to pause or to hand over: no failure of the tool."""
_OF_CALLS: Final = frozenset(("operation_id", "call_type", "billing_plan_type", "billing_customer_id"))
"""What metadata may say of a model call, and a tool call has no column for."""


def begin_tool(
    runs: Runs,
    run_id: UUID,
    parent_id: UUID | None,
    *,
    tags: list[str] | None,
    metadata: Mapping[str, Any],
    name: str | None,
    tool_call_id: str | None,
    arguments: object,
) -> None:
    """A tool starts. Who asked for it is told by the id that the model gave its wish."""
    node = runs.enter(run_id, parent_id, None, tags)
    if node is None:
        return  # the same event once more
    runs.watch_tool(node)
    node.tool = runs.tracker.start_tool(
        name,
        source="langchain",
        tool_source=metadata.get("tool_source"),
        tool_call_id=tool_call_id,
        parent_id=None if tool_call_id is None else runs.asked.get(tool_call_id),
        run_id=str(node.root),
        arguments=arguments if runs.captures else None,
        **{name: value for name, value in who_fields(metadata, tags).items() if name not in _OF_CALLS},
    )


def end_tool(runs: Runs, run_id: UUID, output: Any) -> None:
    """A tool has ended; one that hands its error to the model as an answer has failed all the same."""
    tool = runs.tool_of(run_id)
    if tool is not None:
        fields = {"status": "error" if getattr(output, "status", None) == "error" else "success"}
        name = getattr(output, "tool_call_id", None)
        if isinstance(name, str):  # LangChain before 1.1 does not say it at the start
            fields.update(tool_call_id=name, parent_id=runs.asked.get(name))
        result = getattr(output, "content", output) if runs.captures else None
        runs.tracker.finish_tool(tool, result=result, **fields)


def break_tool(runs: Runs, run_id: UUID, error: BaseException, status: str | None) -> None:
    """A tool broke off; `status` says how, if its caller ended it."""
    tool = runs.tool_of(run_id)
    if tool is None:
        return
    if status is not None or any(kind.__name__ == _PAUSE for kind in type(error).__mro__):
        runs.tracker.cancel_tool(tool)
    else:
        runs.tracker.fail_tool(tool, error)


def note_wishes(runs: Runs, call_id: str, calls: Iterable[Mapping[str, Any]]) -> None:
    """Remember which call asked for which tools."""
    for call in calls:
        name = call.get("id")
        if isinstance(name, str):
            runs.asked.put(name, call_id)
