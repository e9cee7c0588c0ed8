"""Tool calls, messages, feedback, what sessions were told, errors."""

from __future__ import annotations

import sqlite3
from typing import Any, Final

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None

TEXT: Final = sa.Text()
INT64: Final = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
ID: Final = sa.Text(collation="C").with_variant(sa.Text(), "sqlite")
TIME: Final = sa.DateTime(timezone=True).with_variant(sa.Integer(), "sqlite")
STRICT: Final = sqlite3.sqlite_version_info >= (3, 37)


def upgrade() -> None:
    """Beside the calls."""
    _table(
        "tool_call",
        sa.Column("finality", INT64, nullable=False),
        *_texts("parent_id", "message_id", "tool_call_id", "tool_name", "tool_source", "arguments", "result"),
        sa.Column("ended_at", TIME),
        sa.Column("created_at", TIME),
        sa.Column("duration_us", INT64),
        sa.Column("status", TEXT, nullable=False),
        *_texts("error_type", "error_message", "stack_trace"),
    )
    _table(
        "message",
        *_told(),
        *_texts("parent_id", "role"),
        sa.Column("status", TEXT, nullable=False),
        *_texts("level", "message_content"),
        sa.Column("content_bytes", INT64),
        *_texts("variables"),
    )
    _table(
        "feedback",
        *_told(),
        sa.Column("feedback_id", TEXT, nullable=False),
        *_texts(
            "message_id", "call_id", "stream_id", "feedback_type", "feedback_content", "inaccurate_reasons"
        ),
        sa.Column("cancelled_at", TIME),
    )
    _table("session_activity", *_told(), sa.Column("last_activity", TIME, nullable=False))
    _table(
        "error",
        sa.Column("finality", INT64, nullable=False),
        *_texts("call_id", "message_id", "level", "error_type", "error_message", "stack_trace"),
    )
    for table in ("tool_call", "feedback", "error"):
        _index(table, "message_id", where="message_id IS NOT NULL")
    _index("llm_call", "message_id", where="message_id IS NOT NULL")
    _index("tool_call", "started_at", name="not_success", where="status <> 'success'")


def _table(name: str, *columns: sa.Column[Any]) -> None:
    op.create_table(
        name,
        sa.Column("id", ID, primary_key=True),
        *_texts("organization_id", "project_id", "client_id", "user_id", "agent_id", "session_id", "run_id"),
        *_texts("step_id", "trace_id", "tags", "attributes", "source"),
        sa.Column("started_at", TIME, nullable=False),
        *_texts("process_id", "host"),
        *columns,
        sqlite_strict=STRICT,
    )
    _index(name, "started_at")
    _index(name, "session_id", "started_at", where="session_id IS NOT NULL")
    _index(name, "user_id", where="user_id IS NOT NULL")


def _told() -> list[sa.Column[Any]]:
    names = _texts("client_name", "agent_name", "user_name", "platform")
    return [*names, sa.Column("updated_at", TIME), *_texts("stamps")]


def _texts(*names: str) -> list[sa.Column[Any]]:
    return [sa.Column(name, TEXT) for name in names]


def _index(table: str, *columns: str, name: str = "", where: str | None = None) -> None:
    condition = None if where is None else sa.text(where)
    op.create_index(
        f"{table}_{name or columns[0]}",
        table,
        columns,
        sqlite_where=condition,
        postgresql_where=condition,
    )
