"""KINDS: what can be exported: which rows, and under which names their values stand."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from operator import attrgetter
from typing import Any, Final, NamedTuple

from tokentrail._export._sources import (
    Count,
    Source,
    calls,
    count_errors,
    errors,
    measured,
    neighbours,
    sessions,
    tallied,
)
from tokentrail._records import BOOLEAN, DURATION, FIELDS, INTEGER, LIST, MONEY, TEXT, TIME
from tokentrail.errors import QueryError


class Column(NamedTuple):
    """One column of a file: its name, the kind of its values (as in `FIELDS`), and how a row tells it."""

    name: str
    kind: int
    value: Callable[[Any], Any]


class Kind(NamedTuple):
    """What can be exported under one name."""

    pages: Source
    how_many: Count
    columns: tuple[Column, ...]


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


def own(*names: str) -> tuple[Column, ...]:
    """Columns that are attributes of a row, under the same names."""
    return tuple(Column(name, _KIND_OF.get(name, FIELDS.get(name, TEXT)), attrgetter(name)) for name in names)


_KIND_OF: Final = {
    "finality": TEXT,
    "message_count": INTEGER,
    "start_time": TIME,
    "last_activity": TIME,
    "is_active": BOOLEAN,
    "inaccurate_reasons": LIST,
    "duration_ms": DURATION,
}
"""Fields that no call has, or that are shown as another kind than they are stored."""


def _extra(name: str, otherwise: str | None = None) -> Column:
    """A column of LangBot's that we keep among the attributes, or under another name."""

    def value(row: Any) -> Any:
        found = row.attributes.get(name)
        if found is None:
            return getattr(row, otherwise, None) if otherwise else None
        return str(found)

    return Column(name, TEXT, value)


def _plain_text(row: Any) -> str | None:
    """The words of a message whose content may be parts, as JSON text."""
    content: str | None = row.message_content
    try:
        parts = json.loads(content or "")
    except ValueError:
        return content
    if not isinstance(parts, list):
        return content
    words = [
        part if isinstance(part, str) else part.get("text") for part in parts if isinstance(part, (str, dict))
    ]
    return "".join(word for word in words if isinstance(word, str))


_ID: Final = (*own("id"), Column("timestamp", TIME, attrgetter("started_at")))
_MODEL: Final = Column("model_name", TEXT, lambda call: call.model or call.requested_model)
_BOT: Final = (
    _extra("bot_id", "agent_id"),
    _extra("bot_name", "agent_name"),
    _extra("pipeline_id"),
    _extra("pipeline_name"),
)

_MESSAGES: Final = (
    *_ID,
    *_BOT,
    _extra("runner_name"),
    *own("message_content"),
    Column("message_text", TEXT, _plain_text),
    *own("session_id", "status", "level", "platform", "user_id"),
)
_LLM_CALLS: Final = (
    *_ID,
    _MODEL,
    *own("input_tokens", "output_tokens", "total_tokens", "duration_ms"),
    Column("cost", MONEY, attrgetter("cost_usd")),
    *own("status"),
    *_BOT,
    *own("session_id", "message_id", "error_message"),
)
_EMBEDDING_CALLS: Final = (
    *_ID,
    _MODEL,
    Column("prompt_tokens", INTEGER, attrgetter("input_tokens")),
    *own("total_tokens", "duration_ms", "input_count", "status", "error_message"),
    _extra("knowledge_base_id"),
    _extra("query_text"),
    *own("session_id", "message_id", "call_type"),
)
_TOOL_CALLS: Final = (
    *_ID,
    *own("tool_name", "tool_source", "duration_ms", "status"),
    *_BOT,
    *own("session_id", "message_id", "arguments", "result", "error_message"),
)
_ERRORS: Final = (
    *_ID,
    *own("error_type", "error_message"),
    *_BOT,
    *own("session_id", "message_id", "stack_trace"),
)
_SESSIONS: Final = (
    *own("session_id"),
    *_BOT,
    *own("message_count", "start_time", "last_activity", "is_active", "platform", "user_id"),
)
_FEEDBACK: Final = (
    *_ID,
    *own("feedback_id", "feedback_type", "feedback_content", "inaccurate_reasons"),
    *_BOT,
    *own("session_id", "message_id", "stream_id", "user_id", "platform"),
)

_EMBEDDING: Final = "embedding"
_OPINIONS: Final = {"feedback_type": ("like", "dislike")}

KINDS: Final[Mapping[str, Kind]] = {
    "calls": Kind(calls(), measured("calls"), own(*FIELDS)),
    "llm-calls": Kind(
        calls(holds=lambda call: call.call_type != _EMBEDDING),
        measured("calls", less="embedding_calls"),
        _LLM_CALLS,
    ),
    "embedding-calls": Kind(
        calls({"call_type": (_EMBEDDING,)}, lambda call: call.call_type == _EMBEDDING),
        measured("embedding_calls"),
        _EMBEDDING_CALLS,
    ),
    "tool-calls": Kind(neighbours("ToolCall"), tallied("ToolCall"), _TOOL_CALLS),
    "messages": Kind(neighbours("Message"), tallied("Message"), _MESSAGES),
    "sessions": Kind(sessions, measured("sessions"), _SESSIONS),
    "errors": Kind(errors, count_errors, _ERRORS),
    "feedback": Kind(neighbours("Feedback", _OPINIONS), tallied("Feedback", _OPINIONS), _FEEDBACK),
}
"""Name → what it holds. `calls` has every column; the others have LangBot's, in its order."""
