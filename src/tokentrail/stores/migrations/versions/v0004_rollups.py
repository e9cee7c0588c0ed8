"""Rollups: sums kept beside the calls, their keys, sketches of how long calls took, sessions."""

from __future__ import annotations

import sqlite3
from typing import Final

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None

TEXT: Final = sa.Text()
ID: Final = sa.Text(collation="C").with_variant(sa.Text(), "sqlite")
INT64: Final = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
STRICT: Final = sqlite3.sqlite_version_info >= (3, 37)

LABEL_SUMS: Final = (
    "calls", "success_calls", "error_calls", "timeout_calls", "cancelled_calls", "abandoned_calls",
    "interrupted_calls", "cache_hit_calls", "billed_calls", "input_tokens", "input_tokens_known",
    "output_tokens", "output_tokens_known", "total_tokens", "counted_calls", "cache_read_tokens",
    "cache_read_tokens_known", "cache_creation_tokens", "cache_creation_tokens_known",
    "reasoning_tokens", "reasoning_tokens_known", "input_audio_tokens", "input_audio_tokens_known",
    "output_audio_tokens", "output_audio_tokens_known", "cache_hit_input_tokens",
    "cache_hit_input_tokens_known", "cache_hit_output_tokens", "cache_hit_output_tokens_known",
    "cache_hit_total_tokens", "cache_hit_total_tokens_known", "cost_nanos", "priced_calls",
    "input_cost_nanos", "input_cost_nanos_known", "output_cost_nanos", "output_cost_nanos_known",
    "duration_us", "timed_calls", "time_to_first_token_us", "first_token_calls", "paced_calls",
    "paced_tokens", "paced_us",
)  # fmt: skip
MORE_SUMS: Final = (
    "stopped_calls", "streaming_calls", "embedding_calls", "billed_success_calls",
    "successful_input_tokens", "successful_input_tokens_known", "successful_output_tokens",
    "successful_output_tokens_known", "successful_total_tokens", "successful_total_tokens_known",
    "failed_input_tokens", "failed_input_tokens_known", "failed_output_tokens",
    "failed_output_tokens_known", "failed_total_tokens", "failed_total_tokens_known",
    "stopped_input_tokens", "stopped_input_tokens_known", "stopped_output_tokens",
    "stopped_output_tokens_known", "stopped_total_tokens", "stopped_total_tokens_known",
    "estimated_input_tokens", "estimated_input_tokens_known", "estimated_output_tokens",
    "estimated_output_tokens_known", "estimated_total_tokens", "estimated_total_tokens_known",
    "missing_usage_success_calls", "estimated_calls", "zero_token_success_calls", "failed_cost_nanos",
    "failed_cost_nanos_known", "estimated_cost_nanos", "estimated_cost_nanos_known",
    "stream_paced_calls", "stream_paced_tokens", "stream_paced_us", "request_bytes",
    "request_sized_calls", "response_bytes", "response_sized_calls", "message_count",
    "message_count_known", "input_count", "input_count_known", "tool_use_count", "tool_use_count_known",
    "tool_result_count", "tool_result_count_known", "tool_call_count", "tool_call_count_known",
    "lone_calls", "lone_success_calls", "lone_error_calls", "retry_calls", "fallback_calls",
    "missing_usage_stream_calls", "missing_usage_other_calls", "unpriced_calls", "unnamed_calls",
    "backward_calls", "total_mismatch_calls", "parts_added_calls", "invalid_calls", "negative_calls",
    "usage_not_mapping_calls", "warning_calls",
)  # fmt: skip
LABEL_EXTREMES: Final = (
    "first_started_at", "last_started_at",
)  # fmt: skip
MORE_EXTREMES: Final = (
    "min_duration_us", "max_duration_us", "last_ended_at", "max_request_bytes", "max_response_bytes",
)  # fmt: skip


def upgrade() -> None:
    """Beside the calls; filled by whoever runs the upgrade."""
    op.create_table(
        "usage_key",
        sa.Column("id", INT64, primary_key=True),
        sa.Column("dimension", INT64, nullable=False),
        sa.Column("token", ID, nullable=False),
        sa.UniqueConstraint("dimension", "token"),
        sqlite_strict=STRICT,
    )
    _cells("usage", (*LABEL_SUMS, *MORE_SUMS), (*LABEL_EXTREMES, *MORE_EXTREMES))
    _cells("usage_label", LABEL_SUMS, LABEL_EXTREMES)
    op.create_table(
        "usage_sketch",
        sa.Column("level", INT64, primary_key=True),
        sa.Column("period", INT64, primary_key=True),
        sa.Column("key", INT64, primary_key=True),
        sa.Column("durations", sa.LargeBinary()),
        sa.Column("firsts", sa.LargeBinary()),
        sqlite_with_rowid=False,
        sqlite_strict=STRICT,
    )
    op.create_table(
        "session",
        sa.Column("session_id", ID, primary_key=True),
        *(sa.Column(name, INT64, nullable=False, server_default="0") for name in LABEL_SUMS),
        *(sa.Column(name, INT64) for name in LABEL_EXTREMES),
        sqlite_with_rowid=False,
        sqlite_strict=STRICT,
    )
    op.create_index("session_last_started_at", "session", ["last_started_at"])
    for name in ("expired", "keys_version"):
        op.add_column("ledger", sa.Column(name, INT64, nullable=False, server_default="0"))


def _cells(table: str, sums: tuple[str, ...], extremes: tuple[str, ...]) -> None:
    op.create_table(
        table,
        sa.Column("dimension", INT64, primary_key=True),
        sa.Column("level", INT64, primary_key=True),
        sa.Column("period", INT64, primary_key=True),
        sa.Column("key", INT64, primary_key=True),
        *(sa.Column(name, INT64, nullable=False, server_default="0") for name in sums),
        *(sa.Column(name, INT64) for name in extremes),
        sqlite_with_rowid=False,
        sqlite_strict=STRICT,
    )
