"""`sessions` and `session`: conversations, and one of them from turn to turn."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final
from zoneinfo import ZoneInfo

from tokentrail._cli.ledger import opened, plain, say_nothing, shown
from tokentrail._cli.reports import show_coverage
from tokentrail._cli.show import (
    COUNT,
    DOLLARS,
    MILLISECONDS,
    TEXT,
    TIME,
    UNKNOWN,
    Show,
    put_json,
    written,
    written_time,
)
from tokentrail.errors import ConfigurationError

if TYPE_CHECKING:
    from tokentrail._settings import Settings
    from tokentrail._stats._analysis import SessionAnalysis
    from tokentrail._stats._sessions import SessionPage
    from tokentrail._stats._turns import Turn

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


def session(settings: Settings, session_id: str, asked: dict[str, Any], *, as_json: bool) -> None:
    """Show one conversation.

    Raises:
        ConfigurationError: there is none of that name; `as_json` says so in the answer instead.
    """
    with opened(settings) as questions:
        answer = questions.session_analysis(session_id, **asked)
        if as_json:
            put_json("session", database=shown(settings), **plain(answer))
        elif not answer.found:
            raise ConfigurationError(
                f"There is no session {session_id!r} in {shown(settings)}. `tokentrail sessions` lists them."
            )
        else:
            _show_session(answer, asked["tz"])


def _show_session(answer: SessionAnalysis, tz: str) -> None:
    show, zone, used = Show(), ZoneInfo(tz), answer.llm_stats
    if answer.session is not None:
        item = answer.session
        first, last = (written_time(each.astimezone(zone)) for each in (item.start_time, item.last_activity))
        show.line(f"session   {item.session_id}")
        show.line(f"user      {item.user_id or UNKNOWN}")
        show.line(f"between   {first} and {last} ({tz}){', goes on' if item.is_active else ''}")
    show.line(f"calls     {used.calls:,}  ({used.success_calls:,} success, {used.error_calls:,} failed)")
    show.line(f"tokens    {written(COUNT, used.total_tokens)}")
    show.line(f"cost      {written(DOLLARS, used.cost_usd)}")
    show.line(f"messages  {answer.message_stats.total:,}, tool calls {answer.tool_stats.total:,}")
    show.line()
    show.table(
        [(f"turn begins ({tz})", TIME), *((title, kind) for title, kind, _ in _TURN), ("models", TEXT)],
        [
            (
                turn.started_at.astimezone(zone),
                *(value(turn) for _, _, value in _TURN),
                ", ".join(dict.fromkeys(call.model or UNKNOWN for call in turn.llm_calls)),
            )
            for turn in answer.turns
        ],
    )
    for error in answer.errors:
        what = f"{error.kind.replace('_', ' ')} {error.id}"
        show.line(f"{what} failed: {error.error_type}: {error.error_message}")
    if answer.detail_truncated:
        show.line("There is more than is shown here; `tokentrail export` has all of it.")
    show_coverage(show, used)


_TURN: Final[tuple[tuple[str, str, Callable[[Turn], Any]], ...]] = (
    ("status", TEXT, lambda turn: turn.status),
    ("replies", COUNT, lambda turn: len(turn.replies)),
    ("calls", COUNT, lambda turn: len(turn.llm_calls)),
    ("tools", COUNT, lambda turn: len(turn.tool_calls)),
    ("total", COUNT, lambda turn: turn.total_tokens),
    ("cost", DOLLARS, lambda turn: turn.cost_usd),
    ("ms", MILLISECONDS, lambda turn: turn.duration_ms),
)
"""Title, kind, value."""
