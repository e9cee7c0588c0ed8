"""The door to LangChain: `TokentrailCallbackHandler` for its models, `TokentrailEmbeddings` for the rest."""

from __future__ import annotations

from collections.abc import Mapping
from time import perf_counter_ns
from typing import Any, Final, Self
from uuid import UUID

from tokentrail._context import current_context
from tokentrail._fields import describe_error, is_timeout, to_columns
from tokentrail._guard import count_fault, guarded
from tokentrail._records import MONEY, SCALES, Record
from tokentrail._tracker import Tracker, get_tracker
from tokentrail.errors import needs
from tokentrail.integrations import _langchain_fields as fields_of
from tokentrail.integrations._langchain_answers import End, answered, broken
from tokentrail.integrations._langchain_embeddings import TokentrailEmbeddings
from tokentrail.integrations._langchain_links import LIBRARY, open_link
from tokentrail.integrations._langchain_model import Model
from tokentrail.integrations._langchain_nodes import NodeHooks, health_of
from tokentrail.integrations._langchain_run import Run, status_of
from tokentrail.integrations._langchain_runs import Runs, fallbacks, runs_of
from tokentrail.integrations._langchain_tools import note_wishes
from tokentrail.integrations._langchain_usage import first_generation, usage_of_chunk

with needs("langchain_core", extra="langchain"):
    from langchain_core.callbacks import BaseCallbackHandler

__all__ = ["TokentrailCallbackHandler", "TokentrailEmbeddings"]


_NOTHING: Final[Mapping[str, Any]] = {}


