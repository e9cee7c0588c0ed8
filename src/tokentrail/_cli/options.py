"""Options that several commands share: which database, which calls, which window."""

from __future__ import annotations

import functools
import inspect
import re
import typing
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from tokentrail.errors import ConfigurationError

if TYPE_CHECKING:
    from tokentrail._settings import Settings

_SPAN: Final = re.compile(r"(\d+)\s*(min|[smhdw])")
_UNITS: Final = {"s": "seconds", "min": "minutes", "m": "minutes", "h": "hours", "d": "days", "w": "weeks"}

Database = Annotated[
    str | None,
    typer.Option(
        "--database",
        "-d",
        metavar="URL",
        help="Where the calls are: a database URL or the path of an SQLite file. "
        "Default: TOKENTRAIL_DATABASE_URL, else the ledger in your data directory.",
        show_default=False,
    ),
]
AsJson = Annotated[bool, typer.Option("--json", help="JSON for programs instead of tables.")]
Since = Annotated[
    str | None,
    typer.Option(metavar="WHEN", help="From when: 7d, 24h, 30min, 2w, a date or an ISO time."),
]
Until = Annotated[
    str | None,
    typer.Option(metavar="WHEN", help="Until when, as --since; a date includes its day."),
]
Zone = Annotated[str, typer.Option("--tz", metavar="ZONE", help="Time zone of days and of naive times.")]
Model = Annotated[list[str] | None, typer.Option(help="Only this model; * and ? allowed; repeatable.")]
Provider = Annotated[list[str] | None, typer.Option(help="Only this provider.")]
User = Annotated[list[str] | None, typer.Option(help="Only this user.")]
Session = Annotated[list[str] | None, typer.Option(help="Only this session.")]
Client = Annotated[list[str] | None, typer.Option(help="Only this client.")]
CallType = Annotated[list[str] | None, typer.Option(help="Only this type of call.")]
Status = Annotated[list[str] | None, typer.Option(help="Only calls that ended like this.")]
Tag = Annotated[list[str] | None, typer.Option(help="Only calls with this tag.")]
RequestedModel = Annotated[list[str] | None, typer.Option(help="Only calls that asked for this model.")]
Agent = Annotated[list[str] | None, typer.Option(help="Only this agent.")]
Run = Annotated[list[str] | None, typer.Option(help="Only this run.")]
Project = Annotated[list[str] | None, typer.Option(help="Only this project.")]
Organization = Annotated[list[str] | None, typer.Option(help="Only this organization.")]
Streaming = Annotated[
    bool | None, typer.Option("--streaming/--no-streaming", help="Only streams, or only calls that are none.")
]

FILTERS: Final[Mapping[str, tuple[str, Any]]] = {
    "model": ("model", Model),
    "provider": ("provider", Provider),
    "user": ("user_id", User),
    "session": ("session_id", Session),
    "client": ("client_id", Client),
    "agent": ("agent_id", Agent),
    "run": ("run_id", Run),
    "project": ("project_id", Project),
    "organization": ("organization_id", Organization),
    "call_type": ("call_type", CallType),
    "status": ("status", Status),
    "tag": ("tag", Tag),
    "requested_model": ("requested_model", RequestedModel),
    "streaming": ("is_streaming", Streaming),
}
"""Option → the filter of a question that it is, and its type."""
_SHARED: Final[Mapping[str, tuple[Any, Any]]] = {
    "database": (Database, None),
    "since": (Since, None),
    "until": (Until, None),
    "tz": (Zone, "UTC"),
    **{name: (kind, None) for name, (_, kind) in FILTERS.items()},
    "as_json": (AsJson, False),
}
"""Option → type and default."""


def asking(command: Callable[..., None], *, without: tuple[str, ...] = ()) -> Callable[..., None]:
    """Give a command the options of every question: database, window, filters, `--json`.

    The command is called with `settings`, `asked` (the filters as keyword arguments) and `as_json`, and with
    the options that it names itself.

    Args:
        command: the command.
        without: filters that it does not take.
    """
    # Settings are loaded by whoever asks, not by a help text.
    hints = typing.get_type_hints(command, localns={"Settings": object}, include_extras=True)
    own = {
        name: each.replace(kind=inspect.Parameter.KEYWORD_ONLY, annotation=hints[name])
        for name, each in inspect.signature(command).parameters.items()
        if name not in ("settings", "asked", "as_json")
    }
    shared = {name: each for name, each in _SHARED.items() if name not in without and name not in own}

    @functools.wraps(command)
    def run(**given: Any) -> None:
        told = {name: given.pop(name) for name in shared}
        wanted = {field: told[name] for name, (field, _) in FILTERS.items() if name in told}
        asked = filters(told["since"], told["until"], told["tz"], **wanted)
        command(settings=settings_for(told["database"]), asked=asked, as_json=told["as_json"], **given)

    options = [
        inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=kind)
        for name, (kind, default) in shared.items()
    ]
    parameters = [*own.values(), *options]
    run.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    run.__annotations__ = {each.name: each.annotation for each in parameters}
    return run


def settings_for(database: str | None) -> Settings:
    """The settings, with the database of the option; a bare path is an SQLite file.

    Raises:
        ConfigurationError: the option is empty.
    """
    from tokentrail._settings import load_settings  # pydantic is not needed to print a help text

    if database is not None and not database.strip():
        raise ConfigurationError("--database is empty. Give a database URL or the path of an SQLite file.")
    if database is not None and "://" not in database and not database.startswith("memory:"):
        database = f"sqlite:///{database}"
    return load_settings(database_url=database)


def moment(text: str | None, option: str) -> datetime | str | None:
    """A point in time: a span before now becomes one, a date or an ISO time is handed on as it is.

    Raises:
        ConfigurationError: it is none of them.
    """
    if text is None:
        return None
    span = _SPAN.fullmatch(text.strip())
    try:
        if span is not None:
            return datetime.now(UTC) - timedelta(**{_UNITS[span[2]]: int(span[1])})
        datetime.fromisoformat(text.strip())
    except (ValueError, OverflowError):
        raise ConfigurationError(
            f"{option} {text!r} is no point in time. Write 7d, 24h, 30min, 2026-01-31 or 2026-01-31T08:00."
        ) from None
    return text.strip()


def filters(since: str | None, until: str | None, tz: str, **given: Any) -> dict[str, Any]:
    """The keyword arguments for a question: only what was asked for."""
    window = {"start": moment(since, "--since"), "end": moment(until, "--until"), "tz": tz}
    return {name: value for name, value in {**window, **given}.items() if value not in (None, [], "")}
