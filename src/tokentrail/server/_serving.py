"""Serving the app by uvicorn: what may be bound to, how long a client may dawdle, and what is logged."""

from __future__ import annotations

import asyncio
import ipaddress
import logging
import socket
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, Final

from fastapi import FastAPI

from tokentrail._settings import Settings
from tokentrail.errors import ConfigurationError, needs
from tokentrail.server._access import EVERYTHING
from tokentrail.server._app import build_app
from tokentrail.server._feed import Feed
from tokentrail.server._keys import Keyring, token_of
from tokentrail.server._ledger import Ledger

with needs("uvicorn", "h11", extra="server"):
    import uvicorn
    from uvicorn.protocols.http.h11_impl import H11Protocol

HEADER_SECONDS: Final = 10.0
"""Seconds in which a request's head must be there."""
_MOST_CONNECTIONS: Final = 2048
_GOODBYE_SECONDS: Final = 2


@dataclass(frozen=True)
class Address:
    """Where a server listens, and what protects it there.

    Raises:
        ConfigurationError: others could reach it, and what they say could be read on the way.
    """

    host: str
    port: int
    certificate: str | None = None
    key: str | None = None
    behind_proxy: bool = False

    def __post_init__(self) -> None:
        if (self.certificate is None) != (self.key is None):
            raise ConfigurationError("--certificate and --key go together.")
        if not is_loopback(self.host) and self.certificate is None and not self.behind_proxy:
            raise ConfigurationError(
                f"--host {self.host} lets other machines in, and the token would cross the network readable. "
                "Give --certificate and --key, or --behind-proxy if a proxy in front of it speaks TLS."
            )

    @property
    def url(self) -> str:
        """What a browser is given."""
        name = f"[{self.host}]" if ":" in self.host else self.host
        return f"{'http' if self.certificate is None else 'https'}://{name}:{self.port}"


def is_loopback(host: str) -> bool:
    """Whether only this machine reaches an address."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False


def is_answering(host: str, port: int) -> bool:
    """Whether anything listens there."""
    try:
        with socket.create_connection((host, port), timeout=2):
            return True
    except OSError:
        return False


def run(
    settings: Settings,
    address: Address,
    allowed_hosts: Iterable[str],
    *,
    ready: Callable[[str], object] = lambda _: None,
) -> None:
    """Serve a database until the process is told to end.

    Args:
        settings: which database, and the data directory that holds the token.
        address: where to listen.
        allowed_hosts: names that clients call us by, beside loopback's.
        ready: called with the URL once connections are taken.

    Raises:
        ConfigurationError: the address cannot be had.
    """
    keys = Keyring({token_of(settings.data_dir): EVERYTHING})
    app = build_app(Ledger(settings.database_url), keys, allowed_hosts)
    server = Server(app, address, ready=lambda: ready(address.url))
    listening = listen(address)
    with listening:
        server.run(sockets=[listening])


def listen(address: Address) -> socket.socket:
    """A socket of that address.

    Raises:
        ConfigurationError: it cannot be had.
    """
    family = socket.AF_INET6 if ":" in address.host else socket.AF_INET
    # With the protocol named: asyncio sends small pieces at once only over a socket that says it is TCP's.
    listening = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listening.bind((address.host.strip("[]"), address.port))
    except OSError as error:
        listening.close()
        raise ConfigurationError(
            f"{address.url} cannot be had: {error.strerror}. Choose another one with --port."
        ) from None
    return listening


def _config(app: FastAPI, address: Address) -> uvicorn.Config:
    return uvicorn.Config(
        app,
        http=Impatient,
        ws="none",
        lifespan="on",
        loop="asyncio",
        access_log=False,
        log_level=logging.WARNING,
        server_header=False,
        proxy_headers=False,
        limit_concurrency=_MOST_CONNECTIONS,
        timeout_graceful_shutdown=_GOODBYE_SECONDS,
        ssl_certfile=address.certificate,
        ssl_keyfile=address.key,
    )


class Server(uvicorn.Server):
    """uvicorn's server, which says when it takes connections, and ends live streams before it stops."""

    def __init__(self, app: FastAPI, address: Address, *, ready: Callable[[], object]) -> None:
        super().__init__(_config(app, address))
        self._feed: Feed = app.state.feed
        self._ready = ready

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Begin to listen."""
        await super().startup(sockets)
        if self.started:
            self._ready()

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """End."""
        self._feed.close()
        await super().shutdown(sockets)


class Impatient(H11Protocol):
    """uvicorn's protocol, which would wait for the rest of a request's head for ever."""

    _late: asyncio.TimerHandle | None = None

    def connection_made(self, transport: Any) -> None:
        """Start the clock."""
        super().connection_made(transport)
        self._arm()

    def data_received(self, data: bytes) -> None:
        """Stop the clock when a request has begun; start it when half of one is there."""
        super().data_received(data)
        if self.cycle is not None and not self.cycle.response_complete:
            self._disarm()
        elif self._late is None:
            self._arm()

    def connection_lost(self, exc: Exception | None) -> None:
        """Forget the clock."""
        self._disarm()
        super().connection_lost(exc)

    def _arm(self) -> None:
        self._late = self.loop.call_later(HEADER_SECONDS, self._give_up)

    def _disarm(self) -> None:
        if self._late is not None:
            self._late.cancel()
            self._late = None

    def _give_up(self) -> None:
        self._late = None
        if self.cycle is None or self.cycle.response_complete:
            self.transport.close()