class TokentrailCallbackHandler(NodeHooks, BaseCallbackHandler):
    """Records every model call that LangChain makes, with its usage as the provider reported it.

    One instance serves any number of calls, threads and event loops; several instances over one tracker
    record each call once. It only looks: messages and chunks are neither changed nor kept.

    Args:
        tracker: where calls are recorded; the shared default (`tokentrail.get_tracker()`) if none is given.

    Example:
        >>> handler = TokentrailCallbackHandler(tracker)
        >>> chain.invoke(question, config={"callbacks": [handler]})
    """

    # Plain class attributes, where the base class has properties: LangChain asks for them with every event.
    raise_error = False
    run_inline = True
    ignore_llm = False
    ignore_chat_model = False
    ignore_chain = False
    ignore_retriever = False
    ignore_agent = False
    ignore_retry = True
    ignore_custom_event = True

    def __init__(self, tracker: Tracker | None = None) -> None:
        super().__init__()
        self._given = tracker
        self._runs: Runs | None = None if tracker is None else runs_of(tracker)
        self._earlier: list[Runs] = []
        """Runs of former default trackers, in which calls may still be open."""

    @property
    def tracker(self) -> Tracker:
        """Where calls are recorded."""
        return self._given if self._given is not None else get_tracker()

    def __copy__(self) -> Self:
        return self

    def __deepcopy__(self, memo: dict[int, Any]) -> Self:
        return self

    def _current(self) -> Runs:
        """The runs of the tracker in force; of the default, the one that is default now."""
        if self._given is not None:
            return self._runs  # type: ignore[return-value]
        runs = runs_of(get_tracker())
        if runs is not self._runs:
            if self._runs is not None:
                self._earlier = [*self._earlier[-3:], self._runs]
            self._runs = runs
        return runs

    def _holder(self, key: int) -> Runs:
        """The runs that know an id; the current ones if none does."""
        runs = self._runs
        if runs is None:
            return self._current()
        for candidate in (runs, *self._earlier) if self._earlier else ():
            if candidate.find(key) is not None or candidate.closed(key) is not None:
                return candidate
        return runs

    def _caught(self, where: str, error: Exception) -> None:
        """As `guarded` does, for the hooks of every call: its wrapper would cost a tenth of them."""
        count_fault(health_of, self, where, error)

    # --- model runs ------------------------------------------------------------------------------

    def on_chat_model_start(
        self,
        serialized: dict[str, Any],
        messages: list[list[Any]],
        *,
        run_id: UUID,
        parent_run_id: UUID | None = None,
        tags: list[str] | None = None,
        metadata: dict[str, Any] | None = None,
        invocation_params: dict[str, Any] | None = None,
        batch_size: int = 1,
        **_: Any,
    ) -> None:
        """A chat model is asked. (A batch of 0 is a completion model's; see `on_llm_start`.)"""
        try:
            runs: Runs = self._runs if self._given is not None else self._current()  # type: ignore[assignment]
            key = run_id.int
            if key in runs.open and runs.open[key].metadata is metadata:
                return  # the same event once more: the handler is in the list twice, or has a twin
            told = _NOTHING if metadata is None else metadata
            known = runs.models.get(id(serialized))
            if known is None or not known.fits(serialized, told, invocation_params):
                known = runs.learn(serialized, told, invocation_params, batch_size > 0)
            columns = known.prepared.copy()
            columns["request_id"] = columns["run_id"] = str(run_id)
            parent = None if parent_run_id is None else runs.place(parent_run_id, columns)
            if tags or parent is not None or fallbacks.get() is not None:
                runs.note_attempt(parent, tags, columns)
            if batch_size:
                columns["message_count"] = size = len(messages[0])
                if size > 2:  # a question, a called tool and its result make three
                    fields_of.count_tools(messages[0], columns)
            run = Run(run_id, runs.on_death)
            run.key, run.metadata = key, metadata
            run.provider, run.is_chat = known.provider, batch_size > 0
            if tags or len(told) != known.size or runs.captures or current_context():
                columns = _complete(runs, known, columns, fields_of.who_fields(told, tags), messages[0])
            runs.tracker.begin(columns, run)
            if parent is not None:
                parent.add(run)
            if batch_size > 1:
                run.batch = invocation_params
            if known.provider == LIBRARY:
                who = fields_of.who_fields(told, tags)
                who.update((name, columns[name]) for name in ("run_id", "parent_id") if name in columns)
                run.link = open_link(run.call_id, run.batch, who)
            runs.add(run)
        except Exception as error:  # noqa: BLE001  the host's call goes on
            self._caught("langchain.on_chat_model_start", error)

    def on_llm_start(
        self,
        serialized: dict[str, Any],
        prompts: list[str],
        *,
        run_id: UUID,
        parent_run_id: UUID | None = None,
        tags: list[str] | None = None,
        metadata: dict[str, Any] | None = None,
        invocation_params: dict[str, Any] | None = None,
        **_: Any,
    ) -> None:
        """A completion model is asked."""
        self.on_chat_model_start(
            serialized,
            [prompts],
            run_id=run_id,
            parent_run_id=parent_run_id,
            tags=tags,
            metadata=metadata,
            invocation_params=invocation_params,
            batch_size=0,
        )

    def on_llm_new_token(
        self,
        token: Any,
        *,
        chunk: Any = None,
        run_id: UUID,
        parent_run_id: UUID | None = None,  # noqa: ARG002  named, so that no dict is made for it
        tags: list[str] | None = None,  # noqa: ARG002
        **_: Any,
    ) -> None:
        """A chunk of a stream has come. Most have nothing to tell but that they came."""
        try:
            run = self._runs.open[run_id.int]  # type: ignore[union-attr]
            if run.began and run.is_chat:
                message = chunk.message
                if message.usage_metadata is None and (run.named or len(message.response_metadata) < 2):
                    run.seen = perf_counter_ns()
                    return
        except (AttributeError, KeyError, TypeError):
            pass  # no run, no message or not the usual one: look at it in peace
        self._look_at(token, chunk, run_id)

    @guarded(health_of, "langchain.on_llm_new_token")
    def _look_at(self, token: Any, chunk: Any, run_id: UUID) -> None:
        runs = self._holder(run_id.int)
        run = runs.find(run_id.int)
        if run is None:
            return
        run.seen = perf_counter_ns()
        if run.is_chat:
            message = getattr(chunk, "message", None)
            usage = getattr(message, "usage_metadata", None)
            metadata = getattr(message, "response_metadata", None)
        else:
            message, metadata = None, getattr(chunk, "generation_info", None)
            usage = usage_of_chunk(metadata) if metadata else None
        if not run.began:
            _came(runs, run, token, message)
        if usage is not None and usage is not run.usage_chunk:
            _tell(runs, run, usage)
        if metadata and len(metadata) > 1 and not run.named:
            run.note_names(metadata)

    @guarded(health_of, "langchain.on_stream_event")
    def on_stream_event(self, event: Any, *, run_id: UUID, **_: Any) -> None:
        """An event of `stream_events(version="v3")`; chunks come as tokens beside it, or not at all."""
        runs = self._holder(run_id.int)
        run = runs.find(run_id.int)
        if run is None:
            return
        run.seen = perf_counter_ns()
        kind = event.get("event")
        if kind == "content-block-delta" and not run.began:
            _came(runs, run, [event.get("delta")], None)
        elif kind == "message-finish":
            run.answered = True
            usage = event.get("usage")
            if usage is not None and run.usage_chunk is None:
                _tell(runs, run, usage)

    def on_llm_end(self, response: Any, *, run_id: UUID, **_: Any) -> None:
        """A model has answered."""
        try:
            key = run_id.int
            runs: Runs = self._runs if self._given is not None else self._holder(key)  # type: ignore[assignment]
            run = runs.end(key)
            if run is not None:
                columns, answer = answered(runs, run, response)
                if "tool_call_count" in columns:
                    note_wishes(runs, run.call_id, first_generation(response).message.tool_calls)
                runs.tracker.end(run.record["id"], columns, response=answer)
            elif runs.closed(key) is None:
                run = _unseen(run_id, response)
                _record(runs, run, answered(runs, run, response))
        except Exception as error:  # noqa: BLE001  the host's call goes on
            self._caught("langchain.on_llm_end", error)

    @guarded(health_of, "langchain.on_llm_error")
    def on_llm_error(self, error: BaseException, *, run_id: UUID, response: Any = None, **_: Any) -> None:
        """A model run broke off: the provider failed, the caller gave up, or nobody reads any more."""
        runs = self._holder(run_id.int)
        run = runs.end(run_id.int)
        unseen = run is None
        if run is None:
            if runs.closed(run_id.int) is not None:
                return
            run = _unseen(run_id, response)
        end = broken(runs, run, error, response)
        status = "success" if run.answered else status_of(error, run)
        if status is None:
            end[0].update(describe_error(error))
            status = "timeout" if is_timeout(error) else "error"
        end[0]["status"] = status
        if unseen:
            _record(runs, run, end)
        else:
            runs.tracker.end(run.call_id, end[0], response=end[1])
        if run.batch is not None:
            runs.give_up_batch(run)


