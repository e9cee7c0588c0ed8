"""Tokens by name, kept beside the server's own: who else may ask, and how far that reaches."""

from __future__ import annotations

import hashlib
import json
import secrets
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from tokentrail._health import logger
from tokentrail.errors import ConfigurationError
from tokentrail.server._access import Access
from tokentrail.server._private import read_private, write_beside

TOKENS_FILE: Final = "server-tokens.json"


def digest(secret: bytes) -> bytes:
    """What is kept of a token: enough to know it again, too little to be it."""
    return hashlib.sha256(secret).digest()


class NamedTokens:
    """The tokens of `server-tokens.json` in a data directory. A running server sees every change at once.

    Args:
        data_dir: where the file is. Its mode is 0600, and it holds digests only.
    """

    def __init__(self, data_dir: Path) -> None:
        self._path = data_dir / TOKENS_FILE
        self._seen: tuple[int, ...] | None = None
        self._accesses: dict[bytes, Access] = {}

    def all(self) -> dict[str, Access]:
        """What each name may do.

        Raises:
            ConfigurationError: the file cannot be read, or others can read it.
        """
        return {name: _access(entry) for name, entry in self._entries().items()}

    def add(self, name: str, access: Access) -> str:
        """Make a token; it is told here and never again.

        Raises:
            ConfigurationError: there is one of that name, or the file cannot be used.
        """
        entries = self._entries()
        if name in entries:
            raise ConfigurationError(f"There is a token {name!r} already. Remove it, or take another name.")
        token = secrets.token_urlsafe(32)
        entries[name] = {
            "sha256": digest(token.encode()).hex(),
            "scopes": sorted(access.scopes),
            "where": dict(access.where),
        }
        self._write(entries)
        return token

    def remove(self, name: str) -> None:
        """Let a token open nothing any more.

        Raises:
            ConfigurationError: there is none of that name, or the file cannot be used.
        """
        entries = self._entries()
        if entries.pop(name, None) is None:
            raise ConfigurationError(f"There is no token {name!r}. `tokentrail token list` shows them.")
        self._write(entries)

    def accesses(self) -> Mapping[bytes, Access]:
        """Digest → access, as the file says now; none while it cannot be read."""
        seen = self._look()
        if seen != self._seen:
            try:
                entries = self._entries() if seen else {}
                self._accesses = {bytes.fromhex(each["sha256"]): _access(each) for each in entries.values()}
            except ConfigurationError as error:
                logger.warning("tokentrail: no named token is accepted. %s", error)
                self._accesses = {}
            self._seen = seen
        return self._accesses

    def _look(self) -> tuple[int, ...]:
        try:
            found = self._path.lstat()
        except OSError:
            return ()
        return found.st_ino, found.st_mtime_ns, found.st_size, found.st_mode

    def _entries(self) -> dict[str, dict[str, Any]]:
        try:
            entries: dict[str, dict[str, Any]] = json.loads(read_private(self._path, "Close it:  chmod 600"))
            for each in entries.values():
                bytes.fromhex(each["sha256"])
                _access(each)
        except FileNotFoundError:
            return {}
        except OSError as error:
            raise ConfigurationError(f"{self._path} cannot be read: {error.strerror}.") from None
        except (ValueError, TypeError, KeyError, AttributeError) as error:
            if isinstance(error, ConfigurationError):
                raise
            raise ConfigurationError(
                f"{self._path} is damaged. Delete it, and make its tokens anew by `tokentrail token add`."
            ) from None
        return entries

    def _write(self, entries: Mapping[str, Any]) -> None:
        try:
            write_beside(self._path, json.dumps(entries, indent=1)).replace(self._path)
        except OSError as error:
            raise ConfigurationError(f"{self._path} cannot be written: {error.strerror}.") from None


def _access(entry: Mapping[str, Any]) -> Access:
    return Access(scopes=entry["scopes"], where=entry["where"])
