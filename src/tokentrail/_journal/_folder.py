"""The folder of a database's journals, seen from outside: which segments are dead, and what they hold."""

from __future__ import annotations

import hashlib
import os
import time
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Final
from urllib.parse import parse_qsl, unquote, urlencode, urlsplit, urlunsplit

from tokentrail._journal._frames import Scanner, encode_with_json
from tokentrail._journal._segment import ADOPTING, DAMAGED, LIVE, NEW, is_running, lock
from tokentrail._records import PROVISIONAL, START, Record

_SECRETS: Final = frozenset(("password", "passwd", "pwd", "token", "secret"))
REFUSED: Final = "refused.jsonl"
"""File of the records that a store could not take, one JSON object a line."""
_CLAIMING: Final = 0.01


def journal_folder(data_dir: Path, url: str) -> Path:
    """Where the journals of a database lie: a folder of its own, named after its absolute URL.

    The password is left out, so that changing it does not orphan what is still to be delivered.
    """
    return data_dir / "journals" / hashlib.sha256(_identity(url).encode()).hexdigest()[:20]


def _identity(url: str) -> str:
    scheme, _, rest = url.partition("://")
    if scheme.startswith("sqlite"):
        path = rest.partition("?")[0].removeprefix("/")
        return f"sqlite:///{os.path.realpath(path)}"
    parts = urlsplit(url)
    user, at, host = parts.netloc.rpartition("@")
    query = [(key, _absolute(key, value)) for key, value in parse_qsl(parts.query) if key not in _SECRETS]
    return urlunsplit(
        parts._replace(
            scheme=scheme.partition("+")[0],  # the driver is no other database
            netloc=unquote(user.partition(":")[0]) + at + host.lower(),
            query=urlencode(sorted(query)),
        )
    )


def _absolute(key: str, value: str) -> str:
    return os.path.realpath(value) if key == "path" else value


class Claim:
    """A dead owner's segment that is ours to import: nobody else can have its lock while we hold it."""

    def __init__(self, fd: int, path: Path) -> None:
        self.fd = fd
        self.path = path
        self.name = path.stem
        self.damaged = 0

    def finish(self) -> None:
        """Delete the segment, its records being in the store; a damaged one is kept under another name."""
        if self.damaged:
            self.path.rename(self.path.with_suffix(DAMAGED))
        else:
            self.path.unlink(missing_ok=True)

    def release(self) -> None:
        """Give up the lock."""
        fd, self.fd = self.fd, -1
        if fd >= 0:
            os.close(fd)


class Calls:
    """What the segments of one owner hold, oldest first.

    They are read together, because a call may begin in one segment and end in the next.
    """

    def __init__(self, claims: list[Claim], *, dead: bool = True) -> None:
        self.claims = claims
        self._dead = dead
        self.torn = 0
        self.open: dict[str, Record] = {}
        self._ended: set[str] = set()

    def ends(self) -> Iterator[tuple[Claim, Record, int]]:
        """Every end, with its segment and the offset behind it; afterwards `open` has what never ended."""
        for claim in self.claims:
            scanner = Scanner(claim.fd, dead=self._dead)
            for record, offset in scanner:
                stamp(record, scanner.header)
                if self._is_end(record):
                    yield claim, record, offset
            claim.damaged = scanner.damaged
            self.torn += scanner.torn

    def _is_end(self, record: Record) -> bool:
        call_id = record["id"]
        if record.get("finality", START) > START:
            self._ended.add(call_id)
            self.open.pop(call_id, None)
            return True
        if call_id not in self._ended:
            self.open[call_id] = {**self.open.get(call_id, {}), **record}
        return False

    def release(self) -> None:
        """Give up the locks."""
        for claim in self.claims:
            claim.release()


def stamp(record: Record, header: Record) -> None:
    """Say on a record where it was made."""
    for name in ("process_id", "host"):
        if name in header and name not in record:
            record[name] = header[name]


def interrupted(start: Record) -> Record:
    """The row of a call whose process died while it ran.

    Provisional: it is concluded, not witnessed. Whatever somebody saw of the call's end (a forked child, a
    segment that is adopted later) is stronger, and this replaces none of it.
    """
    told = {name: value for name, value in start.items() if name not in ("ended_at", "duration_us")}
    return {"usage_source": "missing", **told, "finality": PROVISIONAL, "status": "interrupted"}


