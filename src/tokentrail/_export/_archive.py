"""Archive: a folder of files that take the rows a ledger lets go."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, BinaryIO, Final, NamedTuple, cast

from tokentrail._export._kinds import own
from tokentrail._export._text import csv_lines, json_lines
from tokentrail._neighbours import FIELDS_OF
from tokentrail._records import FIELDS, PAYLOADS
from tokentrail.errors import ConfigurationError, QueryError

_FORMATS: Final = ("jsonl", "csv")
"""Formats that grow line by line, so that what is deleted is always on the disk before."""
_COLUMNS: Final = {
    "llm_call": own(*FIELDS),
    "llm_payload": own("call_id", *PAYLOADS),
    **{kind: own(*fields) for kind, fields in FIELDS_OF.items()},
}
"""Table → its columns. All of them are kept, under their public names."""


class Archived(NamedTuple):
    """What an archive took."""

    path: str
    calls: int
    rows: dict[str, int]
    """Rows by table; a table without any has no file."""


class Archive:
    """Files of one folder, one a table, each made when its first row comes."""

    def __init__(self, folder: Path, format: str) -> None:
        self.rows: dict[str, int] = {}
        self._folder = folder
        self._format = format
        self._files: dict[str, BinaryIO] = {}
        self._open = ExitStack()

    def take(self, rows: Sequence[Any]) -> None:
        """Write rows of one table, and bring them to the medium: they are deleted next.

        Raises:
            ConfigurationError: a file cannot be written.
        """
        table = rows[0].__tablename__
        try:
            file = self._files.get(table)
            is_new = file is None
            if file is None:
                file = self._files[table] = self._create(table)
            for text in self._lines(table, rows, headed=is_new):
                file.write(text.encode("utf-8", "replace"))
            file.flush()
            os.fsync(file.fileno())
        except OSError as error:
            raise _unwritable(self._folder, error) from error
        self.rows[table] = self.rows.get(table, 0) + len(rows)

    def _create(self, table: str) -> BinaryIO:
        path = self._folder / f"{table}.{self._format}"
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_APPEND | os.O_CLOEXEC, 0o600)
        file = cast("BinaryIO", self._open.enter_context(os.fdopen(descriptor, "wb")))
        _sync_names(self._folder)
        return file

    def _lines(self, table: str, rows: Sequence[Any], *, headed: bool) -> Iterator[str]:
        if self._format == "jsonl":
            return json_lines(_COLUMNS[table], [rows])
        lines = csv_lines(_COLUMNS[table], [rows], bom=False)
        if not headed:
            next(lines)
        return lines

    def close(self) -> None:
        """Close the files; a folder that took nothing is removed again."""
        self._open.close()
        if not any(self._folder.iterdir()):
            self._folder.rmdir()


@contextmanager
def archive_in(path: str | Path, format: str) -> Iterator[Archive]:
    """A new archive in a folder that is made for it, its owner's alone.

    Raises:
        QueryError: the format is no `jsonl` or `csv`.
        ConfigurationError: the folder is there already, or cannot be made.
    """
    if format not in _FORMATS:
        raise QueryError(
            f"format: {format!r} cannot be archived, rows are deleted as they are written. Use "
            f"{' or '.join(_FORMATS)}; for Parquet, export first and prune afterwards."
        )
    folder = Path(path).expanduser()
    try:
        folder.mkdir(mode=0o700)
        _sync_names(folder.parent)
    except FileExistsError:
        raise ConfigurationError(f"{folder} is there already. Name a new folder for each archive.") from None
    except OSError as error:
        raise _unwritable(folder, error) from error
    archive = Archive(folder, format)
    try:
        yield archive
    finally:
        archive.close()


def _sync_names(folder: Path) -> None:
    """Bring the names of the files in a folder to the medium."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _unwritable(folder: Path, error: OSError) -> ConfigurationError:
    return ConfigurationError(f"{folder} cannot be written: {error.strerror or error}.")
