"""The schema's history, and the one way to bring a database to its present."""

from __future__ import annotations

from typing import Final

VERSIONS: Final = ("0001", "0002", "0003", "0004", "0005")
"""Every revision, oldest first. The last one is what this tokentrail writes."""

ROLLUPS: Final = "0004"
"""The revision since which sums are kept beside the calls; rows from before it are added up when it comes."""

VERSION_TABLE: Final = "tokentrail_schema"
"""A name of our own: a shared database may have an `alembic_version` of its owner's."""
