"""Numbers, tables and JSON on a terminal or in a pipe."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Any, Final

from rich import box
from rich.console import Console, Group, RenderableType
from rich.table import Table
from rich.text import Text

UNKNOWN: Final = "–"  # noqa: RUF001  (an en dash, which no number begins with)
SCHEMA_VERSION: Final = 1
TEXT, COUNT, DOLLARS, MILLISECONDS, SHARE, TIME = "text", "count", "usd", "ms", "share", "time"
NUMBER: Final = "number"
"""Kinds of column: how its values are written. `None` is unknown in each of them, and never 0."""

Column = tuple[str, str]
_PIPE_WIDTH: Final = 240
_GAP: Final = 3
_WORD: Final = 12
"""Characters to which a column of words may be folded."""
_FIRST_TO_GO: Final = (
    "of",
    "no price",
    "no usage",
    "process",
    "door",
    "session",
    "id",
    "cache create",
    "cache read",
    "cached",
    "models",
    "last at",
    "started",
    "avg ms",
    "type",
    "provider",
    "total",
    "total tokens",
    "user",
    "ms",
    "calls",
    "active",
    "errors",
    "input",
    "output",
)
"""Titles of the columns that are left out where a terminal is narrow, in this order."""


class Show:
    """Writes for people."""

    def __init__(self) -> None:
        # Without a terminal there is no width to fold at, and programs grep whole lines.
        wide = None if sys.stdout.isatty() else _PIPE_WIDTH
        self.console = Console(highlight=False, markup=False, emoji=False, width=wide)

    def line(self, text: str = "") -> None:
        """A line of text, or several."""
        for one in text.split("\n"):
            self.console.print(Text(harmless(one)), soft_wrap=True)

    def heading(self, text: str) -> None:
        """A line above what follows."""
        self.console.print()
        self.console.print(Text(harmless(text), style="bold"))

    def table(
        self, columns: Sequence[Column], rows: Iterable[Sequence[Any]], total: Sequence[Any] | None = None
    ) -> None:
        """A table; `columns` are titles and kinds, cells are plain values; `total` is a last row apart."""
        self.put(build_table(columns, rows, self.console.width, total))

    def fitting(self, columns: Sequence[Column], rows: Sequence[Sequence[Any]]) -> list[Column]:
        """As many of the first columns as there is room for, at least one."""
        room = self.console.width
        for number, (title, kind) in enumerate(columns):
            room -= _room((title, kind), written_column(kind, [row[number] for row in rows]))
            if room < 0 and number:
                return list(columns[:number])
        return list(columns)

    def put(self, what: RenderableType) -> None:
        """Something of Rich's own; wider than the terminal rather than with digits cut off."""
        least = _least_width(what)
        if least > self.console.width:
            self.console.width = least
        self.console.print(what)


def build_table(
    columns: Sequence[Column], rows: Iterable[Sequence[Any]], width: int, total: Sequence[Any] | None = None
) -> Table:
    """A table with numbers to the right, and the same number of decimals down a column.

    Where it is too wide, columns are left out that matter least, and words are folded; never a number, and
    never the first column.
    """
    cells = [list(row) for row in (*rows, *([] if total is None else [total]))]
    written = {
        title: written_column(kind, [row[index] for row in cells])
        for index, (title, kind) in enumerate(columns)
    }
    shown = list(columns)
    for title in _FIRST_TO_GO:
        if sum(_room(column, written[column[0]]) for column in shown) <= width:
            break
        shown = [column for column in shown if column is columns[0] or column[0] != title]
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, show_edge=False)
    for title, kind in shown:
        whole = max(map(len, (title, *written[title])))
        words = kind == TEXT
        table.add_column(
            title,
            justify="left" if kind in (TEXT, TIME) else "right",
            overflow="fold",
            no_wrap=not words,
            min_width=min(whole, _WORD) if words else whole,
        )
    lines = list(zip(*(written[title] for title, _ in shown), strict=True))
    for number, row in enumerate(lines):
        is_total = total is not None and number == len(lines) - 1
        table.add_row(*(Text(cell) for cell in row), style="bold" if is_total else None)
        if total is not None and number == len(lines) - 2:
            table.add_section()
    return table


def _room(column: Column, cells: Sequence[str]) -> int:
    """The least width of a column, with the gap beside it."""
    whole = max(map(len, (column[0], *cells)))
    return _GAP + (min(whole, _WORD) if column[1] == TEXT else whole)


def _least_width(what: RenderableType) -> int:
    parts = what.renderables if isinstance(what, Group) else [what]
    tables = [part for part in parts if isinstance(part, Table)]
    return max((sum(_GAP + (column.min_width or 0) for column in one.columns) for one in tables), default=0)


def written_column(kind: str, values: Sequence[Any]) -> list[str]:
    """The values of a column as they are written; unknown ones as a dash."""
    places = _decimals(kind, [value for value in values if isinstance(value, (int, float)) and value])
    return [UNKNOWN if value is None else _written(kind, value, places) for value in values]


def written(kind: str, value: Any) -> str:
    """A single value as it is written in a column of its kind."""
    return written_column(kind, [value])[0]


def _decimals(kind: str, known: Sequence[float]) -> int:
    if kind == COUNT:
        return 0 if all(float(value).is_integer() for value in known) else 1
    if kind == SHARE:
        return 1
    smallest = min((abs(value) for value in known), default=1.0)
    if kind == DOLLARS:
        return 2 if smallest >= 1 else 4 if smallest >= 0.01 else 6
    return 0 if smallest >= 10 else 1


def _written(kind: str, value: Any, places: int) -> str:
    if kind == TIME:
        return written_time(value)
    if kind == TEXT or not isinstance(value, (int, float)):
        return harmless(str(value))
    if kind == NUMBER:
        return f"{value:,.1f}" if abs(value) >= 100 else f"{value:.4g}"
    if kind == SHARE:
        return f"{value * 100:.{places}f} %"
    return f"{'$' if kind == DOLLARS else ''}{value:,.{places}f}"


def written_time(moment: Any) -> str:
    """A moment to the second, in its own zone."""
    if moment is None:
        return UNKNOWN
    if isinstance(moment, datetime):
        return moment.strftime("%Y-%m-%d %H:%M:%S")
    return harmless(str(moment))


def counted(count: int, word: str) -> str:
    """How many there are of something."""
    return f"{count:,} {word}{'' if count == 1 else 's'}"


def harmless(text: str) -> str:
    """Text without control characters: a model's name is a stranger's word and must not steer a terminal."""
    if text.isprintable():
        return text
    return "".join(char if char.isprintable() else "�" for char in text)


def put_json(kind: str, **content: Any) -> None:
    """One JSON object for programs, with the version of its form."""
    body = {"schema_version": SCHEMA_VERSION, "kind": kind, **content}
    sys.stdout.write(json.dumps(body, ensure_ascii=False, indent=2, default=str) + "\n")
