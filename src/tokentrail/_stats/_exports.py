"""The questions whose answers are too many for memory: rows, as a file or as they come."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, Unpack

from tokentrail._stats._arguments import FilterArguments
from tokentrail._stats._asking import Asking

if TYPE_CHECKING:
    import polars

    from tokentrail._export import Export, Progress


class Exports(Asking):
    """`Stats`, the part that exports."""

    def export(
        self,
        kind: str,
        path: str | Path | BinaryIO,
        format: str | None = None,
        *,
        limit: int | None = None,
        bom: bool = True,
        progress: Progress | None = None,
        **where: Unpack[FilterArguments],
    ) -> Export:
        """Write rows to a file, newest first. It appears whole or not at all, readable by its owner only.

        Args:
            kind: `calls` (every column), `llm-calls`, `embedding-calls`, `errors`, …
            path: a file, `-` for the standard output, or an open file for bytes.
            format: `csv`, `jsonl` or `parquet`; default what the ending of the path says, else `csv`.
            limit: how many rows at most; default all.
            bom: whether CSV begins with a byte order mark, as spreadsheets want it.
            progress: called with the number of rows so far, page after page.
            where: filters.

        Raises:
            ConfigurationError: the path cannot be written to.
            MissingExtraError: Parquet needs the extra `dataframe`.
        """
        from tokentrail._export import write_export

        asked = self._begin(**where)
        return write_export(
            self._opened(), kind, path, format, asked, limit=limit, bom=bom, progress=progress
        )

    def export_rows(
        self, kind: str, *, limit: int | None = None, **where: Unpack[FilterArguments]
    ) -> Iterator[dict[str, Any]]:
        """The rows of an export one by one, newest first; a page of them is in memory at a time."""
        from tokentrail._export import export_rows

        asked = self._begin(**where)
        return export_rows(self._opened(), kind, asked, limit=limit)

    def export_lines(
        self,
        kind: str,
        format: str = "csv",
        *,
        limit: int | None = None,
        bom: bool = True,
        **where: Unpack[FilterArguments],
    ) -> Iterator[str]:
        """The text of an export (`csv` or `jsonl`) in pieces of whole lines, for whoever sends it on.

        Whatever is wrong with the question is raised here, and not by the first piece.
        """
        from tokentrail._export import export_lines

        asked = self._begin(**where)
        return export_lines(self._opened(), kind, format, asked, limit=limit, bom=bom)

    def count_rows(self, kind: str, **where: Unpack[FilterArguments]) -> int:
        """How many rows an export without a limit would have now."""
        from tokentrail._export import count_rows

        asked = self._begin(**where)
        return count_rows(self._opened(), kind, asked)

    def dataframe(
        self, kind: str = "calls", *, limit: int | None = None, **where: Unpack[FilterArguments]
    ) -> polars.DataFrame:
        """The rows of an export as a polars data frame, newest first.

        Raises:
            MissingExtraError: it needs the extra `dataframe`.
        """
        from tokentrail._export import export_frame

        asked = self._begin(**where)
        return export_frame(self._opened(), kind, asked, limit=limit)
