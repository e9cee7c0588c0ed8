"""The tables, for `select(LLMCall).where(...)`: exact integers inside, kind units outside."""

# ruff: noqa: ARG002  (SQLAlchemy hands every column type a dialect)

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from datetime import UTC, date, datetime
from typing import Any, ClassVar, Final

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    ColumnElement,
    DateTime,
    Dialect,
    Float,
    Integer,
    Text,
    or_,
    type_coerce,
)
from sqlalchemy.orm import registry
from sqlalchemy.sql import operators
from sqlalchemy.types import TypeDecorator, TypeEngine
from sqlmodel import Field, SQLModel

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

__all__ = ["LLMCall", "LLMPayload"]

Int64: Final = BigInteger().with_variant(Integer(), "sqlite")
"""64 bits everywhere; SQLite's INTEGER has them under its own name."""
Flag: Final = Boolean().with_variant(Integer(), "sqlite")


TIMES_US: Final = range(to_us(datetime(1900, 1, 1, tzinfo=UTC)), to_us(datetime(9000, 1, 1, tzinfo=UTC)))
"""Moments that can be stored: those a datetime can show in every time zone."""


# --- conversions ---------------------------------------------------------------------------------


def to_json(value: object) -> str:
    """Compact JSON text, readable in any script."""
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))


def _as_datetime(value: object) -> datetime:
    if isinstance(value, str):
        value = datetime.fromisoformat(value)
    if isinstance(value, datetime):
        return value if value.tzinfo else value.replace(tzinfo=UTC)
    if isinstance(value, date):
        return datetime(value.year, value.month, value.day, tzinfo=UTC)
    raise TypeError(f"a time is a datetime, not {type(value).__name__}")


# --- column types --------------------------------------------------------------------------------


class UtcTime(TypeDecorator[datetime]):
    """An aware UTC datetime; integer microseconds in SQLite, `timestamptz` in PostgreSQL.

    Naive values are taken as UTC.
    """

    impl = BigInteger
    cache_ok = True

    def load_dialect_impl(self, dialect: Dialect) -> TypeEngine[Any]:
        if dialect.name == "sqlite":
            return dialect.type_descriptor(Integer())
        return dialect.type_descriptor(DateTime(timezone=True))

    def process_bind_param(self, value: Any, dialect: Dialect) -> Any:
        if value is None:
            return None
        moment = _as_datetime(value)
        return to_us(moment) if dialect.name == "sqlite" else moment

    def process_result_value(self, value: Any, dialect: Dialect) -> datetime | None:
        if value is None:
            return None
        return from_us(value) if dialect.name == "sqlite" else value.astimezone(UTC)


class Scaled(TypeDecorator[float]):
    """A float outside, an exact integer of `scale` parts inside, so that sums are exact."""

    impl = Int64
    cache_ok = True

    class comparator_factory(TypeDecorator.Comparator[float]):  # noqa: N801  SQLAlchemy's name
        """`cost_usd > 0.5` compares dollars; `cost_usd * 2` multiplies by a plain number."""

        def operate(self, op: Any, *other: Any, **options: Any) -> Any:
            if op not in (operators.mul, operators.truediv, operators.floordiv, operators.mod):
                return super().operate(op, *other, **options)
            return type_coerce(op(type_coerce(self.expr, Float), *other), self.type)

    def __init__(self, scale: int) -> None:
        super().__init__()
        self.scale = scale

    def process_bind_param(self, value: Any, dialect: Dialect) -> int | None:
        return None if value is None else round(value * self.scale)

    def process_result_value(self, value: Any, dialect: Dialect) -> float | None:
        # PostgreSQL sums integers into Decimal.
        return None if value is None else int(value) / self.scale


class JsonText(TypeDecorator[Any]):
    """A list or mapping as compact JSON text; nothing stored reads as empty."""

    impl = Text
    cache_ok = True

    def __init__(self, empty: type) -> None:
        super().__init__()
        self.empty = empty

    def process_bind_param(self, value: Any, dialect: Dialect) -> str | None:
        if isinstance(value, str) or not value:
            return value or None
        return to_json(value)

    def process_result_value(self, value: Any, dialect: Dialect) -> Any:
        return self.empty() if value is None else json.loads(value)

    def coerce_compared_value(self, op: Any, value: Any) -> Any:
        # `tags.contains('"rag"')` looks into the text.
        return Text() if isinstance(value, str) else self


class Finality(TypeDecorator[str]):
    """`provisional` or `final` outside; a rank inside, which a late witness that fills blanks raises."""

    impl = Int64
    cache_ok = True

    class comparator_factory(TypeDecorator.Comparator[str]):  # noqa: N801  SQLAlchemy's name
        """Every rank from `FINAL` on is final."""

        def _is(self, word: Any) -> ColumnElement[bool]:
            rank = type_coerce(self.expr, Integer)
            return rank >= FINAL if word == "final" else rank < FINAL

        def __eq__(self, other: Any) -> Any:
            return self._is(other)

        def __ne__(self, other: Any) -> Any:
            return ~self._is(other)

        __hash__ = TypeDecorator.Comparator.__hash__

        def in_(self, other: Any) -> Any:
            return or_(*(self._is(word) for word in other))

    def process_bind_param(self, value: Any, dialect: Dialect) -> Any:
        return {"provisional": PROVISIONAL, "final": FINAL}.get(value, value)

    def process_result_value(self, value: Any, dialect: Dialect) -> str | None:
        return None if value is None else finality_word(value)


def finality_word(rank: int) -> str:
    """What a stored rank means to a reader."""
    return "final" if rank >= FINAL else "provisional"


# --- tables --------------------------------------------------------------------------------------


