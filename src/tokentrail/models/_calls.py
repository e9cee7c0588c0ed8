"""The tables of calls and their payloads."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any, ClassVar, Final

from sqlalchemy import Column
from sqlmodel import Field

from tokentrail._records import (
    COLUMN_OF,
    DURATION,
    FIELDS,
    FINAL,
    LIST,
    MAPPING,
    MONEY,
    PROVISIONAL,
    SCALES,
    TIME,
    Record,
    from_us,
    to_us,
)
from tokentrail.models._columns import (
    Finality,
    Table,
    count_column,
    finality_word,
    flag_column,
    json_column,
    scaled_column,
    text_column,
    time_column,
)
from tokentrail.models._traces import COLUMNS, NO_PAYLOAD, trace_row


class LLMCall(Table, table=True):
    """One ended call to a language model, an embedding model or the like. `None` is "not known", never zero.

    Times are aware UTC, money is US dollars, durations are milliseconds. In the database times and durations
    are integer microseconds (`timestamptz` in PostgreSQL) and money is integer nano-dollars, so that sums are
    exact: `func.sum(LLMCall.cost_usd)` comes back in dollars (`func.avg` does not: divide sum by count).
    """

    __tablename__: ClassVar[Any] = "llm_call"

    # ids
    id: str = text_column(primary_key=True)
    finality: str = Field(default="final", sa_column=Column(Finality(), nullable=False))
    request_id: str | None = text_column()
    response_id: str | None = text_column()
    operation_id: str | None = text_column()
    attempt: int | None = count_column()
    attempt_kind: str | None = text_column()
    parent_id: str | None = text_column()
    trace_id: str | None = text_column()
    # who
    organization_id: str | None = text_column()
    project_id: str | None = text_column()
    client_id: str | None = text_column()
    user_id: str | None = text_column()
    agent_id: str | None = text_column()
    session_id: str | None = text_column()
    run_id: str | None = text_column()
    step_id: str | None = text_column()
    message_id: str | None = text_column()
    tags: list[str] = json_column(list)
    attributes: dict[str, Any] = json_column(dict)
    # what
    source: str | None = text_column()
    seen_by: list[str] = json_column(list)
    call_type: str | None = text_column()
    provider: str | None = text_column()
    model: str | None = text_column()
    requested_model: str | None = text_column()
    api_base: str | None = text_column()
    is_streaming: bool | None = flag_column()
    is_byok: bool | None = flag_column()
    cache_hit: bool | None = flag_column()
    finish_reason: str | None = text_column()
    params: dict[str, Any] = json_column(dict)
    # when
    started_at: datetime = time_column(nullable=False)
    ended_at: datetime | None = time_column()
    created_at: datetime | None = time_column()
    duration_ms: float | None = scaled_column("duration_us", DURATION)
    time_to_first_token_ms: float | None = scaled_column("time_to_first_token_us", DURATION)
    # how it ended
    status: str = text_column(nullable=False)
    error_type: str | None = text_column()
    error_message: str | None = text_column()
    stack_trace: str | None = text_column()
    # tokens
    input_tokens: int | None = count_column()
    output_tokens: int | None = count_column()
    total_tokens: int | None = count_column()
    cache_read_tokens: int | None = count_column()
    cache_creation_tokens: int | None = count_column()
    reasoning_tokens: int | None = count_column()
    input_audio_tokens: int | None = count_column()
    output_audio_tokens: int | None = count_column()
    usage_details: dict[str, Any] = json_column(dict)
    usage_source: str | None = text_column()
    usage_flags: list[str] = json_column(list)
    # money
    cost_usd: float | None = scaled_column("cost_nanos", MONEY)
    input_cost_usd: float | None = scaled_column("input_cost_nanos", MONEY)
    output_cost_usd: float | None = scaled_column("output_cost_nanos", MONEY)
    cost_source: str | None = text_column()
    price_model: str | None = text_column()
    price_version: str | None = text_column()
    # sizes
    message_count: int | None = count_column()
    input_count: int | None = count_column()
    tool_use_count: int | None = count_column()
    tool_result_count: int | None = count_column()
    tool_call_count: int | None = count_column()
    request_bytes: int | None = count_column()
    response_bytes: int | None = count_column()
    # billing
    billing_plan_type: str | None = text_column()
    billing_cost_source: str | None = text_column()
    billing_customer_id: str | None = text_column()
    # where
    process_id: str | None = text_column()
    host: str | None = text_column()

    @property
    def prompt_tokens(self) -> int | None:
        """`input_tokens` under OpenAI's name."""
        return self.input_tokens

    @property
    def completion_tokens(self) -> int | None:
        """`output_tokens` under OpenAI's name."""
        return self.output_tokens

    @classmethod
    def from_record(cls, record: Record) -> LLMCall:
        """The row that a record becomes, without a database."""
        return cls(**{name: shown(kind, name, record) for name, kind in FIELDS.items() if _has(record, name)})

    def to_record(self) -> Record:
        """The row as a record: only what has a value, in storage units."""
        return record_of(self, FIELDS)

    @classmethod
    def clickhouse_columns(cls) -> list[str]:
        """The 31 columns of Letta's `llm_traces`, in the order of `to_clickhouse_row`."""
        return list(COLUMNS)

    def to_clickhouse_row(self, payload: Mapping[str, str | None] = NO_PAYLOAD) -> tuple[Any, ...]:
        """The call as a row of Letta's `llm_traces`, to be inserted with `clickhouse_columns()`.

        Args:
            payload: `request` and `response` as JSON text, as `Stats.payload` gives them.
        """
        return trace_row(self, payload)


class LLMPayload(Table, table=True):
    """What was sent and what came back, as JSON text; rows exist only while capture is on."""

    __tablename__: ClassVar[Any] = "llm_payload"

    call_id: str = text_column(primary_key=True)
    request: str | None = text_column()
    response: str | None = text_column()


def _has(record: Record, name: str) -> bool:
    return record.get(COLUMN_OF.get(name, name)) is not None


_SHOW: Final[Mapping[int, Callable[[Any], Any]]] = {
    TIME: from_us,
    DURATION: lambda value: value / SCALES[DURATION],
    MONEY: lambda value: value / SCALES[MONEY],
    LIST: list,
    MAPPING: dict,
}


def shown(kind: int, name: str, record: Record) -> Any:
    """A field of a record in public units."""
    value = record[COLUMN_OF.get(name, name)]
    if name == "finality":
        return finality_word(value)
    show = _SHOW.get(kind)
    return value if show is None else show(value)


def record_of(row: Any, fields: Mapping[str, int]) -> Record:
    """A row as a record: only what has a value, in storage units."""
    found: Record = {}
    for name, kind in fields.items():
        value = getattr(row, name)
        if value is None or value in ([], {}):
            continue
        if name == "finality":
            value = FINAL if value == "final" else PROVISIONAL
        elif kind == TIME:
            value = to_us(value)
        elif kind in (DURATION, MONEY):
            value = round(value * SCALES[kind])
        found[COLUMN_OF.get(name, name)] = value
    return found
