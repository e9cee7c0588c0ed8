"""Writers that are killed at random moments; prints what they had acknowledged and what is left of it.

Usage: kill.py FOLDER ROUNDS THREADS SEED
"""

from __future__ import annotations

import json
import os
import random
import select
import signal
import sys
import threading
from pathlib import Path

from rig import Rig, adopt, left, rows, stored


def main(folder: Path, rounds: int, threads: int, seed: int) -> None:
    """Kill one writer a round; every third round a reader imports, else the next writer adopts."""
    moments = random.Random(seed)
    ended: set[str] = set()
    running: set[str] = set()
    for number in range(rounds):
        done, open_ = one(folder, threads, moments.uniform(0.01, 0.12))
        ended |= done
        running |= open_
        if number % 3 == 0:
            adopt(folder)
    complete = adopt(folder).complete
    found = stored(folder)
    ((tokens,),) = rows(folder, "sum(total_tokens)")
    print(
        json.dumps(
            {
                "complete": complete,
                "acknowledged": len(ended),
                "running": len(running),
                "lost": sorted(call_id for call_id in ended if found.get(call_id) != "success"),
                "not_interrupted": [call_id for call_id in running if found.get(call_id) != "interrupted"],
                "counted_wrong": tokens - 15 * sum(status == "success" for status in found.values()),
                "left": left(folder),
            }
        )
    )


def one(folder: Path, threads: int, moment: float) -> tuple[set[str], set[str]]:
    """One writer, killed `moment` seconds after its first call; returns the ids it ended and left running."""
    reading, writing = os.pipe()
    pid = os.fork()
    if pid == 0:
        os.close(reading)
        write(folder, threads, writing)
    os.close(writing)
    select.select([reading], [], [], 30)
    threading.Event().wait(moment)
    os.kill(pid, signal.SIGKILL)
    told = b""
    while data := os.read(reading, 1 << 20):
        told += data
    os.close(reading)
    os.waitpid(pid, 0)
    lines = [line.split() for line in told.decode().splitlines()]
    ended, running = ({call_id for kind, call_id in lines if kind == wanted} for wanted in ("e", "s"))
    return ended, running


def write(folder: Path, threads: int, pipe: int) -> None:
    """Record without end, and acknowledge each call on the pipe once `submit` has returned."""
    rig = Rig(folder, poll_interval=0.01, segment_bytes=100_000)

    def work() -> None:
        os.write(pipe, f"s {rig.start()['id']}\n".encode())
        while True:
            call_id = rig.call()
            # In degraded mode, which `health` shows, nothing is promised: the disk stands still.
            promised = "e" if rig.journal.durability == "process" else "d"
            os.write(pipe, f"{promised} {call_id}\n".encode())

    for _ in range(threads - 1):
        threading.Thread(target=work, daemon=True).start()
    work()


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]), int(sys.argv[4]))