def _time(**options: Any) -> Any:
    return Field(default=None, sa_column=Column(UtcTime(), **options))


def _scaled(column: str, kind: int) -> Any:
    return Field(default=None, sa_column=Column(column, Scaled(SCALES[kind])))


def _count() -> Any:
    return Field(default=None, sa_column=Column(Int64))


def _text(**options: Any) -> Any:
    return Field(default=None, sa_column=Column(Text, **options))


def _flag() -> Any:
    return Field(default=None, sa_column=Column(Boolean().with_variant(_SqliteFlag(), "sqlite")))


class _SqliteFlag(TypeDecorator[bool]):
    """A boolean in a STRICT table, which knows no BOOLEAN."""

    impl = Integer
    cache_ok = True

    def process_bind_param(self, value: Any, dialect: Dialect) -> int | None:
        return None if value is None else int(value)

    def process_result_value(self, value: Any, dialect: Dialect) -> bool | None:
        return None if value is None else bool(value)


def _json(empty: type) -> Any:
    return Field(default_factory=empty, sa_column=Column(JsonText(empty)))


class _Table(SQLModel, registry=registry()):
    """Our tables live in a registry of their own, out of the way of a program's `SQLModel.metadata`."""


class LLMCall(_Table, table=True):
    """One ended call to a language model, an embedding model or the like. `None` is "not known", never zero.

    Times are aware UTC, money is US dollars, durations are milliseconds. In the database times and durations
    are integer microseconds (`timestamptz` in PostgreSQL) and money is integer nano-dollars, so that sums are
    exact: `func.sum(LLMCall.cost_usd)` comes back in dollars (`func.avg` does not: divide sum by count).
    """

    __tablename__: ClassVar[Any] = "llm_call"

    # ids
    id: str = _text(primary_key=True)
    finality: str = Field(default="final", sa_column=Column(Finality(), nullable=False))
    request_id: str | None = _text()
    response_id: str | None = _text()
    operation_id: str | None = _text()
    attempt: int | None = _count()
    attempt_kind: str | None = _text()
    parent_id: str | None = _text()
    trace_id: str | None = _text()
    # who
    organization_id: str | None = _text()
    project_id: str | None = _text()
    client_id: str | None = _text()
    user_id: str | None = _text()
    agent_id: str | None = _text()
    session_id: str | None = _text()
    run_id: str | None = _text()
    step_id: str | None = _text()
    message_id: str | None = _text()
    tags: list[str] = _json(list)
    attributes: dict[str, Any] = _json(dict)
    # what
    source: str | None = _text()
    seen_by: list[str] = _json(list)
    call_type: str | None = _text()
    provider: str | None = _text()
    model: str | None = _text()
    requested_model: str | None = _text()
    api_base: str | None = _text()
    is_streaming: bool | None = _flag()
    is_byok: bool | None = _flag()
    cache_hit: bool | None = _flag()
    finish_reason: str | None = _text()
    params: dict[str, Any] = _json(dict)
    # when
    started_at: datetime = _time(nullable=False)
    ended_at: datetime | None = _time()
    created_at: datetime | None = _time()
    duration_ms: float | None = _scaled("duration_us", DURATION)
    time_to_first_token_ms: float | None = _scaled("time_to_first_token_us", DURATION)
    # how it ended
    status: str = _text(nullable=False)
    error_type: str | None = _text()
    error_message: str | None = _text()
    stack_trace: str | None = _text()
    # tokens
    input_tokens: int | None = _count()
    output_tokens: int | None = _count()
    total_tokens: int | None = _count()
    cache_read_tokens: int | None = _count()
    cache_creation_tokens: int | None = _count()
    reasoning_tokens: int | None = _count()
    input_audio_tokens: int | None = _count()
    output_audio_tokens: int | None = _count()
    usage_details: dict[str, Any] = _json(dict)
    usage_source: str | None = _text()
    usage_flags: list[str] = _json(list)
    # money
    cost_usd: float | None = _scaled("cost_nanos", MONEY)
    input_cost_usd: float | None = _scaled("input_cost_nanos", MONEY)
    output_cost_usd: float | None = _scaled("output_cost_nanos", MONEY)
    cost_source: str | None = _text()
    price_model: str | None = _text()
    price_version: str | None = _text()
    # sizes
    message_count: int | None = _count()
    input_count: int | None = _count()
    tool_use_count: int | None = _count()
    tool_result_count: int | None = _count()
    tool_call_count: int | None = _count()
    request_bytes: int | None = _count()
    response_bytes: int | None = _count()
    # billing
    billing_plan_type: str | None = _text()
    billing_cost_source: str | None = _text()
    billing_customer_id: str | None = _text()
    # where
    process_id: str | None = _text()
    host: str | None = _text()

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
        return cls(
            **{name: _public(kind, name, record) for name, kind in FIELDS.items() if _has(record, name)}
        )


class LLMPayload(_Table, table=True):
    """What was sent and what came back, as JSON text; rows exist only while capture is on."""

    __tablename__: ClassVar[Any] = "llm_payload"

    call_id: str = _text(primary_key=True)
    request: str | None = _text()
    response: str | None = _text()


def _has(record: Record, name: str) -> bool:
    return record.get(COLUMN_OF.get(name, name)) is not None


_SHOW: Final[Mapping[int, Callable[[Any], Any]]] = {
    TIME: from_us,
    DURATION: lambda value: value / SCALES[DURATION],
    MONEY: lambda value: value / SCALES[MONEY],
    LIST: list,
    MAPPING: dict,
}


def _public(kind: int, name: str, record: Record) -> Any:
    value = record[COLUMN_OF.get(name, name)]
    if name == "finality":
        return finality_word(value)
    show = _SHOW.get(kind)
    return value if show is None else show(value)
