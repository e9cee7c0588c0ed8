"""Rows as a data frame, and as Parquet: with polars, which is the extra `dataframe`."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, BinaryIO, Final

from tokentrail._export._kinds import Column
from tokentrail._export._text import Pages, cell
from tokentrail._records import BOOLEAN, DURATION, INTEGER, LIST, MAPPING, MONEY, TIME
from tokentrail.errors import needs

if TYPE_CHECKING:
    import polars

_TYPES: Final[Mapping[int, Callable[[Any], Any]]] = {
    INTEGER: lambda pl: pl.Int64,
    BOOLEAN: lambda pl: pl.Boolean,
    DURATION: lambda pl: pl.Float64,
    MONEY: lambda pl: pl.Float64,
    TIME: lambda pl: pl.Datetime("us", "UTC"),
    LIST: lambda pl: pl.List(pl.String),
}
"""Kind of a value → its type in a frame; anything else is text."""


def load_polars() -> Any:
    """The library.

    Raises:
        MissingExtraError: it is not installed.
    """
    with needs("polars", extra="dataframe"):
        import polars
    return polars


def frame(columns: Sequence[Column], pages: Pages) -> polars.DataFrame:
    """All rows as one frame, in memory."""
    pl = load_polars()
    empty = pl.DataFrame(schema=_schema(pl, columns))
    whole: polars.DataFrame = pl.concat([empty, *_frames(pl, columns, pages)])
    return whole


def write_parquet(columns: Sequence[Column], pages: Pages, file: BinaryIO) -> None:
    """Write the rows, page by page."""
    pl = load_polars()
    from polars.io.plugins import register_io_source

    failed: list[Exception] = []

    def source(*_: Any) -> Iterator[polars.DataFrame]:
        try:
            yield from _frames(pl, columns, pages)
        except Exception as error:
            failed.append(error)  # polars puts it into words of its own
            raise

    try:
        register_io_source(source, schema=_schema(pl, columns)).sink_parquet(file)
    except pl.exceptions.PolarsError as error:
        raise (failed[0] if failed else error) from error


def _schema(pl: Any, columns: Sequence[Column]) -> dict[str, Any]:
    text = lambda pl: pl.String  # noqa: E731
    return {column.name: _TYPES.get(column.kind, text)(pl) for column in columns}


def _frames(pl: Any, columns: Sequence[Column], pages: Pages) -> Iterator[polars.DataFrame]:
    schema = _schema(pl, columns)
    for page in pages:
        values = {column.name: [_fit(column, row) for row in page] for column in columns}
        yield pl.DataFrame(values, schema=schema)


def _fit(column: Column, row: Any) -> Any:
    value = column.value(row)
    # A mapping has other keys in each row, and a column one type.
    return (cell(value) or None) if column.kind == MAPPING else value
