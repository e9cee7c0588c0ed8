"""`tokentrail serve` and `tokentrail open`: the stats API on this machine, and the way into it."""

from __future__ import annotations

import time
import webbrowser
from typing import TYPE_CHECKING

from tokentrail._cli.ledger import require
from tokentrail._cli.show import Show
from tokentrail.errors import ConfigurationError

if TYPE_CHECKING:
    from tokentrail._settings import Settings
    from tokentrail.server._serving import Address


def address(host: str, port: int, certificate: str | None, key: str | None, *, behind_proxy: bool) -> Address:
    """Where to listen.

    Raises:
        ConfigurationError: others could reach it, and read what is said.
    """
    from tokentrail.server._serving import Address

    return Address(host, port, certificate=certificate, key=key, behind_proxy=behind_proxy)


def serve(settings: Settings, place: Address, allowed_hosts: list[str]) -> None:
    """Serve until the user interrupts.

    Raises:
        ConfigurationError: the address cannot be had, or there is no such database.
    """
    from tokentrail.server._serving import run

    require(settings)
    run(settings, place, allowed_hosts, ready=lambda url: _say(url, settings, place.port))


def _say(url: str, settings: Settings, port: int) -> None:
    from tokentrail._redact import clean_text
    from tokentrail.server._keys import TOKEN_FILE

    show = Show()
    show.line(f"tokentrail serves {clean_text(settings.database_url)} at {url}")
    show.line(f"  in a browser    tokentrail open --port {port}")
    show.line(f"  for programs    Authorization: Bearer <the token in {settings.data_dir / TOKEN_FILE}>")
    show.line("  to stop         Ctrl-C")


def open_page(settings: Settings, *, host: str, port: int, tls: bool, show_only: bool) -> None:
    """Open the page of a server on this machine, by a link that works once and soon runs out.

    Raises:
        ConfigurationError: nothing answers there.
    """
    from tokentrail.server._keys import sign_link, token_of
    from tokentrail.server._page import OPEN
    from tokentrail.server._serving import is_answering

    name = f"[{host}]" if ":" in host else host
    place = f"{'https' if tls else 'http'}://{name}:{port}"
    if not is_answering(host, port):
        raise ConfigurationError(f"Nothing answers at {place}. Start it:  tokentrail serve --port {port}")
    link = f"{place}{OPEN}?code={sign_link(token_of(settings.data_dir), time.time())}"
    if show_only or not webbrowser.open(link):
        Show().line(link)
