"""Export: rows out of a store, page by page, as CSV, JSON lines, Parquet or a data frame."""

from tokentrail._export._archive import Archived, archive_in
from tokentrail._export._export import (
    FORMATS,
    Export,
    Progress,
    count_rows,
    export_frame,
    export_lines,
    export_rows,
    write_export,
)
from tokentrail._export._kinds import KINDS
from tokentrail._export._sources import call_pages

__all__ = [
    "FORMATS",
    "KINDS",
    "Archived",
    "Export",
    "Progress",
    "archive_in",
    "call_pages",
    "count_rows",
    "export_frame",
    "export_lines",
    "export_rows",
    "write_export",
]
