"""Settings: argument, then environment (`TOKENTRAIL_*`), then default."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

import platformdirs
from pydantic import Field, ValidationError
from pydantic_settings import BaseSettings, SettingsConfigDict

from tokentrail._health import logger
from tokentrail.errors import ConfigurationError


def _default_data_dir() -> Path:
    return Path(platformdirs.user_data_dir("tokentrail", appauthor=False))


class Settings(BaseSettings):
    """What a tracker is told. Every field is an argument of `Tracker` and a variable `TOKENTRAIL_<FIELD>`."""

    model_config = SettingsConfigDict(env_prefix="TOKENTRAIL_", extra="forbid", env_ignore_empty=True)

    database_url: str = ""
    """SQLAlchemy URL of the store; empty means `usage.db` in `data_dir`."""
    data_dir: Path = Field(default_factory=_default_data_dir)
    """Folder of the default database and of the journals; made with mode 0700."""
    enabled: bool = True
    """Whether calls are recorded at all."""

    organization_id: str | None = None
    project_id: str | None = None
    client_id: str | None = None
    user_id: str | None = None
    agent_id: str | None = None
    session_id: str | None = None
    tags: tuple[str, ...] = ()

    capture: Literal["none", "cut", "full"] = "none"
    """Whether requests and answers are stored: never, cut to some kilobytes, or whole."""
    summary_interval: int = Field(default=100, ge=0)
    """Log a summary every so many ended calls; 0 is off."""
    max_active: int = Field(default=10_000, ge=1)
    """Running calls kept in memory; beyond it the oldest end as `abandoned`."""
    active_max_age: float = Field(default=3600.0, gt=0)
    """Seconds after which a running call without a sign of life ends as `abandoned`."""
    durability: Literal["process", "power"] = "process"
    """What a call survives: the death of the process, or also a power cut (an fdatasync a call)."""
    estimate_missing: bool = False
    """Whether a library's own estimate is stored, marked `estimated`, where no usage was reported."""
    ask_for_usage: bool = False
    """Whether doors may change a request so that its stream carries usage."""


def load_settings(**arguments: Any) -> Settings:
    """Settings from arguments, environment and defaults.

    An argument that is wrong raises; a variable that is wrong is said once, loudly, and its default is
    used, because a typo in an environment must not stop the program that runs in it.

    Raises:
        ConfigurationError: an argument is wrong.
    """
    given = {name: value for name, value in arguments.items() if value is not None}
    try:
        settings = Settings(**given)
    except ValidationError as error:
        wrong = {str(item["loc"][0]): str(item["msg"]) for item in error.errors()}
        for name, message in wrong.items():
            if name in given or name not in Settings.model_fields:
                raise ConfigurationError(f"{name}: {message}. It was {given.get(name)!r}.") from None
            logger.warning("TOKENTRAIL_%s is ignored, its default is used: %s", name.upper(), message)
            given[name] = Settings.model_fields[name].get_default(call_default_factory=True)
        settings = Settings(**given)
    settings.data_dir = settings.data_dir.expanduser().absolute()
    settings.database_url = absolute_url(settings.database_url, settings.data_dir)
    return settings


def absolute_url(url: str, data_dir: Path) -> str:
    """A database URL that means the same from any working directory.

    The journal of a database is found by its URL, and a program may change its directory.
    """
    if not url:
        return f"sqlite:///{data_dir / 'usage.db'}"
    for prefix in ("sqlite:///", "sqlite+pysqlite:///"):
        path, _, query = url.removeprefix(prefix).partition("?")
        if url.startswith(prefix) and path and path != ":memory:" and not path.startswith("file:"):
            return f"sqlite:///{Path(path).expanduser().absolute()}" + (f"?{query}" if query else "")
    return url
