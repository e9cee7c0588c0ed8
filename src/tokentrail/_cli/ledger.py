"""The database that a command asks: opened, named, and what to say when there is nothing in it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from tokentrail._cli.show import Show
from tokentrail._records import FIELDS
from tokentrail.errors import ConfigurationError

if TYPE_CHECKING:
    from tokentrail._settings import Settings
    from tokentrail._stats import Stats
    from tokentrail._stats._answers import CallPage

_EMPTY: Final = """No calls are recorded in {url}

Two lines in a program that uses LiteLLM or LangChain record its calls:

    import tokentrail
    tokentrail.install()

To see it at work without a key:  tokentrail demo"""
_NO_MATCH: Final = "No calls match. Without filters there are some:  tokentrail calls"


@contextmanager
def opened(settings: Settings) -> Iterator[Stats]:
    """Questions to the database of the settings, which must be there.

    Raises:
        ConfigurationError: the file does not exist, and nothing waits for it in a journal either.
    """
    from tokentrail._stats import Stats

    require(settings)
    questions = Stats(settings.database_url)
    try:
        yield questions
    finally:
        questions.close()


def require(settings: Settings) -> None:
    """Refuse to make an empty database out of a mistyped path.

    Raises:
        ConfigurationError: the file does not exist, and nothing waits for it in a journal either.
    """
    from tokentrail._journal import journal_folder

    url = settings.database_url
    file = Path(url.removeprefix("sqlite:///").partition("?")[0])
    own = settings.data_dir / "usage.db"
    if not url.startswith("sqlite:///") or file == own or file.exists():
        return
    if not journal_folder(settings.data_dir, url).exists():
        raise ConfigurationError(
            f"There is no database {file} and no call waits for it. Check the path; "
            "`tokentrail db upgrade` would make an empty one."
        )


def say_nothing(questions: Stats, settings: Settings) -> None:
    """Say why there is nothing to show, and what to do about it."""
    show = Show()
    if questions.overview().calls:
        show.line(_NO_MATCH)
    else:
        show.line(_EMPTY.format(url=shown(settings)))


def shown(settings: Settings) -> str:
    """The database, as it may be shown."""
    from tokentrail._redact import clean_text

    return clean_text(settings.database_url)


def plain(answer: Any) -> Any:
    """An answer as JSON has it."""
    return answer.model_dump(mode="json")


def plain_page(page: CallPage) -> dict[str, Any]:
    """A page of calls as JSON has it, with every field in a fixed order."""
    found: dict[str, Any] = plain(page)
    found["items"] = [{name: item[name] for name in FIELDS} for item in found["items"]]
    return found