def _complete(runs: Runs, known: Model, columns: Record, who: dict[str, Any], messages: list[Any]) -> Record:
    """The columns of a call's start, with whom it is for and what the context says."""
    if not runs.captures and not current_context():
        to_columns(who, columns, runs.health)
        return columns
    request = fields_of.plain_messages(messages) if runs.captures else None
    own = {name: value for name, value in columns.items() if known.prepared.get(name) is not value}
    return runs.tracker.describe({**known.columns, **own, **who}, request)


def _came(runs: Runs, run: Run, token: Any, message: Any) -> None:
    run.streamed = True
    if fields_of.speaks(token, message):
        run.began = True
        runs.tracker.progress(run.call_id, first_token=True, is_streaming=True)


def _tell(runs: Runs, run: Run, usage: Any) -> None:
    run.feed(usage)
    if run.provider == LIBRARY:
        return  # it may be LiteLLM's own estimate; the end of the call decides
    known = run.usage()
    if known is not None:
        runs.tracker.progress(run.call_id, usage=known)


# --- ends of runs whose start was not seen -------------------------------------------------------


def _unseen(run_id: UUID, response: Any) -> Run:
    run = Run(run_id)
    run.key, run.metadata, run.provider = run_id.int, None, None
    run.is_chat = hasattr(first_generation(response), "message")
    run.record = {"id": "", "request_id": str(run_id)}
    return run


def _record(runs: Runs, run: Run, end: End) -> None:
    """Record a call whose start was not seen: its handler was added late, or told to ignore starts."""
    runs.health.note("orphans")
    columns, response = end
    nanos = columns.pop("cost_nanos", None)
    fields = {"model": None, "call_type": "chat" if run.is_chat else "completion", **columns}
    call_id = runs.tracker.record(
        request_id=run.record["request_id"],
        run_id=run.record["request_id"],
        source="langchain",
        cost_usd=None if nanos is None else nanos / SCALES[MONEY],
        response=response,
        **fields,
    )
    runs.close(run.key, call_id)
