"""One run of LangChain's: a model with what its stream has told, or a chain above models."""

from __future__ import annotations

import asyncio
import weakref
from collections.abc import Callable, Mapping
from typing import Any, Final
from uuid import UUID

from tokentrail._context import Link
from tokentrail._live import Running
from tokentrail._normalize import StreamUsage, normalize_usage
from tokentrail._usage import Usage
from tokentrail.integrations._langchain_fields import has_finish, note_first

CALLS_KEPT: Final = 64


class Run(Running, weakref.ref[UUID]):
    """A model run that has started and not ended; and a weak reference to its id.

    Only LangChain's objects for the run hold that id. When it dies while the run is open, whoever could have
    ended the run is gone: the caller was cancelled, or dropped a stream that ends without a word.
    """

    key: int
    metadata: Any
    provider: str | None
    is_chat: bool
    fed: StreamUsage | None = None
    usage_chunk: Any = None
    """The last usage met, as it lay there: a chunk delivered twice is told by it."""
    _usage: Usage | None = None
    first: dict[str, Any] | None = None
    """First values of the names that LangChain joins over a stream's chunks."""
    named = False
    """Whether `first` has all it will get."""
    streamed = False
    """Whether chunks come; `began`: whether one had something to say."""
    began = False
    answered = False
    """Whether the provider's answer is known to be whole (`message-finish`)."""
    link: Link | None = None
    task: asyncio.Task[Any] | None = None
    on_task_done: Callable[[Any], None] | None = None
    batch: Any = None
    """What the runs of one `generate([a, b])` share."""
    older: Run | None = None
    """Another open run that was given the same run id."""

    parent: Node | None = None
    bound = False
    """Whether there is something to let go of at the end."""

    @property
    def call_id(self) -> str:
        """The call that the run is."""
        return self.record["id"]  # type: ignore[no-any-return]

    def feed(self, usage: Any) -> None:
        """Take the usage of a chunk. Nearly every stream has one, which then stands as it is."""
        previous, self.usage_chunk, self._usage = self.usage_chunk, usage, None
        if self.fed is not None:
            self.fed.feed(usage)
        elif previous is not None:
            self.fed = StreamUsage(shape="langchain" if self.is_chat else None)
            self.fed.feed(previous)
            self.fed.feed(usage)

    def note_names(self, metadata: Mapping[str, Any]) -> None:
        """Keep the first model name, finish reason and id of the chunks."""
        if self.first is None:
            self.first = {}
        note_first(metadata, self.first)
        self.named = has_finish(self.first)

    def usage(self) -> Usage | None:
        """What the chunks so far say was consumed; `None` if they said nothing."""
        if self._usage is None and self.usage_chunk is not None:
            shape = "langchain" if self.is_chat else None
            self._usage = (
                self.fed.usage if self.fed is not None else normalize_usage(self.usage_chunk, shape=shape)
            )
        return self._usage if self._usage is not None and self._usage.reported else None


class Node:
    """A chain, tool or retriever that runs: what lies under it, and what it is part of."""

    __slots__ = ("attempt", "calls", "children", "parent", "root", "tool", "tries", "uuid")

    def __init__(self, uuid: UUID, parent: Node | None, root: UUID) -> None:
        self.uuid = uuid
        self.parent = parent
        self.root = root
        self.children: dict[int, Run | Node] = {}
        self.tool: str | None = None
        """The id of the tool call that this is."""
        self.calls: list[str] = []
        """Calls made under it, so that the first attempt is known when a second one comes."""
        self.tries: int | None = None
        """The branch that a `with_fallbacks` tries next, from 1 on."""
        self.attempt: tuple[str, int, str] | None = None
        """Operation, number and kind of the attempt that this is part of."""

    def add(self, run: Run) -> None:
        """Take a model run that lies directly under it."""
        run.parent, run.bound = self, True
        self.children[run.key] = run
        if len(self.calls) < CALLS_KEPT:
            self.calls.append(run.call_id)


def status_of(error: BaseException, run: Run | None = None) -> str | None:
    """The status of a run that its caller ended; `None` if it failed."""
    if isinstance(error, GeneratorExit):
        return "abandoned"
    if isinstance(error, asyncio.CancelledError):
        return "abandoned" if run is not None and _reader_has_left(run) else "cancelled"
    return None if isinstance(error, Exception) else "cancelled"


def _reader_has_left(run: Run) -> bool:
    """Whether the task that read a stream has ended well, and so dropped it.

    The event loop closes a dropped stream in a task of its own; `asyncio.run` cancels that task when it ends
    at that moment, and it is this cancellation that we hear of.
    """
    return run.streamed and run.task is not None and run.task.done() and not run.task.cancelled()
