"""A segment: one file of frames, written by one process and locked for as long as it lives."""

from __future__ import annotations

import errno
import fcntl
import os
import stat
from pathlib import Path
from typing import Final

LIVE: Final = ".seg"
"""Suffix of a segment that its owner writes (or wrote, if nobody holds its lock)."""
ADOPTING: Final = ".adopting"
"""Suffix of a dead owner's segment while, or after, somebody imports it."""
DAMAGED: Final = ".damaged"
"""Suffix of an imported segment that is kept because not all of it could be read."""
NEW: Final = ".new"
"""Suffix of a segment that is not locked and headed yet."""
_UNSUPPORTED: Final = frozenset((errno.ENOLCK, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS, errno.EINVAL))

_sync = getattr(os, "fdatasync", os.fsync)


class Segment:
    """An open segment and what its owner knows of it.

    The descriptor is closed when the last reference goes, and no sooner: a thread that is about to write
    holds one, so it can never meet a closed descriptor, or one that has become somebody else's file.
    """

    __slots__ = (
        "carried", "drained", "fd", "name", "path", "retired", "retired_at", "spilled", "synced",
    )  # fmt: skip

    def __init__(self, fd: int, path: Path, size: int) -> None:
        self.fd = fd
        self.path = path
        self.name = path.stem
        self.drained = size
        """Bytes known to need nothing more: header, starts, and ends that are in the store."""
        self.synced = 0
        self.retired = False
        """Whether a newer segment has taken over. Set before the size is looked at for the last time."""
        self.retired_at = 0.0
        self.carried = False
        """Whether the starts of running calls have been written to the newer segment."""
        self.spilled = False
        """Whether ends were left to the file alone, so that it must be read again."""

    def size(self) -> int:
        """Bytes in the file."""
        return os.fstat(self.fd).st_size

    def is_there(self) -> bool:
        """Whether the file still has a name (its folder may have been removed)."""
        return os.fstat(self.fd).st_nlink > 0

    def sync(self) -> None:
        """Bring what was written to the medium."""
        size = self.size()
        if size != self.synced:
            _sync(self.fd)
            self.synced = size  # what came in between is synced next time

    def close(self) -> None:
        """Close the descriptor; a forked child must do so at once, it shares the lock."""
        fd, self.fd = self.fd, -1
        if fd >= 0:
            os.close(fd)

    __del__ = close


def create(folder: Path, name: str, head: bytes) -> Segment:
    """A new locked segment that begins with `head`.

    It gets its name last. A segment that could be seen before it is locked would be taken for a dead owner's
    by an importer, and deleted under its owner's feet.

    Raises:
        OSError: the folder cannot be made or written.
    """
    prepare(folder)
    fresh = folder / f"{name}{NEW}"
    flags = os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC | os.O_NOFOLLOW
    fd = os.open(fresh, flags, 0o600)
    try:
        lock(fd)
        if os.write(fd, head) != len(head):
            raise OSError(errno.ENOSPC, "No room for the head of a journal segment", str(fresh))
        path = folder / f"{name}{LIVE}"
        fresh.rename(path)
    except BaseException:
        os.close(fd)
        fresh.unlink(missing_ok=True)
        raise
    return Segment(fd, path, len(head))


def prepare(folder: Path) -> None:
    """Make the folder, and those above it that are missing, for the owner's eyes only.

    Raises:
        OSError: it cannot be made, or it is a link or somebody else's.
    """
    missing = []
    step = folder
    while not os.path.lexists(step):
        missing.append(step)
        step = step.parent
    for path in reversed(missing):
        path.mkdir(mode=0o700, exist_ok=True)
    found = os.lstat(folder)
    if not stat.S_ISDIR(found.st_mode):
        raise OSError(errno.ENOTDIR, "The journal folder is not a directory of its own", str(folder))
    if found.st_uid != os.geteuid():
        raise OSError(errno.EPERM, "The journal folder belongs to another user", str(folder))
    if stat.S_IMODE(found.st_mode) & 0o077:
        folder.chmod(0o700)


def lock(fd: int) -> bool:
    """Take the lock of a segment. Where the filesystem knows no locks, everybody may."""
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError as error:
        if error.errno not in _UNSUPPORTED:
            raise
        return not _owner_may_live(fd)
    return True


def _owner_may_live(fd: int) -> bool:
    """Without locks: whether the process that the segment is named after runs on this machine."""
    try:
        name = Path(f"/proc/self/fd/{fd}").readlink().name
    except OSError:
        return True
    return not name.endswith(NEW) and is_running(name)


def is_running(name: str) -> bool:
    """Whether the process exists that a segment is named after. Its number may be somebody else's by now."""
    pid = name.partition("-")[0]
    if not pid.isdigit():
        return False
    try:
        os.kill(int(pid), 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
