"""Host and Origin: exact names only, so that no other site's name or page leads to us."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Final
from urllib.parse import urlsplit

from tokentrail.errors import ConfigurationError

LOOPBACK: Final = ("localhost", "127.0.0.1", "[::1]")
_HOST: Final = re.compile(r"(\[[0-9a-f:.]+\]|[a-z0-9._-]+)(?::([0-9]{1,5}))?")
_PORTS: Final = {"http": "80", "https": "443"}

Place = tuple[str, str]
"""A name, and a port where one was written."""


def place_of(host: str) -> Place | None:
    """What a Host header says; `None` if it is no host."""
    found = _HOST.fullmatch(host.lower())
    return None if found is None else (found[1], found[2] or "")


def allowed(names: Iterable[str]) -> frozenset[str]:
    """The names a server answers to: its own and loopback's.

    Raises:
        ConfigurationError: one is no name; patterns are none.
    """
    found = set(LOOPBACK)
    for name in names:
        written = f"[{name}]" if name.count(":") > 1 and not name.startswith("[") else name
        place = place_of(written)
        if place is None or place[1]:
            raise ConfigurationError(
                f"allowed_hosts: {name!r} is no host name. Give exact names without a port, such as "
                "stats.example.com; there are no patterns."
            )
        found.add(place[0])
    return frozenset(found)


def is_own_origin(origin: str, host: Place) -> bool:
    """Whether a page of this origin is a page of ours; `null` is nobody's."""
    try:
        parts = urlsplit(origin)
    except ValueError:
        return False
    place = place_of(parts.netloc)
    if parts.scheme not in _PORTS or place is None or parts.path or parts.query or parts.fragment:
        return False
    return _without_default(place) == _without_default(host)


def _without_default(place: Place) -> Place:
    return (place[0], "" if place[1] in _PORTS.values() else place[1])
