"""Rows as a file, sent as they are read."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from datetime import UTC, datetime
from functools import partial
from typing import Any, Final

from fastapi import APIRouter, Request, Response
from fastapi.responses import StreamingResponse

from tokentrail._export import KINDS
from tokentrail._stats._catalog import Parameter
from tokentrail.errors import QueryTimeoutError
from tokentrail.server._access import EXPORT
from tokentrail.server._answering import access_of, problems
from tokentrail.server._ledger import Ledger
from tokentrail.server._parameters import Parameters

_MOST_ROWS: Final = 1_000_000
_MEDIA: Final = {"csv": "text/csv; charset=utf-8", "jsonl": "application/x-ndjson"}
_PARAMETERS: Final = Parameters(
    (
        Parameter("type", str, "llm-calls", choices=tuple(KINDS), help="What to export."),
        Parameter("format", str, "csv", choices=tuple(_MEDIA), help="CSV, or one JSON object a line."),
        Parameter("limit", int, _MOST_ROWS, least=1, most=_MOST_ROWS, help="How many rows at most."),
        Parameter("bom", bool, True, help="Whether CSV begins with a byte order mark, as spreadsheets want."),
    ),
    filtered=True,
)

_HEADERS: Final = {
    "X-Total-Count": {
        "description": "How many rows there were when it began; left out if counting takes too long.",
        "schema": {"type": "integer", "minimum": 0},
    },
    "X-Truncated": {
        "description": "Whether `limit` is below that.",
        "schema": {"type": "string", "enum": ["true", "false"]},
    },
}


def add_export(router: APIRouter, ledger: Ledger) -> None:
    """Add the route."""

    @router.get(
        "/export",
        response_class=StreamingResponse,
        responses={
            200: {
                "content": {"text/csv": {}, "application/x-ndjson": {}},
                "description": "The rows.",
                "headers": _HEADERS,
            },
            **problems(422, 503),
        },
        operation_id="export",
        tags=["export"],
        openapi_extra={"parameters": _PARAMETERS.describe()},
    )
    async def export(request: Request) -> Response:
        """Rows, newest first, as CSV or JSON lines; sent page by page. Needs the scope `export`."""
        access = access_of(request, EXPORT)
        arguments = _PARAMETERS.read(request.query_params)
        kind, format = arguments.pop("type", "llm-calls"), arguments.pop("format", "csv")
        limit, bom = arguments.pop("limit", _MOST_ROWS), arguments.pop("bom", True)
        asked = access.narrow(arguments)
        lines = await ledger.run(partial(_lines, ledger, kind, format, limit=limit, bom=bom, **asked))
        total = await ledger.run(partial(_total, ledger, kind, **asked))
        name = f"tokentrail-{kind}-{datetime.now(UTC):%Y%m%dT%H%M%SZ}.{format}"
        headers = {"content-disposition": f'attachment; filename="{name}"', **_extent(total, limit)}
        return StreamingResponse(_sent(ledger, lines), media_type=_MEDIA[format], headers=headers)


def _lines(ledger: Ledger, kind: str, format: str, **asked: Any) -> Iterator[str]:
    return ledger.stats.export_lines(kind, format, **asked)


def _total(ledger: Ledger, kind: str, **asked: Any) -> int | None:
    try:
        return ledger.stats.count_rows(kind, **asked)
    except QueryTimeoutError:
        return None  # rows may still be sent, page by page


def _extent(total: int | None, limit: int) -> dict[str, str]:
    if total is None:
        return {}
    return {"x-total-count": str(total), "x-truncated": str(total > limit).lower()}


async def _sent(ledger: Ledger, lines: Iterator[str]) -> AsyncIterator[bytes]:
    """Piece by piece, each read in a thread when the one before has been taken."""
    while (piece := await ledger.run(next, lines, None)) is not None:
        yield piece.encode("utf-8", "replace")
