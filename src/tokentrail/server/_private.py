"""Files for our eyes only: written whole or not at all, and not read if others could have."""

from __future__ import annotations

import os
import secrets
from pathlib import Path

from tokentrail.errors import ConfigurationError


def write_beside(path: Path, text: str) -> Path:
    """A new file with mode 0600 in the folder of another, to be linked or moved to its place."""
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    whole = path.with_name(f".{path.name}-{secrets.token_hex(8)}")
    descriptor = os.open(whole, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    with os.fdopen(descriptor, "w", encoding="utf-8") as file:
        file.write(text)
        file.flush()
        os.fsync(descriptor)
    return whole


def read_private(path: Path, advice: str) -> str:
    """What a file holds.

    Args:
        path: the file; a link is not followed.
        advice: what to do if others can read it.

    Raises:
        ConfigurationError: others can.
        OSError: it cannot be read.
    """
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
    with os.fdopen(descriptor, encoding="utf-8") as file:
        if os.fstat(descriptor).st_mode & 0o077:
            raise ConfigurationError(f"{path} can be read by others. {advice}")
        return file.read()
