"""Following the journals of a database: the running calls of all processes, at the price of what is new."""

from __future__ import annotations

import os
import threading
from collections import OrderedDict
from pathlib import Path
from typing import Final

from tokentrail._journal._folder import owners, stamp
from tokentrail._journal._frames import Scanner
from tokentrail._journal._segment import LIVE, is_running
from tokentrail._records import START, Record

_ENDED_KEPT: Final = 20_000


class Follower:
    """Knows which calls run in the processes that write into a folder; each look reads only what is new.

    `read_running` tells the same from the beginning each time. May be used by several threads.

    Args:
        folder: of a database's journals.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._owners: dict[str, _Owner] = {}
        self._lock = threading.Lock()

    def look(self) -> list[Record]:
        """The start records of what runs now, oldest first."""
        with self._lock:
            found = {
                name: paths
                for name, paths in owners(self._folder).items()
                if all(path.suffix == LIVE for path in paths) and is_running(paths[0].name)
            }
            self._owners = {name: self._owners.get(name) or _Owner() for name in found}
            for name, owner in self._owners.items():
                owner.read(found[name])
            running = [record for owner in self._owners.values() for record in owner.running.values()]
        return sorted(running, key=lambda record: record.get("started_at", 0))


class _Owner:
    """What one process has told so far."""

    def __init__(self) -> None:
        self.running: dict[str, Record] = {}
        self._ended: OrderedDict[str, None] = OrderedDict()
        self._offsets: dict[Path, tuple[int, Record]] = {}

    def read(self, paths: list[Path]) -> None:
        """Go on where the last look ended; an owner's segments are read in their order."""
        self._offsets = {path: self._offsets.get(path, (0, {})) for path in paths}
        for path in paths:
            self._read(path)

    def _read(self, path: Path) -> None:
        start, header = self._offsets[path]
        try:
            if path.stat().st_size == start:
                return
            descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
        except OSError:
            return  # its owner has delivered and deleted it
        try:
            scanner = Scanner(descriptor, start, dead=False, stop=os.fstat(descriptor).st_size)
            for record, _ in scanner:
                stamp(record, scanner.header or header)
                self._take(record)
            self._offsets[path] = scanner.end, scanner.header or header
        finally:
            os.close(descriptor)

    def _take(self, record: Record) -> None:
        if "kind" in record:
            return  # a tool call or the like: no call
        call_id = record["id"]
        if record.get("finality", START) > START:
            self.running.pop(call_id, None)
            self._ended[call_id] = None
            if len(self._ended) > _ENDED_KEPT:
                self._ended.popitem(last=False)
        elif call_id not in self._ended:
            self.running[call_id] = {**self.running.get(call_id, {}), **record}
