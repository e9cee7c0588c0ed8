"""The verbs: rows, text or a file, of one kind, page by page."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, Final, NamedTuple

from tokentrail._export._files import STDOUT, target
from tokentrail._export._frames import frame, load_polars, write_parquet
from tokentrail._export._kinds import Kind, kind_of
from tokentrail._export._text import Pages, csv_lines, json_lines
from tokentrail._query import Filters
from tokentrail.errors import QueryError

if TYPE_CHECKING:
    import polars

    from tokentrail.stores.base import Store

FORMATS: Final[Mapping[str, tuple[str, ...]]] = {
    "csv": (".csv",),
    "jsonl": (".jsonl", ".ndjson"),
    "parquet": (".parquet", ".pq"),
}
"""Format → endings of files that mean it."""

Progress = Callable[[int], object]
"""Told the number of rows so far, page after page."""


class Export(NamedTuple):
    """What was written."""

    kind: str
    format: str
    path: str
    """`-` is the standard output."""
    rows: int


def export_rows(
    store: Store, kind: str, asked: Filters, *, limit: int | None = None
) -> Iterator[dict[str, Any]]:
    """The rows, newest first, one page of them in memory at a time.

    Raises:
        QueryError: at once: there is no such kind, or the limit is below 1.
    """
    found = kind_of(kind)
    pages = _pages(found, store, asked, limit)
    return ({column.name: column.value(row) for column in found.columns} for page in pages for row in page)


def export_lines(
    store: Store, kind: str, format: str, asked: Filters, *, limit: int | None = None, bom: bool = True
) -> Iterator[str]:
    """The text of a file, in pieces of whole lines.

    Raises:
        QueryError: at once: there is no such kind or text format, or the limit is below 1.
    """
    found = kind_of(kind)
    if format not in ("csv", "jsonl"):
        raise QueryError(f"format: {format!r} is no text. Use csv or jsonl.")
    return _lines(found, format, _pages(found, store, asked, limit), bom=bom)


def count_rows(store: Store, kind: str, asked: Filters) -> int:
    """How many rows an export without a limit has.

    Raises:
        QueryError: there is no such kind.
    """
    return kind_of(kind).how_many(store, asked)


def export_frame(store: Store, kind: str, asked: Filters, *, limit: int | None = None) -> polars.DataFrame:
    """All rows as one data frame, in memory.

    Raises:
        QueryError: there is no such kind, or the limit is below 1.
        MissingExtraError: polars is not installed.
    """
    found = kind_of(kind)
    return frame(found.columns, _pages(found, store, asked, limit))


def write_export(
    store: Store,
    kind: str,
    path: str | Path | BinaryIO,
    format: str | None,
    asked: Filters,
    *,
    limit: int | None = None,
    bom: bool = True,
    progress: Progress | None = None,
) -> Export:
    """Write a file, which appears whole or not at all, readable by its owner only.

    Args:
        store: where the rows are.
        kind: see `KINDS`.
        path: a file; `-` is the standard output; or an open file for bytes.
        format: see `FORMATS`; default what the ending of the path says, else CSV.
        asked: which calls.
        limit: how many rows at most.
        bom: whether CSV begins with a byte order mark, as spreadsheets want it.
        progress: is told the number of rows so far.

    Raises:
        QueryError: kind, format or limit is wrong.
        ConfigurationError: the path cannot be written to.
        MissingExtraError: Parquet needs polars.
    """
    found = kind_of(kind)
    name = str(path) if isinstance(path, (str, Path)) else getattr(path, "name", STDOUT)
    chosen = _format_of(str(name)) if format is None else _known(format)
    count = _Count(progress)
    pages = count.over(_pages(found, store, asked, limit))
    if chosen == "parquet":
        load_polars()
    with target(path) as file:
        if chosen == "parquet":
            write_parquet(found.columns, pages, file)
        else:
            for text in _lines(found, chosen, pages, bom=bom):
                file.write(text.encode("utf-8", "replace"))
    return Export(kind, chosen, str(name), count.rows)


# --- pieces --------------------------------------------------------------------------------------


class _Count:
    """Counts the rows that pass."""

    def __init__(self, progress: Progress | None) -> None:
        self.rows = 0
        self._progress = progress

    def over(self, pages: Pages) -> Pages:
        for page in pages:
            yield page
            self.rows += len(page)
            if self._progress is not None:
                self._progress(self.rows)


def _pages(kind: Kind, store: Store, asked: Filters, limit: int | None) -> Pages:
    if limit is not None and limit < 1:
        raise QueryError(f"limit: {limit} is below 1.")
    pages = kind.pages(store, asked)
    return pages if limit is None else _first(pages, limit)


def _first(pages: Pages, limit: int) -> Pages:
    for page in pages:
        yield page[:limit]
        limit -= len(page)
        if limit <= 0:
            return


def _lines(kind: Kind, format: str, pages: Pages, *, bom: bool) -> Iterator[str]:
    if format == "jsonl":
        return json_lines(kind.columns, pages)
    return csv_lines(kind.columns, pages, bom=bom)


def _known(format: str) -> str:
    if format not in FORMATS:
        raise QueryError(f"format: {format!r} is unknown. There are: {', '.join(FORMATS)}.")
    return format


def _format_of(path: str) -> str:
    ending = Path(path).suffix.lower()
    return next((format for format, endings in FORMATS.items() if ending in endings), "csv")
