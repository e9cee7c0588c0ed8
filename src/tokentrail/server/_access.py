"""Who may ask what: scopes, and the organisation or client whose rows alone a token may see."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, Final

from tokentrail._query import OWNERS, Exact
from tokentrail._records import Record
from tokentrail.errors import ConfigurationError

READ, EXPORT, WRITE = "read", "export", "write"
SCOPES: Final = (READ, EXPORT, WRITE)


class ForbiddenError(Exception):
    """This access does not reach that far; the message says how far it reaches."""


@dataclass(frozen=True)
class Access:
    """What the holder of a token may do.

    Args:
        scopes: of `read` (questions), `export` (whole rows as a file) and `write` (feedback, calls).
        where: fields that every row must have, e.g. `{"organization_id": "acme"}`: no other row is seen,
            and what is written gets them.

    Raises:
        ConfigurationError: there is no such scope, or no access can be bound to that field.
    """

    scopes: Iterable[str] = SCOPES
    where: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        scopes = frozenset((self.scopes,) if isinstance(self.scopes, str) else self.scopes)
        _known("scope", scopes, SCOPES)
        _known("owner", self.where, OWNERS)
        if not all(self.where.values()):
            raise ConfigurationError("An access cannot be bound to nothing. Give a value, or no bound.")
        object.__setattr__(self, "scopes", scopes)
        object.__setattr__(self, "where", MappingProxyType(dict(self.where)))

    def require(self, scope: str) -> None:
        """Raise ForbiddenError unless the scope is among ours."""
        if scope not in self.scopes:
            raise ForbiddenError(f"This token may {', '.join(sorted(self.scopes))}; this needs {scope!r}.")

    def narrow(self, asked: Mapping[str, Any]) -> dict[str, Any]:
        """Filters as asked, and no further than this access reaches.

        Raises:
            ForbiddenError: what was asked for lies outside.
        """
        for name, value in self.where.items():
            given = asked.get(name)
            if given is not None and given not in (value, [value]):
                raise ForbiddenError(f"{name}: this token sees {value!r} only.")
        return {**asked, **{name: Exact(value) for name, value in self.where.items()}}

    def sees(self, row: Any) -> bool:
        """Whether a row (a mapping or an object) is one of ours."""
        told = row if isinstance(row, Mapping) else vars(row)
        return all(told.get(name) == value for name, value in self.where.items())

    def stamp(self, fields: Record) -> Record:
        """What is to be written, as ours.

        Raises:
            ForbiddenError: it says that it is somebody else's.
        """
        for name, value in self.where.items():
            if fields.get(name) not in (None, value):
                raise ForbiddenError(f"{name}: this token writes {value!r} only.")
        return {**fields, **self.where}


def _known(what: str, names: Iterable[str], known: Iterable[str]) -> None:
    for name in names:
        if name not in known:
            raise ConfigurationError(f"{name!r} is no {what}. There are: {', '.join(known)}.")


EVERYTHING: Final = Access()
