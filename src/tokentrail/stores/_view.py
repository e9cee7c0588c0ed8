"""The view `calls`: every column under its attribute name, with ISO times, dollars and milliseconds."""

from __future__ import annotations

import sqlalchemy as sa
from sqlalchemy import Connection

from tokentrail._records import COLUMN_OF, DURATION, FIELDS, FINAL, MONEY, SCALES, TIME

VIEW = "calls"


def create_view(connection: Connection) -> None:
    """Make the view over the present table; it is derived, so every upgrade makes it anew."""
    columns = ", ".join(_shown(name, kind, connection.dialect.name) for name, kind in FIELDS.items())
    connection.execute(sa.text(f"CREATE VIEW {VIEW} AS SELECT {columns} FROM llm_call"))  # noqa: S608


def drop_view(connection: Connection) -> None:
    """Remove the view, so that its table may change."""
    connection.execute(sa.text(f"DROP VIEW IF EXISTS {VIEW}"))


def _shown(name: str, kind: int, dialect: str) -> str:
    column = COLUMN_OF.get(name, name)
    if name == "finality":
        return f"CASE WHEN finality >= {FINAL} THEN 'final' ELSE 'provisional' END AS finality"
    if kind in (DURATION, MONEY):
        return f"{column} / {SCALES[kind]}.0 AS {name}"
    if kind == TIME:
        return f"{_iso(column, dialect)} AS {name}"
    return column


def _iso(column: str, dialect: str) -> str:
    if dialect == "postgresql":
        return f"to_char({column} AT TIME ZONE 'UTC', 'YYYY-MM-DD\"T\"HH24:MI:SS.US\"Z\"')".replace(
            ":", r"\:"
        )
    seconds = f"strftime('%Y-%m-%dT%H:%M:%S', {column} / 1000000, 'unixepoch')".replace(":", r"\:")
    return f"{seconds} || printf('.%06dZ', {column} % 1000000)"
