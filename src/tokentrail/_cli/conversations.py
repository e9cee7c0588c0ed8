"""`sessions` and `session`: conversations, and one of them from turn to turn."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final
from zoneinfo import ZoneInfo

from tokentrail._cli.ledger import opened, plain, say_nothing, shown
from tokentrail._cli.show import COUNT, DOLLARS, TEXT, TIME, Show, put_json

if TYPE_CHECKING:
    from tokentrail._settings import Settings
    from tokentrail._stats._sessions import SessionPage

_SESSION: Final = (
    ("user", "user_id", TEXT),
    ("calls", "calls", COUNT),
    ("errors", "error_calls", COUNT),
    ("input", "input_tokens", COUNT),
    ("output", "output_tokens", COUNT),
    ("cost", "cost_usd", DOLLARS),
    ("no usage", "missing_usage_calls", COUNT),
    ("no price", "unpriced_calls", COUNT),
)
"""Title, attribute of `SessionItem`, kind."""


def sessions(
    settings: Settings,
    limit: int,
    asked: dict[str, Any],
    *,
    is_active: bool | None,
    active_minutes: int,
    as_json: bool,
) -> None:
    """Show the conversations, the last active first."""
    with opened(settings) as questions:
        page = questions.sessions(limit, is_active=is_active, active_minutes=active_minutes, **asked)
        if as_json:
            put_json("sessions", database=shown(settings), **plain(page))
        elif page.items:
            _show_sessions(page, asked["tz"])
        elif questions.overview().calls:
            Show().line(
                "No conversation matches. Calls belong to one when they are made inside "
                'tokentrail.context(session_id="…").'
            )
        else:
            say_nothing(questions, settings)


def _show_sessions(page: SessionPage, tz: str) -> None:
    show, zone = Show(), ZoneInfo(tz)
    columns = [
        ("session", TEXT),
        *((title, kind) for title, _, kind in _SESSION),
        ("started", TIME),
        (f"last call ({tz})", TIME),
        ("active", TEXT),
    ]
    rows = [
        (
            item.session_id,
            *(getattr(item, attribute) for _, attribute, _ in _SESSION),
            item.start_time.astimezone(zone),
            item.last_activity.astimezone(zone),
            "yes" if item.is_active else "no",
        )
        for item in page.items
    ]
    show.table(columns, rows)
    show.line()
    show.line(
        f"{len(page.items):,} of {page.total:,} sessions; active: a call in the last "
        f"{page.active_minutes} minutes"
    )
