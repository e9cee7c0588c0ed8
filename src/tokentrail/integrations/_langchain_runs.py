"""LangChain's runs as one tracker sees them: which are open, which lie under which, which will never end."""

from __future__ import annotations

import asyncio
import contextvars
import os
import weakref
from asyncio.events import _get_running_loop
from collections.abc import Mapping
from functools import partial
from typing import TYPE_CHECKING, Any, Final
from uuid import UUID

from tokentrail._guard import guarded
from tokentrail._live import Shelf
from tokentrail._records import Record
from tokentrail.integrations._langchain_links import close_link
from tokentrail.integrations._langchain_model import Model
from tokentrail.integrations._langchain_run import CALLS_KEPT, Node, Run

if TYPE_CHECKING:
    from tokentrail._tracker import Tracker

_OPEN_KEPT: Final = 10_000
_SHELF: Final = 2048
_MODELS_KEPT: Final = 256
RETRY_TAG: Final = "retry:attempt:"

fallbacks: contextvars.ContextVar[int | None] = contextvars.ContextVar("tokentrail_fallbacks", default=None)
"""The `with_fallbacks` around; its models are not its children, LangChain gives them its own parent.

The key of its node and not the node: several trackers may be told of it, and each has a node of its own.
"""


class Runs:
    """All runs of one tracker, whichever handler saw them; safe from any thread, task and finaliser.

    Its dictionaries are changed by single operations, which are atomic; who pops a run ends it.
    """

    def __init__(self, tracker: Tracker) -> None:
        self.tracker = tracker
        self.health = tracker.health_counters
        self.captures: bool = tracker.settings.capture != "none"
        self.open: dict[int, Run] = {}
        self.nodes: dict[int, Node] = {}
        self._half: dict[int, Run] = {}
        """Runs that were given up, and may still prove to be alive."""
        self._closed = Shelf(_SHELF)
        """Ids of runs that ended: a second end of one is a duplicate, of any other an orphan."""
        self.asked = Shelf(_SHELF)
        """The model's names of the tool calls that it asked for, and the call in which it did."""
        self.models: dict[int, Model] = {}
        # One guarded function each, not one per run.
        self.on_death = guarded(self.health, "langchain.run_died")(self._on_death)
        self._task_ended = guarded(self.health, "langchain.task_done")(self._on_task_done)
        self._tool_ended = guarded(self.health, "langchain.tool_task_done")(self._on_tool_task_done)
        _all.add(self)

    def learn(self, serialized: Any, metadata: Mapping[str, Any], invocation: Any, is_chat: bool) -> Model:
        """Meet a model, or one that is called otherwise than before."""
        if len(self.models) >= _MODELS_KEPT:
            self.models.clear()
        known = Model(serialized, metadata, invocation, is_chat, self.health)
        known.prepared = self.tracker.prepare(known.columns)
        self.models[id(serialized)] = known
        return known

    def place(self, parent_id: UUID, columns: Record) -> Node | None:
        """What a run lies under, if that was seen; with it and the root in the columns."""
        parent = self.nodes.get(parent_id.int)
        columns["parent_id"] = columns["run_id"] = str(parent_id)
        if parent is not None:
            columns["run_id"] = str(parent.root)
            if parent.tool is not None:
                columns["parent_id"] = parent.tool
        return parent

    # --- model runs ------------------------------------------------------------------------------

    def add(self, run: Run) -> None:
        """Take a run that starts now."""
        key = run.key
        if key in self.open:
            run.older, run.bound = self.open[key], True
        self.open[key] = run
        if self._half:
            self._half.pop(key, None)
        if _get_running_loop() is not None:
            self._watch(run, asyncio.current_task())
        if len(self.open) > _OPEN_KEPT:
            self._drop_oldest()

    def _watch(self, run: Run, task: asyncio.Task[Any] | None) -> None:
        """Learn it when the task is cancelled that makes the call."""
        if task is not None:
            run.task, run.bound = task, True
            run.on_task_done = partial(self._task_ended, run.key)
            task.add_done_callback(run.on_task_done)

    def find(self, key: int) -> Run | None:
        """The run of an id, also one that was given up."""
        return self.open.get(key) or self._half.get(key)

    def end(self, key: int) -> Run | None:
        """Take a run out because it has ended; `None` if there is none, or it has ended already."""
        run = self.open.pop(key, None)
        if run is None:
            run = self._half.pop(key, None)
            if run is None:
                return None
        self._closed.put(key, run.record["id"])
        if run.bound:
            self._let_go(run)
        return run

    def close(self, key: int, call_id: str) -> None:
        """Remember the call of a run that has ended."""
        self._closed.put(key, call_id)

    def closed(self, key: int) -> str | None:
        """The call of a run that ended lately."""
        call_id: str | None = self._closed.get(key)
        return call_id

    def _let_go(self, run: Run) -> None:
        if run.parent is not None:
            run.parent.children.pop(run.key, None)
        if run.task is not None and _get_running_loop() is not None:
            run.task.remove_done_callback(run.on_task_done)  # type: ignore[arg-type]
        if run.older is not None:
            # Which of two runs with one id an end belongs to, nobody can tell.
            self.open[run.key], run.older = run.older, None

    def _drop_oldest(self) -> None:
        for key in list(self.open)[: _OPEN_KEPT // 10]:
            run = self.open.pop(key, None)
            if run is not None:
                self._put_aside(run)

    def _put_aside(self, run: Run) -> None:
        if len(self._half) >= _SHELF:
            self._half.clear()
        self._half[run.key] = run

    # --- runs that get no end --------------------------------------------------------------------

    def give_up(self, run: Run, status: str) -> None:
        """End a run provisionally: LangChain will say nothing more of it, as far as can be seen."""
        if self.open.get(run.key) is not run or self.open.pop(run.key, None) is None:
            return
        self._put_aside(run)
        self._let_go(run)
        if run.link is not None and close_link(run.link, run.call_id):
            return  # the door nearer to the provider ends it
        self.tracker.finish(
            run.call_id,
            status=status,
            usage=run.usage(),
            provisional=True,
            is_streaming=run.streamed or None,
        )

    def _on_death(self, run: Run) -> None:
        # An asynchronous call without a chunk can only have been cancelled: all else is told.
        cancelled = run.on_task_done is not None and not run.streamed
        self.give_up(run, "cancelled" if cancelled else "abandoned")

    def _on_task_done(self, key: int, task: asyncio.Task[Any]) -> None:
        run = self.open.get(key)
        # A stream may be read on by another task, unless it was the reading that was cancelled.
        if run is not None and run.task is task and (task.cancelled() or not run.streamed):
            self.give_up(run, "cancelled")

    def give_up_batch(self, failed: Run) -> None:
        """End the others of `generate([a, b, c])`, whose ends LangChain leaves out when one fails.

        It sends one after the other: those before were answered, those after are never sent. (Where it sends
        all at once, their ends come after all, and replace these.)
        """
        before = True
        for run in list(self.open.values()):
            if run.batch is failed.batch and run is not failed:
                before = run.call_id < failed.call_id
                self.give_up(run, "success" if before else "cancelled")

    # --- chains, tools, retrievers ---------------------------------------------------------------

    def enter(self, run_id: UUID, parent_id: UUID | None, name: str | None, tags: Any) -> Node | None:
        """A chain, tool or retriever starts; `None` if that was known."""
        key = run_id.int
        if key in self.nodes:
            return None
        parent = self.nodes.get(parent_id.int) if parent_id is not None else None
        node = Node(run_id, parent, parent.root if parent is not None else parent_id or run_id)
        self.nodes[key] = node
        if parent is not None:
            parent.children[key] = node
        node.attempt = self.attempt(parent, tags)
        if name == "RunnableWithFallbacks":
            self._enter_fallbacks(node)
        if len(self.nodes) > _OPEN_KEPT:
            for oldest in list(self.nodes)[: _OPEN_KEPT // 10]:
                self.nodes.pop(oldest, None)
        return node

    def watch_tool(self, node: Node) -> None:
        """Learn it when the task is cancelled that runs a tool: LangChain does not say so."""
        task = asyncio.current_task() if _get_running_loop() is not None else None
        if task is not None:
            task.add_done_callback(partial(self._tool_ended, node.uuid))

    def _on_tool_task_done(self, run_id: UUID, task: asyncio.Task[Any]) -> None:
        tool = self.tool_of(run_id) if task.cancelled() else None
        if tool is not None:
            self.tracker.cancel_tool(tool)
            self.leave(run_id, "cancelled")

    def tool_of(self, run_id: UUID) -> str | None:
        """The tool call that runs under an id."""
        node = self.nodes.get(run_id.int)
        return None if node is None else node.tool

    def leave(self, run_id: UUID, status: str) -> None:
        """A chain, tool or retriever has ended; model runs under it that are still open get nothing more."""
        node = self.nodes.pop(run_id.int, None)
        if node is None:
            return
        parent = node.parent
        if parent is not None:
            parent.children.pop(run_id.int, None)
            if node.calls and len(parent.calls) < CALLS_KEPT:
                parent.calls += node.calls
        if node.tries is not None and fallbacks.get() == run_id.int:
            fallbacks.set(None)
        if node.children:
            self._give_up_under(node, status)

    def _give_up_under(self, node: Node, status: str) -> None:
        for child in list(node.children.values()):
            if isinstance(child, Run):
                self.give_up(child, status)
            else:
                self.nodes.pop(child.uuid.int, None)
                if child.tool is not None:
                    self.tracker.finish_tool(child.tool, status=status)
                self._give_up_under(child, status)

    # --- attempts --------------------------------------------------------------------------------

    def note_attempt(self, parent: Node | None, tags: Any, columns: Record) -> None:
        """Add operation, number and kind of the attempt that a model run is, where it is one of several."""
        attempt = self.attempt(parent, tags)
        if attempt is not None:
            columns["operation_id"], columns["attempt"], columns["attempt_kind"] = attempt

    def attempt(self, parent: Node | None, tags: Any) -> tuple[str, int, str] | None:
        """Operation, number and kind of the attempt that a run is, where it is one of several."""
        retried = attempt_of(tags) if tags else None
        if retried is not None and parent is not None:
            return self.retry(parent, parent.uuid, retried)
        tried = self._tried(parent)
        if tried is not None and tried.tries:
            operation = tried.attempt[0] if tried.attempt is not None else str(tried.uuid)
            number, tried.tries = tried.tries, tried.tries + 1
            return operation, number, "first" if number == 1 else "fallback"
        return parent.attempt if parent is not None else None

    def _tried(self, parent: Node | None) -> Node | None:
        """The `with_fallbacks` that a run is a branch of: the one around, if it has the same parent."""
        key = fallbacks.get()
        around = None if key is None else self.nodes.get(key)
        return around if around is not None and around.parent is parent else None

    def _enter_fallbacks(self, node: Node) -> None:
        around = self._tried(node.parent)
        if around is not None and around is not node:
            # One of a batch, or one inside the other: which of them a model belongs to cannot be told.
            around.tries = 0
            return
        node.tries = 1
        fallbacks.set(node.uuid.int)

    def retry(self, parent: Node, operation: UUID, number: int) -> tuple[str, int, str]:
        """A further attempt under a `with_retry`; the first one learns only now that it was the first."""
        name = str(operation)
        if number == 2:
            for call_id in parent.calls:
                self.tracker.finish(call_id, operation_id=name, attempt=1, attempt_kind="first")
        return name, number, "retry"


def attempt_of(tags: Any) -> int | None:
    """The number in LangChain's tag `retry:attempt:2`."""
    for tag in tags:
        if tag.startswith(RETRY_TAG):
            number = tag[len(RETRY_TAG) :]
            return int(number) if number.isdecimal() else None
    return None


# --- one `Runs` a tracker ------------------------------------------------------------------------

_ATTRIBUTE: Final = "_langchain_runs"
_all: weakref.WeakSet[Runs] = weakref.WeakSet()


def runs_of(tracker: Tracker) -> Runs:
    """The runs of a tracker: the same for every handler that records into it, and gone when it is."""
    runs: Runs | None = tracker.__dict__.get(_ATTRIBUTE)
    return runs if runs is not None else tracker.__dict__.setdefault(_ATTRIBUTE, Runs(tracker))


def _after_fork_in_child() -> None:
    """What runs in the parent ends there; an end of it seen here must not be recorded."""
    for runs in list(_all):
        for key, run in list(runs.open.items()):
            runs._closed.put(key, run.call_id)
        runs.open.clear()
        runs._half.clear()
        runs.nodes.clear()


os.register_at_fork(after_in_child=_after_fork_in_child)