def owners(folder: Path) -> dict[str, list[Path]]:
    """The segments in a folder, by owner, each owner's oldest first."""
    found: defaultdict[str, list[Path]] = defaultdict(list)
    try:
        paths = list(folder.iterdir())
    except OSError:
        return {}
    for path in paths:
        if path.suffix in (LIVE, ADOPTING):
            found[path.stem.rpartition("-")[0]].append(path)
    for of_one in found.values():
        of_one.sort(key=_number)
    return found


def _number(path: Path) -> tuple[int, str]:
    tail = path.stem.rpartition("-")[2]
    return (int(tail) if tail.isdigit() else 0, path.name)


def take(paths: list[Path]) -> Calls | None:
    """Claim all segments of an owner; None if it lives, or somebody else is importing them."""
    claims: list[Claim] = []
    for path in paths:
        claim = _claim(path)
        if claim is None and path.exists():
            for claimed in claims:
                claimed.release()
            return None
        if claim is not None:
            claims.append(claim)
    return Calls(claims) if claims else None


def _claim(path: Path) -> Claim | None:
    try:
        fd = os.open(path, os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW)
    except OSError:
        return None
    try:
        if lock(fd) and _same_file(fd, path):
            adopting = path.with_suffix(ADOPTING)
            if path != adopting:
                path.rename(adopting)
            return Claim(fd, adopting)
    except OSError:
        pass  # somebody was faster: whatever there is to do, they do
    os.close(fd)
    return None


def _same_file(fd: int, path: Path) -> bool:
    """Whether what was opened is still there under its name: a rival may have finished in between."""
    ours, there = os.fstat(fd), os.lstat(path)
    return (ours.st_ino, ours.st_dev) == (there.st_ino, there.st_dev)


def is_being_adopted(paths: list[Path]) -> bool:
    """Whether somebody else imports these segments at this moment (rather than their owner writing them)."""
    if all(path.suffix == LIVE for path in paths) and not is_running(paths[0].name):
        time.sleep(_CLAIMING)  # a rival between the lock and the new name, or an owner in another container
    return any(path.suffix == ADOPTING or not path.exists() for path in paths) or any(
        path.with_suffix(ADOPTING).exists() for path in paths
    )


def live_ends(paths: list[Path], positions: dict[str, int]) -> Iterator[Record]:
    """Ends in the segments of a living owner, behind the positions that are in the store already."""
    for path in paths:
        try:
            fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
        except OSError:
            continue  # its owner has delivered and deleted it
        try:
            header = _header(fd)
            for record, _ in ends_of(fd, positions.get(path.stem, 0)):
                stamp(record, header)
                yield record
        finally:
            os.close(fd)


def ends_of(fd: int, start: int) -> Iterator[tuple[Record, int]]:
    """Ends in a segment that may still be written, each with the offset behind it."""
    for record, offset in Scanner(fd, start, dead=False, stop=os.fstat(fd).st_size):
        if record.get("finality", START) > START:
            yield record, offset


def _header(fd: int) -> Record:
    scanner = Scanner(fd, dead=False)
    next(iter(scanner), None)
    return scanner.header


def read_running(folder: Path) -> list[Record]:
    """The running calls of all living processes that write into a folder: start records, oldest first."""
    running: dict[str, Record] = {}
    for paths in owners(folder).values():
        if is_running(paths[0].name) and not is_being_adopted(paths):
            running.update(_open_starts(paths))
    return sorted(running.values(), key=lambda record: record.get("started_at", 0))


def _open_starts(paths: list[Path]) -> dict[str, Record]:
    claims = []
    for path in paths:
        try:
            claims.append(Claim(os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW), path))
        except OSError:
            continue  # its owner has delivered and deleted it
    calls = Calls(claims, dead=False)
    try:
        for _ in calls.ends():
            continue
    finally:
        calls.release()
    return {call_id: record for call_id, record in calls.open.items() if "kind" not in record}


def set_aside(folder: Path, record: Record) -> None:
    """Keep a record that the store refuses, for a person to look at.

    Raises:
        OSError: it cannot be kept.
    """
    flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW
    fd = os.open(folder / REFUSED, flags, 0o600)
    try:
        os.write(fd, encode_with_json(record) + b"\n")
    finally:
        os.close(fd)


def sweep(folder: Path, older_than: float) -> None:
    """Delete files that a process died over before they became segments; they hold no record.

    Args:
        folder: of a database's journals.
        older_than: seconds since the epoch; younger files may be about to become segments.
    """
    for path in folder.glob(f"*{NEW}"):
        try:
            if path.stat().st_mtime < older_than:
                path.unlink()
        except OSError:
            continue
