"""Calls, payloads, journal positions and the ledger."""

from __future__ import annotations

import sqlite3
from typing import Final

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

# Spelled out and not taken from models: a revision is history and must not change with them.
TEXT: Final = sa.Text()
INT64: Final = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
# Ids sort by code point everywhere: later calls have higher ids, and pages go by them.
ID: Final = sa.Text(collation="C").with_variant(sa.Text(), "sqlite")
FLAG: Final = sa.Boolean().with_variant(sa.Integer(), "sqlite")
TIME: Final = sa.DateTime(timezone=True).with_variant(sa.Integer(), "sqlite")

# A STRICT table refuses a text in a number's place, as PostgreSQL does (SQLite 3.37).
STRICT: Final = sqlite3.sqlite_version_info >= (3, 37)


def upgrade() -> None:
    """From nothing."""
    op.create_table(
        "llm_call",
        sa.Column("id", ID, primary_key=True),
        sa.Column("finality", INT64, nullable=False),
        sa.Column("request_id", TEXT),
        sa.Column("response_id", TEXT),
        sa.Column("operation_id", TEXT),
        sa.Column("attempt", INT64),
        sa.Column("attempt_kind", TEXT),
        sa.Column("parent_id", TEXT),
        sa.Column("trace_id", TEXT),
        sa.Column("organization_id", TEXT),
        sa.Column("project_id", TEXT),
        sa.Column("client_id", TEXT),
        sa.Column("user_id", TEXT),
        sa.Column("agent_id", TEXT),
        sa.Column("session_id", TEXT),
        sa.Column("run_id", TEXT),
        sa.Column("step_id", TEXT),
        sa.Column("message_id", TEXT),
        sa.Column("tags", TEXT),
        sa.Column("attributes", TEXT),
        sa.Column("source", TEXT),
        sa.Column("seen_by", TEXT),
        sa.Column("call_type", TEXT),
        sa.Column("provider", TEXT),
        sa.Column("model", TEXT),
        sa.Column("requested_model", TEXT),
        sa.Column("api_base", TEXT),
        sa.Column("is_streaming", FLAG),
        sa.Column("is_byok", FLAG),
        sa.Column("cache_hit", FLAG),
        sa.Column("finish_reason", TEXT),
        sa.Column("params", TEXT),
        sa.Column("started_at", TIME, nullable=False),
        sa.Column("ended_at", TIME),
        sa.Column("created_at", TIME),
        sa.Column("duration_us", INT64),
        sa.Column("time_to_first_token_us", INT64),
        sa.Column("status", TEXT, nullable=False),
        sa.Column("error_type", TEXT),
        sa.Column("error_message", TEXT),
        sa.Column("stack_trace", TEXT),
        sa.Column("input_tokens", INT64),
        sa.Column("output_tokens", INT64),
        sa.Column("total_tokens", INT64),
        sa.Column("cache_read_tokens", INT64),
        sa.Column("cache_creation_tokens", INT64),
        sa.Column("reasoning_tokens", INT64),
        sa.Column("input_audio_tokens", INT64),
        sa.Column("output_audio_tokens", INT64),
        sa.Column("usage_details", TEXT),
        sa.Column("usage_source", TEXT),
        sa.Column("usage_flags", TEXT),
        sa.Column("cost_nanos", INT64),
        sa.Column("input_cost_nanos", INT64),
        sa.Column("output_cost_nanos", INT64),
        sa.Column("cost_source", TEXT),
        sa.Column("price_model", TEXT),
        sa.Column("price_version", TEXT),
        sa.Column("message_count", INT64),
        sa.Column("input_count", INT64),
        sa.Column("tool_use_count", INT64),
        sa.Column("tool_result_count", INT64),
        sa.Column("tool_call_count", INT64),
        sa.Column("request_bytes", INT64),
        sa.Column("response_bytes", INT64),
        sa.Column("billing_plan_type", TEXT),
        sa.Column("billing_cost_source", TEXT),
        sa.Column("billing_customer_id", TEXT),
        sa.Column("process_id", TEXT),
        sa.Column("host", TEXT),
        sqlite_strict=STRICT,
    )
    _index("llm_call_started_at", "started_at")
    _index("llm_call_session_id", "session_id", "started_at", where="session_id IS NOT NULL")
    _index("llm_call_user_id", "user_id", "started_at", where="user_id IS NOT NULL")
    _index("llm_call_not_success", "started_at", where="status <> 'success'")
    _index("llm_call_zero_tokens", "started_at", where="status = 'success' AND total_tokens = 0")
    op.create_table(
        "llm_payload",
        sa.Column("call_id", TEXT, primary_key=True),
        sa.Column("request", TEXT),
        sa.Column("response", TEXT),
        sqlite_strict=STRICT,
    )
    op.create_table(
        "journal_position",
        sa.Column("segment", TEXT, primary_key=True),
        sa.Column("position", INT64, nullable=False),
        sqlite_strict=STRICT,
    )
    # One row. Changing it is the first statement of every writing transaction: the writers' lock on every
    # database, and for other processes the sign that something changed.
    ledger = op.create_table(
        "ledger",
        sa.Column("one", INT64, primary_key=True),
        sa.Column("version", INT64, nullable=False),
        sa.Column("pruned_before", TIME),
        sqlite_strict=STRICT,
    )
    op.bulk_insert(ledger, [{"one": 1, "version": 0}])


def _index(name: str, *columns: str, where: str | None = None) -> None:
    condition = None if where is None else sa.text(where)
    op.create_index(name, "llm_call", columns, sqlite_where=condition, postgresql_where=condition)
