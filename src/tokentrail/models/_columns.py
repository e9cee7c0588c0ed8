"""How columns keep their values: exact integers inside, kind units outside."""

# ruff: noqa: ARG002  (SQLAlchemy hands every column type a dialect)

from __future__ import annotations

import json
from datetime import UTC, date, datetime
from typing import Any, Final, cast

from sqlalchemy import (
    BigInteger,
    Boolean,
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

from tokentrail._records import FINAL, PROVISIONAL, SCALES, from_us, to_us

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


# --- fields --------------------------------------------------------------------------------------


class SqliteFlag(TypeDecorator[bool]):
    """A boolean in a STRICT table, which knows no BOOLEAN."""

    impl = Integer
    cache_ok = True

    def process_bind_param(self, value: Any, dialect: Dialect) -> int | None:
        return None if value is None else int(value)

    def process_result_value(self, value: Any, dialect: Dialect) -> bool | None:
        return None if value is None else bool(value)


def _column(kind: object, **options: Any) -> Any:
    # By type, not as a finished column: several tables inherit the same fields, each needs its own column.
    return Field(default=None, sa_type=cast("Any", kind), sa_column_kwargs=options)


def time_column(**options: Any) -> Any:
    """A moment."""
    return _column(UtcTime(), **options)


def scaled_column(name: str, kind: int) -> Any:
    """A duration or an amount of money, in the column that holds it."""
    return _column(Scaled(SCALES[kind]), name=name)


def count_column() -> Any:
    """A whole number."""
    return _column(Int64)


def text_column(**options: Any) -> Any:
    """A text."""
    return _column(Text, **options)


def flag_column() -> Any:
    """True, false, or not known."""
    return _column(Boolean().with_variant(SqliteFlag(), "sqlite"))


def json_column(empty: type, *, hidden: bool = False) -> Any:
    """A list or a mapping; a hidden one is in no answer."""
    kind = cast("Any", JsonText(empty))
    return Field(
        default_factory=empty, sa_type=kind, sa_column_kwargs={"nullable": True}, exclude=hidden or None
    )


class Table(SQLModel, registry=registry()):
    """Our tables live in a registry of their own, out of the way of a program's `SQLModel.metadata`."""
