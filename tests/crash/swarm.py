"""Writers, one of which forks, and rival importers, all killed in random order; prints what is lost.

Usage: swarm.py FOLDER ROUNDS SEED
"""

from __future__ import annotations

import contextlib
import itertools
import json
import os
import random
import select
import signal
import sys
import threading
from collections.abc import Callable
from functools import partial
from pathlib import Path

from rig import Rig, adopt, left, rows, stored, url_of

from tokentrail.stores import open_store


def main(folder: Path, rounds: int, seed: int) -> None:
    """Each round: three writers and two importers begin, and are killed one after the other."""
    moments = random.Random(seed)
    open_store(url_of(folder)).close()
    told: set[str] = set()
    for _ in range(rounds):
        reading, writing = os.pipe()
        roles: list[Callable[[], None]] = [
            partial(write, folder, writing, forks=True),
            partial(write, folder, writing, forks=False),
            partial(write, folder, writing, forks=False),
            partial(import_, folder),
            partial(import_, folder),
        ]
        pids = [spawn(role) for role in roles]
        os.close(writing)
        select.select([reading], [], [], 30)
        moments.shuffle(pids)
        for pid in pids:
            threading.Event().wait(moments.uniform(0.005, 0.06))
            os.killpg(pid, signal.SIGKILL)
            os.waitpid(pid, 0)
        lines = b""
        while data := os.read(reading, 1 << 20):
            lines += data
        os.close(reading)
        told |= set(lines.decode().split())
    complete = adopt(folder).complete
    found = stored(folder)
    ((tokens,),) = rows(folder, "sum(total_tokens)")
    print(
        json.dumps(
            {
                "complete": complete,
                "acknowledged": len(told),
                "lost": sorted(call_id for call_id in told if found.get(call_id) != "success"),
                "counted_wrong": tokens - 15 * sum(status == "success" for status in found.values()),
                "left": left(folder),
            }
        )
    )


def spawn(role: Callable[[], None]) -> int:
    """A process of its own group, so that its children die with it."""
    pid = os.fork()
    if pid == 0:
        os.setpgid(0, 0)
        role()
        os._exit(0)
    with contextlib.suppress(OSError):  # the child was quicker, or is gone
        os.setpgid(pid, pid)
    return pid


def write(folder: Path, pipe: int, *, forks: bool) -> None:
    """Record without end; the one that forks does so in the middle, and both halves go on."""
    rig = Rig(folder, poll_interval=0.01, segment_bytes=50_000)
    for number in itertools.count():
        if forks and number == 20:
            os.fork()
        call_id = rig.call()
        if rig.journal.durability == "process":
            os.write(pipe, f"{call_id}\n".encode())


def import_(folder: Path) -> None:
    """Import without end."""
    while True:
        adopt(folder, timeout=0.01)


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]))
