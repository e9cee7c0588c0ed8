"""Importers that are killed at a named point; prints what the next one makes of it.

Usage: points.py FOLDER ROUNDS POINT…
"""

from __future__ import annotations

import json
import os
import signal
import sys
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from rig import Rig, adopt, left, no_price, rows, stored, url_of

from tokentrail._writer import import_pending
from tokentrail.errors import StoreError
from tokentrail.stores import open_store

CALLS = 300


def main(folder: Path, rounds: int, points: list[str]) -> None:
    """For each point: writers leave journals behind, an importer dies there, the next one does the rest."""
    open_store(url_of(folder)).close()
    report = {}
    for point in points:
        told: set[str] = set()
        running: set[str] = set()
        died = 0
        for _ in range(rounds):
            done, open_ = leave_behind(folder)
            told |= done
            running |= open_
            died += import_until(folder, point)
            again = adopt(folder)
        found = stored(folder)
        ((tokens,),) = rows(folder, "sum(total_tokens)")
        report[point] = {
            "died": died,
            "complete": again.complete,
            "lost": sum(found.get(call_id) != "success" for call_id in told),
            "not_interrupted": sum(found.get(call_id) != "interrupted" for call_id in running),
            "counted_wrong": tokens - 15 * sum(status == "success" for status in found.values()),
            "left": left(folder),
        }
    print(json.dumps(report))


def leave_behind(folder: Path) -> tuple[set[str], set[str]]:
    """A process that records into two segments, never reaches a store, and is killed."""
    reading, writing = os.pipe()
    pid = os.fork()
    if pid == 0:
        rig = Rig(folder, open_store=away)
        running = [rig.start()["id"] for _ in range(3)]
        done = [rig.call() for _ in range(CALLS // 2)]
        rig.journal.rotate()
        done += [rig.call() for _ in range(CALLS // 2)]
        os.write(writing, json.dumps([done, running]).encode())
        os.kill(os.getpid(), signal.SIGKILL)
    os.close(writing)
    told = b""
    while data := os.read(reading, 1 << 20):
        told += data
    os.close(reading)
    os.waitpid(pid, 0)
    done, running = json.loads(told)
    return set(done), set(running)


def away() -> Any:
    """A database that cannot be reached."""
    raise StoreError("away")


def import_until(folder: Path, point: str) -> int:
    """A process that imports and dies at the point; returns 1 if it did die there."""
    pid = os.fork()
    if pid == 0:

        def die(here: str) -> None:
            if here == point:
                os.kill(os.getpid(), signal.SIGKILL)

        def open_dying() -> Any:
            store: Any = open_store(url_of(folder))
            sa.event.listen(store._engine, "commit", lambda connection: die("before-commit"))
            sa.event.listen(
                store._engine,
                "before_cursor_execute",
                lambda connection, cursor, statement, *rest: (
                    die("before-pos") if "INTO journal_position" in statement else None
                ),
            )
            return store

        import_pending(url_of(folder), folder, open_store=open_dying, price=no_price, checkpoint=die)
        os._exit(0)
    _, status = os.waitpid(pid, 0)
    return int(os.WIFSIGNALED(status))


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]), sys.argv[3:])
