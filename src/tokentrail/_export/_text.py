"""Rows as text: CSV that no spreadsheet runs, and JSON lines."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterable, Iterator, Sequence
from datetime import datetime
from decimal import Decimal
from typing import Any, Final

from tokentrail._export._kinds import Column
from tokentrail._records import iso, to_us

BOM: Final = "\ufeff"
"""What tells a spreadsheet that a file is UTF-8."""
_DANGEROUS: Final = ("=", "+", "-", "@", "\t", "\r", "\n", "＝", "＋", "－", "＠")  # noqa: RUF001
"""Beginnings of a text that spreadsheets take for a formula (OWASP, "CSV Injection"); wide ones in Japan."""

Pages = Iterable[Sequence[Any]]


def csv_lines(columns: Sequence[Column], pages: Pages, *, bom: bool) -> Iterator[str]:
    """CSV as RFC 4180 has it: the heading, then each page's lines as one text."""
    yield (BOM if bom else "") + _csv([[column.name for column in columns]])
    values = [column.value for column in columns]
    for page in pages:
        yield _csv([[cell(value(row)) for value in values] for row in page])


def _csv(lines: Iterable[Sequence[str]]) -> str:
    text = io.StringIO(newline="")
    csv.writer(text, lineterminator="\r\n").writerows(lines)
    return text.getvalue()


def cell(value: Any) -> str:
    """A value in CSV: unknown is empty, a number is a number, and no text begins like a formula."""
    if value is None:
        return ""
    if isinstance(value, str):
        return "'" + value if value.startswith(_DANGEROUS) else value
    if isinstance(value, float):
        return f"{Decimal(repr(value)):f}"  # 0.00002 and not 2e-05
    if isinstance(value, (list, dict)):
        return _json(value) if value else ""
    return str(value) if isinstance(value, (bool, int)) else _plain(value)


def json_lines(columns: Sequence[Column], pages: Pages) -> Iterator[str]:
    """One JSON object a row and line; each page's lines as one text."""
    for page in pages:
        yield "".join(_json({column.name: column.value(row) for column in columns}) + "\n" for row in page)


def _plain(value: Any) -> str:
    return iso(to_us(value)) if isinstance(value, datetime) else str(value)


_json = json.JSONEncoder(ensure_ascii=False, separators=(",", ":"), default=_plain).encode
