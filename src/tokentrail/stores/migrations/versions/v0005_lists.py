"""Indexes for lists that had to read every row: large calls, calls of a run, embeddings."""

from __future__ import annotations

from typing import Final

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None

SIZE: Final = "(coalesce(request_bytes, 0) + coalesce(response_bytes, 0))"


def upgrade() -> None:
    """Each has only the rows it is for: most calls are in none of them."""
    _index("run_id", "run_id", where="run_id IS NOT NULL")
    _index("embedding", "started_at", where="call_type = 'embedding'")
    _index("large", sa.text(SIZE), where=f"{SIZE} >= 1000000")


def _index(name: str, column: str | sa.TextClause, *, where: str) -> None:
    condition = sa.text(where)
    op.create_index(
        f"llm_call_{name}", "llm_call", [column], sqlite_where=condition, postgresql_where=condition
    )
