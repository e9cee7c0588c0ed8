"""What the crash tests share: calls, writers over a real SQLite database, and what is in it afterwards."""

from __future__ import annotations

import os
import socket
import sqlite3
from pathlib import Path
from typing import Any

from tokentrail._health import Health
from tokentrail._journal import Journal, journal_folder
from tokentrail._records import FINAL, START, Record, new_id, now_us
from tokentrail._writer import Imported, Writer, import_pending
from tokentrail.stores import open_store


def url_of(folder: Path) -> str:
    """The URL of the database in a folder."""
    return f"sqlite:///{folder}/usage.db"


def started(**fields: Any) -> Record:
    """A start record, of the size and shape that doors make."""
    now = now_us()
    return {
        "id": new_id(now),
        "finality": START,
        "started_at": now,
        "model": "gpt-4o-mini",
        "requested_model": "gpt-4o-mini",
        "provider": "openai",
        "call_type": "chat",
        "is_streaming": False,
        "source": "manual",
        "seen_by": ["manual"],
        "client_id": "crash",
        "user_id": "u1",
        **fields,
    }


def ended(start: Record | None = None, finality: int = FINAL, **fields: Any) -> Record:
    """The end record of a call."""
    record = started() if start is None else dict(start)
    record.update(
        finality=finality,
        ended_at=record["started_at"] + 1500,
        created_at=record["started_at"] + 1500,
        duration_us=1500,
        status="success",
        input_tokens=10,
        output_tokens=5,
        total_tokens=15,
        usage_source="provider",
    )
    record.update(fields)
    return record


def no_price(*records: Record) -> None:
    """Calls in these tests cost nothing."""


class Rig:
    """A journal and a writer over one database.

    Args:
        folder: where database and journals lie.
        segment_bytes: as for `Journal`.
        options: as for `Writer`.
    """

    def __init__(
        self,
        folder: Path,
        *,
        segment_bytes: int = 8 << 20,
        journalled: bool = True,
        **options: Any,
    ) -> None:
        self.folder = folder
        self.url = url_of(folder)
        self.health = Health()
        self.journal = Journal(
            journal_folder(folder, self.url),
            health=self.health,
            header={"process_id": str(os.getpid()), "host": socket.gethostname()},
            segment_bytes=segment_bytes,
        )
        self.open: dict[str, Record] = {}
        url = self.url
        options = {"open_store": lambda: open_store(url), "price": no_price, **options}
        self.writer = Writer(
            journal=self.journal if journalled else None, running=self.running, health=self.health, **options
        )

    def running(self) -> list[Record]:
        """What has started and not ended."""
        return list(self.open.values())

    def start(self, **fields: Any) -> Record:
        """Begin a call; when this returns, it will have a row."""
        start = started(**fields)
        self.open[start["id"]] = start
        self.writer.note_start(start)
        return start

    def end(self, start: Record, **fields: Any) -> str:
        """End a call; when this returns, it is acknowledged."""
        del self.open[start["id"]]
        self.writer.submit(ended(start, **fields))
        return str(start["id"])

    def call(self, **fields: Any) -> str:
        """Record a call from start to end."""
        return self.end(self.start(), **fields)

    def segments(self) -> list[str]:
        """Names of the journal's files."""
        return sorted(path.name for path in self.journal.folder.glob("*"))


def adopt(folder: Path, **options: Any) -> Imported:
    """Import what dead processes left, as a reader does."""
    url = url_of(folder)
    return import_pending(url, folder, open_store=lambda: open_store(url), price=no_price, **options)


def stored(folder: Path) -> dict[str, str]:
    """Every row of the database: id → status."""
    path = folder / "usage.db"
    if not path.exists():
        return {}
    connection = sqlite3.connect(path)
    try:
        return dict(connection.execute("SELECT id, status FROM llm_call"))
    except sqlite3.OperationalError as error:
        if "no such table" not in str(error):
            raise
        return {}  # it is just being made
    finally:
        connection.close()


def rows(folder: Path, columns: str) -> list[tuple[Any, ...]]:
    """Some columns of every row, in the order of their ids."""
    connection = sqlite3.connect(folder / "usage.db")
    try:
        return list(connection.execute(f"SELECT {columns} FROM llm_call ORDER BY id"))
    finally:
        connection.close()


def positions(folder: Path) -> dict[str, int]:
    """How far journals are in the database."""
    connection = sqlite3.connect(folder / "usage.db")
    try:
        return dict(connection.execute("SELECT segment, position FROM journal_position"))
    finally:
        connection.close()


def left(folder: Path) -> list[str]:
    """Journal files that are still there, but for those that died at their birth: they hold nothing."""
    names = (path.name for path in journal_folder(folder, url_of(folder)).glob("*"))
    return sorted(name for name in names if not name.endswith(".new"))
