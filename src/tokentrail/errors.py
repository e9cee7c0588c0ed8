"""Every exception tokentrail raises on purpose.

TokentrailError
├── ConfigurationError      a setting, URL or argument is wrong; the message says the fix
│   └── MissingExtraError   a library is not installed; the message has the line that installs it
├── BudgetExceeded          the next call is not to be made: a budget is used up; only where asked for
├── StoreError              the store cannot be used
│   ├── QueryTimeoutError   a question took longer than it may
│   ├── StoreCorruptError   the database file is damaged
│   └── SchemaTooNewError   the database was written by a newer tokentrail
├── PriceListError          newer prices could not be fetched; those that are known go on holding
└── QueryError              a question cannot be asked; the message names the parameter

Nothing here is ever raised into a call of the host: doors and tracker count and log instead.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager


class TokentrailError(Exception):
    """Base of all errors of this package."""


class ConfigurationError(TokentrailError, ValueError):
    """A setting, URL or argument is wrong."""


class MissingExtraError(ConfigurationError, ImportError):
    """A library that this door needs is not installed."""

    def __init__(self, library: str, extra: str) -> None:
        super().__init__(f"{library} is not installed. Install it with:  pip install 'tokentrail[{extra}]'")


@contextmanager
def needs(*libraries: str, extra: str) -> Iterator[None]:
    """Around imports that an extra brings: where one of its libraries is not there, the error says so.

    Raises:
        MissingExtraError: with the line that installs it.
    """
    try:
        yield
    except ModuleNotFoundError as error:
        library = (error.name or "").partition(".")[0]
        if library not in libraries:
            raise
        raise MissingExtraError(library, extra) from None


class BudgetExceeded(TokentrailError):  # noqa: N818  the name that users of budgets know
    """A budget is used up, or the next call would exceed it. Raised before a call and never after one.

    Args:
        current_cost: what is known to have been used: dollars, or tokens of a budget in tokens.
        budget_limit: of how much.
        message: a sentence.
    """

    def __init__(self, current_cost: float, budget_limit: float, message: str | None = None) -> None:
        super().__init__(message or f"The budget is used up: {current_cost:g} of {budget_limit:g}.")
        self.current_cost = current_cost
        self.budget_limit = budget_limit


class StoreError(TokentrailError):
    """The store cannot be opened, read or written."""


class QueryTimeoutError(StoreError):
    """A question took longer than it may; ask for less time, or for fewer groups."""


class StoreCorruptError(StoreError):
    """The database file is damaged."""


class SchemaTooNewError(StoreError):
    """The database was written by a newer tokentrail than this one."""


class PriceListError(TokentrailError):
    """Newer prices could not be fetched."""


class QueryError(TokentrailError, ValueError):
    """A question cannot be asked as it stands."""
