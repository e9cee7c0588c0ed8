"""The schema's history, and the one way to bring a database to its present."""

from __future__ import annotations

from typing import Final

VERSIONS: Final = ("0001", "0002", "0003")
"""Every revision, oldest first. The last one is what this tokentrail writes."""

VERSION_TABLE: Final = "tokentrail_schema"
"""A name of our own: a shared database may have an `alembic_version` of its owner's."""
