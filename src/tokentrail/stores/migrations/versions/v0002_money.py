"""The user's own prices, budgets, and the warnings that were given."""

from __future__ import annotations

import sqlite3
from typing import Final

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

TEXT: Final = sa.Text()
INT64: Final = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
TIME: Final = sa.DateTime(timezone=True).with_variant(sa.Integer(), "sqlite")
STRICT: Final = sqlite3.sqlite_version_info >= (3, 37)


def upgrade() -> None:
    """Three small tables."""
    op.create_table(
        "model_price",
        sa.Column("id", TEXT, primary_key=True),
        sa.Column("provider", TEXT),
        sa.Column("model", TEXT, nullable=False),
        sa.Column("valid_from", TIME),
        sa.Column("valid_to", TIME),
        sa.Column("input_nanos_per_million", INT64),
        sa.Column("output_nanos_per_million", INT64),
        sa.Column("cache_read_nanos_per_million", INT64),
        sa.Column("cache_creation_nanos_per_million", INT64),
        sa.Column("cache_creation_1h_nanos_per_million", INT64),
        sa.Column("reasoning_nanos_per_million", INT64),
        sa.Column("input_audio_nanos_per_million", INT64),
        sa.Column("output_audio_nanos_per_million", INT64),
        sa.Column("nanos_per_request", INT64),
        sa.Column("created_at", TIME),
        sqlite_strict=STRICT,
    )
    op.create_table(
        "budget",
        sa.Column("name", TEXT, primary_key=True),
        sa.Column("scope", TEXT),
        sa.Column("per", TEXT),
        sa.Column("period", TEXT, nullable=False),
        sa.Column("tz", TEXT, nullable=False),
        sa.Column("limit_nanos", INT64),
        sa.Column("limit_tokens", INT64),
        sa.Column("thresholds", TEXT),
        sa.Column("created_at", TIME),
        sqlite_strict=STRICT,
    )
    op.create_table(
        "budget_alert",
        sa.Column("id", TEXT, primary_key=True),
        sa.Column("budget", TEXT, nullable=False),
        sa.Column("key", TEXT),
        sa.Column("threshold_nanos", INT64, nullable=False),
        sa.Column("window_start", TIME),
        sa.Column("fired_at", TIME, nullable=False),
        sqlite_strict=STRICT,
    )
