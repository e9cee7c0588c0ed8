"""Tokens, one-time links and browser sessions: how a request shows who it is.

Only digests are kept and compared: whole, as bytes, in constant time.
"""

from __future__ import annotations

import hashlib
import hmac
import os
import secrets
import time
from collections.abc import Callable, Mapping
from http.cookies import CookieError, SimpleCookie
from pathlib import Path
from typing import Final

from tokentrail.errors import ConfigurationError
from tokentrail.server._access import EVERYTHING, Access
from tokentrail.server._private import read_private, write_beside
from tokentrail.server._tokens import NamedTokens, digest

TOKEN_FILE: Final = "server-token"  # noqa: S105  a name, not a secret
LONG_ENOUGH: Final = 43
"""Characters of a token that may face a network: what 32 random bytes are in base64."""
LINK_SECONDS: Final = 120
SESSION_SECONDS: Final = 12 * 3600
_MOST_SESSIONS: Final = 1000


def token_of(data_dir: Path) -> str:
    """The token that is kept in a data directory, made when first asked for; its file is 0600.

    Raises:
        ConfigurationError: the file cannot be made or read, or others could have read it.
    """
    path = data_dir / TOKEN_FILE
    try:
        _create(path)
        return _read(path)
    except OSError as error:
        raise ConfigurationError(
            f"The token file {path} cannot be used: {error.strerror}. Give token=, or another data directory."
        ) from None


def _create(path: Path) -> None:
    """Make the file whole or not at all: a second server may be starting at this moment."""
    if path.exists() or path.is_symlink():
        return
    whole = write_beside(path, secrets.token_urlsafe(32))
    try:
        os.link(whole, path)
    except FileExistsError:
        pass
    finally:
        whole.unlink()


def _read(path: Path) -> str:
    token = read_private(path, "Delete it; a new one will be made.").strip()
    if len(token) < LONG_ENOUGH:
        raise ConfigurationError(f"{path} holds no token. Delete it; a new one will be made.")
    return token


# --- one-time links ------------------------------------------------------------------------------


def sign_link(token: str, now: float) -> str:
    """A code that opens one browser session, once, within `LINK_SECONDS`; it does not tell the token."""
    told = f"{int(now) + LINK_SECONDS}.{secrets.token_urlsafe(16)}"
    return f"{told}.{_signature(digest(token.encode()), told)}"


def _signature(key: bytes, told: str) -> str:
    return hmac.new(key, b"tokentrail open " + told.encode(), hashlib.sha256).hexdigest()


# --- keys ----------------------------------------------------------------------------------------


class Keyring:
    """Knows the tokens and sessions of one server.

    Args:
        tokens: token → what its holder may do.
        kept: digest → likewise, as it is at the moment.
        now: the clock, in seconds since the epoch.

    Raises:
        ConfigurationError: there is no token, or an empty one.
    """

    def __init__(
        self,
        tokens: Mapping[str, Access],
        *,
        kept: Callable[[], Mapping[bytes, Access]] = dict,
        now: Callable[[], float] = time.time,
    ) -> None:
        if not tokens or not all(token.strip() for token in tokens):
            raise ConfigurationError("token: it is empty. Leave it out, and one is made and kept for you.")
        self._accesses = {digest(token.encode()): access for token, access in tokens.items()}
        self._kept = kept
        self._now = now
        self._used: dict[str, float] = {}
        self._sessions: dict[bytes, tuple[float, Access]] = {}

    def by_token(self, presented: bytes) -> Access | None:
        """Whose token this is. Every known digest is compared, so that time tells nothing."""
        theirs, found = digest(presented), None
        for known, access in {**self._kept(), **self._accesses}.items():
            if hmac.compare_digest(known, theirs):
                found = access
        return found

    def by_bearer(self, headers: list[bytes]) -> Access | None:
        """Whose `Authorization` header this is: there must be one, with the scheme `Bearer`."""
        if len(headers) != 1:
            return None
        scheme, _, presented = headers[0].partition(b" ")
        return self.by_token(presented.strip()) if scheme.lower() == b"bearer" else None

    def by_cookie(self, headers: list[bytes], name: str) -> Access | None:
        """Whose browser session this is."""
        try:
            cookies = SimpleCookie(b"; ".join(headers).decode("latin-1"))
        except CookieError:
            return None
        if name not in cookies:
            return None
        expires, access = self._sessions.get(digest(cookies[name].value.encode()), (0.0, None))
        return access if expires > self._now() else None

    def redeem(self, code: str) -> str | None:
        """Exchange the code of a one-time link for the secret of a new session; `None` if it is not good."""
        told, _, signature = code.rpartition(".")
        until = told.partition(".")[0]
        access = self._signer(told, signature)
        now = self._now()
        if access is None or not until.isdecimal() or not now < int(until) <= now + LINK_SECONDS:
            return None
        self._used = {used: end for used, end in self._used.items() if end > now}
        if told in self._used:
            return None
        self._used[told] = float(until)
        return self._begin(access, now)

    def _signer(self, told: str, signature: str) -> Access | None:
        found = None
        for key, access in self._accesses.items():
            if hmac.compare_digest(_signature(key, told).encode(), signature.encode()):
                found = access
        return found

    def _begin(self, access: Access, now: float) -> str:
        self._sessions = {key: one for key, one in self._sessions.items() if one[0] > now}
        while len(self._sessions) >= _MOST_SESSIONS:
            del self._sessions[next(iter(self._sessions))]
        secret = secrets.token_urlsafe(32)
        self._sessions[digest(secret.encode())] = (now + SESSION_SECONDS, access)
        return secret


def keyring(token: str | None, tokens: Mapping[str, Access] | None, data_dir: Path) -> Keyring:
    """The keys of a server: what was given, else the tokens that are kept in the data directory.

    Raises:
        ConfigurationError: a token is empty, or the file cannot be used.
    """
    given = dict(tokens or {})
    if token is not None:
        given[token] = EVERYTHING
    if given:
        return Keyring(given)
    return Keyring({token_of(data_dir): EVERYTHING}, kept=NamedTokens(data_dir).accesses)
