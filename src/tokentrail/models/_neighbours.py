"""The tables of a call's neighbours: tool calls, messages, feedback, what sessions were told, errors."""

from __future__ import annotations

from datetime import datetime
from typing import Any, ClassVar, Final, TypeVar

from sqlalchemy import Column
from sqlmodel import Field

from tokentrail import _neighbours as kinds
from tokentrail._records import COLUMN_OF, DURATION, Record
from tokentrail.models._calls import record_of, shown
from tokentrail.models._columns import (
    Finality,
    Table,
    count_column,
    json_column,
    scaled_column,
    text_column,
    time_column,
)

_Row = TypeVar("_Row", bound="Neighbour")


class Neighbour(Table):
    """What all of them have: an id, for whom, when, and where it was written down.

    Times are aware UTC, durations are milliseconds; `None` is "not known", never zero.
    """

    KIND: ClassVar[str] = ""

    id: str = text_column(primary_key=True)
    organization_id: str | None = text_column()
    project_id: str | None = text_column()
    client_id: str | None = text_column()
    user_id: str | None = text_column()
    agent_id: str | None = text_column()
    session_id: str | None = text_column()
    run_id: str | None = text_column()
    step_id: str | None = text_column()
    trace_id: str | None = text_column()
    tags: list[str] = json_column(list)
    attributes: dict[str, Any] = json_column(dict)
    source: str | None = text_column()
    started_at: datetime = time_column()
    process_id: str | None = text_column()
    host: str | None = text_column()

    @classmethod
    def from_record(cls: type[_Row], record: Record) -> _Row:
        """The row that a record becomes, without a database."""
        return cls(**public_columns(cls.KIND, record))

    def to_record(self) -> Record:
        """The row as a record: only what has a value, in storage units."""
        return record_of(self, kinds.FIELDS_OF[self.KIND])


def public_columns(kind: str, record: Record) -> dict[str, Any]:
    """The fields of a record in public units."""
    return {
        name: shown(unit, name, record)
        for name, unit in kinds.FIELDS_OF[kind].items()
        if record.get(COLUMN_OF.get(name, name)) is not None
    }


class ToolCall(Neighbour, table=True):
    """One call of a tool, by a model's wish or a program's own. Running ones are in no table.

    `arguments` and `result` are stored only while capture is on, cut at 20,000 characters.
    """

    __tablename__: ClassVar[Any] = kinds.TOOL_CALL
    KIND = kinds.TOOL_CALL

    finality: str = Field(default="final", sa_column=Column(Finality(), nullable=False))
    parent_id: str | None = text_column()
    """The call that asked for it."""
    message_id: str | None = text_column()
    tool_call_id: str | None = text_column()
    """The model's own name for it."""
    tool_name: str | None = text_column()
    tool_source: str | None = text_column()
    """`native`, `plugin`, `mcp`, `skill` or a word of your own."""
    arguments: str | None = text_column()
    result: str | None = text_column()
    ended_at: datetime | None = time_column()
    created_at: datetime | None = time_column()
    duration_ms: float | None = scaled_column("duration_us", DURATION)
    status: str = text_column()
    error_type: str | None = text_column()
    error_message: str | None = text_column()
    stack_trace: str | None = text_column()


class _Named(Neighbour):
    client_name: str | None = text_column()
    agent_name: str | None = text_column()
    user_name: str | None = text_column()
    platform: str | None = text_column()
    updated_at: datetime | None = time_column()
    stamps: dict[str, int] = json_column(dict, hidden=True)
    """When each column was told, in microseconds: of two tellings the later one counts."""


class Message(_Named, table=True):
    """One message of a conversation. Its text is stored only while capture is on."""

    __tablename__: ClassVar[Any] = kinds.MESSAGE
    KIND = kinds.MESSAGE

    parent_id: str | None = text_column()
    """The message that it answers."""
    role: str | None = text_column()
    status: str = text_column()
    """`pending`, `success`, `error` or `discarded`."""
    level: str | None = text_column()
    message_content: str | None = text_column()
    content_bytes: int | None = count_column()
    variables: dict[str, Any] = json_column(dict)

    @property
    def content(self) -> str | None:
        """`message_content`, in short."""
        return self.message_content


class Feedback(_Named, table=True):
    """What a user thought of an answer. A cancelled one is a row without `feedback_type`, in no answer."""

    __tablename__: ClassVar[Any] = kinds.FEEDBACK
    KIND = kinds.FEEDBACK

    feedback_id: str = text_column()
    """The caller's own name for it, unique within organisation and client."""
    message_id: str | None = text_column()
    call_id: str | None = text_column()
    stream_id: str | None = text_column()
    feedback_type: str | None = text_column()
    """`like` or `dislike`."""
    feedback_content: str | None = text_column()
    inaccurate_reasons: list[str] = json_column(list)
    cancelled_at: datetime | None = time_column()

    @property
    def kind(self) -> str | None:
        """`feedback_type`, in short."""
        return self.feedback_type

    @property
    def content(self) -> str | None:
        """`feedback_content`, in short."""
        return self.feedback_content

    @property
    def reasons(self) -> list[str]:
        """`inaccurate_reasons`, in short."""
        return self.inaccurate_reasons


class SessionActivity(_Named, table=True):
    """What a program said about a conversation by `Tracker.session`, apart from its calls and messages."""

    __tablename__: ClassVar[Any] = kinds.SESSION
    KIND = kinds.SESSION

    last_activity: datetime = time_column()


class ErrorRecord(Neighbour, table=True):
    """An error that belongs to no call and no tool call, told by `Tracker.record_error`."""

    __tablename__: ClassVar[Any] = kinds.ERROR
    KIND = kinds.ERROR

    finality: str = Field(default="final", sa_column=Column(Finality(), nullable=False))
    call_id: str | None = text_column()
    message_id: str | None = text_column()
    level: str | None = text_column()
    error_type: str | None = text_column()
    error_message: str | None = text_column()
    stack_trace: str | None = text_column()


NEIGHBOURS: Final[dict[str, type[Neighbour]]] = {
    row.KIND: row for row in (ToolCall, Message, Feedback, SessionActivity, ErrorRecord)
}
"""The table of each kind."""
