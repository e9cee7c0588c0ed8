"""Files that are there whole or not at all, and that only their owner may read."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import NamedTemporaryFile
from typing import BinaryIO, Final, cast

from tokentrail.errors import ConfigurationError

STDOUT: Final = "-"


@contextmanager
def target(path: str | Path | BinaryIO) -> Iterator[BinaryIO]:
    """Something to write bytes to. A file appears under its name when all is written, else not at all.

    Raises:
        ConfigurationError: the path cannot be written to.
    """
    if not isinstance(path, (str, Path)):
        yield path
    elif str(path) == STDOUT:
        yield sys.stdout.buffer
        sys.stdout.buffer.flush()
    else:
        with _new_file(Path(path).expanduser()) as file:
            yield file


@contextmanager
def _new_file(path: Path) -> Iterator[BinaryIO]:
    if path.exists() and not path.is_file():
        raise ConfigurationError(
            f"{path} is no file that can be replaced. Give a file's name, or - for stdout."
        )
    path = path.resolve()  # a link stays a link; what it leads to is replaced
    try:
        # Made with mode 0600 and in the same folder, so that renaming it is one step.
        file = NamedTemporaryFile(dir=path.parent, prefix=f".{path.name}.", delete=False)  # noqa: SIM115
    except OSError as error:
        raise ConfigurationError(f"{path} cannot be written: {error.strerror or error}.") from error
    try:
        with file:
            yield cast("BinaryIO", file)
            file.flush()
            os.fsync(file.fileno())
        Path(file.name).replace(path)
    except BaseException:
        Path(file.name).unlink(missing_ok=True)
        raise
