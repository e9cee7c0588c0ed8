"""`errors`: what went wrong, where, how often, and the latest of it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Final
from zoneinfo import ZoneInfo

from tokentrail._cli.ledger import opened, plain, say_nothing, shown
from tokentrail._cli.show import COUNT, SHARE, TEXT, TIME, Show, counted, put_json, written

if TYPE_CHECKING:
    from tokentrail._settings import Settings
    from tokentrail._stats._answers import ErrorCount, ErrorStatistics
    from tokentrail._stats._conversation_answers import ErrorPage

_MESSAGE: Final = 80
"""Characters of a message in a table."""


def errors(settings: Settings, limit: int, asked: dict[str, Any], *, as_json: bool) -> None:
    """Show errors and timeouts by type, model and provider, and the latest ones."""
    with opened(settings) as questions:
        statistics = questions.error_statistics(**asked)
        latest = questions.errors(limit, **asked)
        if as_json:
            put_json("errors", database=shown(settings), statistics=plain(statistics), latest=plain(latest))
        elif not statistics.total_calls and not latest.items:
            say_nothing(questions, settings)
        elif not latest.items:
            Show().line(f"No errors in {counted(statistics.total_calls, 'call')}.")
        else:
            _show(statistics, latest, asked["tz"])


def _show(statistics: ErrorStatistics, latest: ErrorPage, tz: str) -> None:
    show, zone = Show(), ZoneInfo(tz)
    show.line(
        f"{counted(statistics.error_calls, 'error')}, {statistics.timeout_calls:,} of them by timeout, in "
        f"{counted(statistics.total_calls, 'call')}; {written(SHARE, statistics.error_rate)} of those that "
        "finished"
    )
    for title, counts in (
        ("type", statistics.by_type), ("model", statistics.by_model), ("provider", statistics.by_provider),
    ):  # fmt: skip
        if counts:
            show.heading(f"by {title}")
            _table(show, title, counts, zone)
    if latest.items:
        show.heading("latest")
        columns = [
            (f"started ({tz})", TIME), ("of", TEXT), ("name", TEXT), ("error", TEXT), ("message", TEXT),
        ]  # fmt: skip
        show.table(
            columns,
            [
                (
                    each.started_at.astimezone(zone),
                    each.kind.replace("_", " "),
                    each.name,
                    each.error_type,
                    _cut(each.error_message),
                )
                for each in latest.items
            ],
        )


def _table(show: Show, title: str, counts: Sequence[ErrorCount], zone: ZoneInfo) -> None:
    columns = [(title, TEXT), ("errors", COUNT), ("share", SHARE), ("of calls", COUNT), ("last at", TIME)]
    show.table(
        columns,
        [
            (each.key, each.count, each.share, each.calls, each.last_at and each.last_at.astimezone(zone))
            for each in counts
        ],
    )


def _cut(message: str | None) -> str | None:
    return message if message is None or len(message) <= _MESSAGE else f"{message[: _MESSAGE - 1]}…"
