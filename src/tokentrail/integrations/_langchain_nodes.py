"""What model runs may lie under: chains, tools and retrievers, as LangChain tells of them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final
from uuid import UUID

from tokentrail._guard import guarded
from tokentrail._health import Health
from tokentrail._tracker import Tracker
from tokentrail.integrations._langchain_run import status_of
from tokentrail.integrations._langchain_runs import Runs
from tokentrail.integrations._langchain_tools import begin_tool, break_tool, end_tool

_NOTHING: Final[Mapping[str, Any]] = {}


def health_of(handler: NodeHooks) -> Health:
    """The counters of a handler's tracker."""
    return handler.tracker.health_counters


class NodeHooks:
    """The half of the handler that hears of all but models."""

    _earlier: list[Runs]
    """Runs of former default trackers, in which calls may still be open."""

    @property
    def tracker(self) -> Tracker:
        """Where calls are recorded."""
        raise NotImplementedError

    def _current(self) -> Runs:
        raise NotImplementedError

    @guarded(health_of, "langchain.on_chain_start")
    def on_chain_start(
        self,
        serialized: Any,  # noqa: ARG002
        inputs: Any,  # noqa: ARG002
        *,
        run_id: UUID,
        parent_run_id: UUID | None = None,
        tags: list[str] | None = None,
        name: str | None = None,
        **_: Any,
    ) -> None:
        """A chain starts; only its place is noted, its inputs are not looked at."""
        self._current().enter(run_id, parent_run_id, name, tags)

    @guarded(health_of, "langchain.on_chain_end")
    def on_chain_end(self, outputs: Any, *, run_id: UUID, **_: Any) -> None:  # noqa: ARG002
        """A chain or retriever has ended; models under it that run on will say so themselves."""
        for runs in (self._current(), *self._earlier):
            runs.leave(run_id, "abandoned")

    @guarded(health_of, "langchain.on_chain_error")
    def on_chain_error(self, error: BaseException, *, run_id: UUID, **_: Any) -> None:
        """A chain or retriever broke off; models under it often get no end then."""
        for runs in (self._current(), *self._earlier):
            runs.leave(run_id, status_of(error) or "abandoned")

    @guarded(health_of, "langchain.on_tool_start")
    def on_tool_start(
        self,
        serialized: dict[str, Any],
        input_str: str,
        *,
        run_id: UUID,
        parent_run_id: UUID | None = None,
        tags: list[str] | None = None,
        metadata: dict[str, Any] | None = None,
        inputs: dict[str, Any] | None = None,
        name: str | None = None,
        tool_call_id: str | None = None,
        **_: Any,
    ) -> None:
        """A tool starts; it may ask models too."""
        begin_tool(
            self._current(),
            run_id,
            parent_run_id,
            tags=tags,
            metadata=metadata or _NOTHING,
            name=name or (serialized or _NOTHING).get("name"),
            tool_call_id=tool_call_id,
            arguments=input_str if inputs is None else inputs,
        )

    @guarded(health_of, "langchain.on_tool_end")
    def on_tool_end(self, output: Any, *, run_id: UUID, **_: Any) -> None:
        """A tool has ended."""
        for runs in (self._current(), *self._earlier):
            end_tool(runs, run_id, output)
            runs.leave(run_id, "abandoned")

    @guarded(health_of, "langchain.on_tool_error")
    def on_tool_error(self, error: BaseException, *, run_id: UUID, **_: Any) -> None:
        """A tool broke off."""
        for runs in (self._current(), *self._earlier):
            break_tool(runs, run_id, error, status_of(error))
            runs.leave(run_id, status_of(error) or "abandoned")

    @guarded(health_of, "langchain.on_retriever_start")
    def on_retriever_start(
        self,
        serialized: Any,  # noqa: ARG002
        query: str,  # noqa: ARG002
        *,
        run_id: UUID,
        parent_run_id: UUID | None = None,
        tags: list[str] | None = None,
        **_: Any,
    ) -> None:
        """A retriever starts; it may ask models too."""
        self._current().enter(run_id, parent_run_id, None, tags)

    def on_retriever_end(self, documents: Any, *, run_id: UUID, **_: Any) -> None:
        """A retriever has ended."""
        self.on_chain_end(documents, run_id=run_id)

    on_retriever_error = on_chain_error
