"""KINDS: what can be exported: which rows, and under which names their values stand."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from operator import attrgetter
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from tokentrail._query import Filters
from tokentrail._records import FAILED, FIELDS, INTEGER, MONEY, TEXT, TIME, to_us
from tokentrail.errors import QueryError

if TYPE_CHECKING:
    from tokentrail.models import LLMCall
    from tokentrail.stores.base import Store

PAGE: Final = 2_000
"""Rows in memory at a time."""


class Column(NamedTuple):
    """One column of a file: its name, the kind of its values (as in `FIELDS`), and how a row tells it."""

    name: str
    kind: int
    value: Callable[[Any], Any]


@dataclass(frozen=True)
class Kind:
    """What can be exported under one name."""

    columns: tuple[Column, ...]
    narrow: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    """Filters that a store can answer quicker than `holds`; they give way to the asker's own."""
    holds: Callable[[LLMCall], bool] = lambda _: True
    """Whether a call is of this kind."""

    def pages(self, store: Store, asked: Filters) -> Iterator[Sequence[Any]]:
        """The rows, newest first; whatever is written meanwhile, none comes twice."""
        asked = replace(asked, wanted={**self.narrow, **asked.wanted})
        for page in call_pages(store, asked):
            yield [call for call in page if self.holds(call)]


def call_pages(store: Store, asked: Filters) -> Iterator[list[LLMCall]]:
    """All calls, newest first, some thousand at a time; whatever is written meanwhile, none comes twice."""
    after = None
    while True:
        page = store.scan(asked, limit=PAGE, after=after)
        yield page
        if len(page) < PAGE:
            return
        after = to_us(page[-1].started_at), page[-1].id


def kind_of(name: str) -> Kind:
    """The kind of a name; `_` and `-` are the same.

    Raises:
        QueryError: there is none.
    """
    found = KINDS.get(name.strip().lower().replace("_", "-"))
    if found is None:
        raise QueryError(f"kind: {name!r} cannot be exported. There are: {', '.join(sorted(KINDS))}.")
    return found


# --- columns -------------------------------------------------------------------------------------


def _extra(name: str, otherwise: str | None = None) -> Column:
    """A column of LangBot's that we keep among the attributes, or under another name."""
    fallback = attrgetter(otherwise) if otherwise else lambda _: None

    def value(call: LLMCall) -> Any:
        found = call.attributes.get(name)
        return fallback(call) if found is None else str(found)

    return Column(name, TEXT, value)


_KIND_OF: Final = {"finality": TEXT}
"""Fields that are shown as another kind than they are stored."""


def _own(*names: str) -> tuple[Column, ...]:
    return tuple(Column(name, _KIND_OF.get(name, FIELDS[name]), attrgetter(name)) for name in names)


_TIMESTAMP: Final = Column("timestamp", TIME, attrgetter("started_at"))
_MODEL: Final = Column("model_name", TEXT, lambda call: call.model or call.requested_model)
_COST: Final = Column("cost", MONEY, attrgetter("cost_usd"))
_BOT: Final = (
    _extra("bot_id", "agent_id"),
    _extra("bot_name"),
    _extra("pipeline_id"),
    _extra("pipeline_name"),
)

_LLM_CALLS: Final = (
    *_own("id"),
    _TIMESTAMP,
    _MODEL,
    *_own("input_tokens", "output_tokens", "total_tokens", "duration_ms"),
    _COST,
    *_own("status"),
    *_BOT,
    *_own("session_id", "message_id", "error_message"),
)
_EMBEDDING_CALLS: Final = (
    *_own("id"),
    _TIMESTAMP,
    _MODEL,
    Column("prompt_tokens", INTEGER, attrgetter("input_tokens")),
    *_own("total_tokens", "duration_ms", "input_count", "status", "error_message"),
    _extra("knowledge_base_id"),
    _extra("query_text"),
    *_own("session_id", "message_id", "call_type"),
)
_ERRORS: Final = (
    *_own("id"),
    _TIMESTAMP,
    *_own("error_type", "error_message"),
    *_BOT,
    *_own("session_id", "message_id", "stack_trace"),
)

KINDS: Final[Mapping[str, Kind]] = {
    "calls": Kind(_own(*FIELDS)),
    "llm-calls": Kind(_LLM_CALLS, holds=lambda call: call.call_type != "embedding"),
    "embedding-calls": Kind(
        _EMBEDDING_CALLS,
        narrow={"call_type": ("embedding",)},
        holds=lambda call: call.call_type == "embedding",
    ),
    "errors": Kind(_ERRORS, narrow={"status": FAILED}, holds=lambda call: call.status in FAILED),
}
"""Name → what it holds. `calls` has every column; the others have LangBot's, in its order."""
