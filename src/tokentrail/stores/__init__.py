"""Stores: four verbs and a goodbye, behind one URL."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Final

from tokentrail.errors import ConfigurationError

if TYPE_CHECKING:
    from tokentrail.stores.base import Store

__all__ = ["open_store"]

SCHEMES: Final = {
    "memory": "tokentrail.stores.memory:MemoryStore",
    "sqlite": "tokentrail.stores.sql:SqlStore",
    "sqlite+pysqlite": "tokentrail.stores.sql:SqlStore",
    "postgresql": "tokentrail.stores.sql:SqlStore",
    "postgresql+psycopg": "tokentrail.stores.sql:SqlStore",
}
"""URL scheme → "module:class", imported when asked for."""

_LATER: Final = frozenset({"clickhouse", "clickhousedb"})


def open_store(url: str, *, recover: bool = False) -> Store:
    """Open the store a URL names; creates or upgrades its tables.

    Args:
        url: `sqlite:///usage.db`, `postgresql+psycopg://user:password@host/db` or `memory://`.
        recover: set a damaged SQLite file aside as `<name>.corrupt-<time>` and begin a new one; the store's
            `set_aside` says where the damaged file is. Nothing is ever deleted.

    Raises:
        ConfigurationError: the URL is not one of a known store.
        MissingExtraError: the database's driver is not installed.
        StoreCorruptError: the database is damaged (and `recover` is off).
        SchemaTooNewError: a newer tokentrail wrote the database.
        StoreError: it cannot be opened.
    """
    scheme, separator, _ = url.partition(":")
    if scheme in _LATER:
        raise ConfigurationError(
            "ClickHouse is not available in this version. Use sqlite:/// or postgresql://."
        )
    if not separator or scheme not in SCHEMES:
        raise ConfigurationError(
            f"{scheme!r} is no database tokentrail knows. A URL begins with one of: "
            + ", ".join(f"{name}://" for name in SCHEMES)
            + "; for example sqlite:///usage.db."
        )
    module, _, name = SCHEMES[scheme].partition(":")
    store: Store = getattr(import_module(module), name)(url, recover=recover)
    return store
