"""A disk that is full for a while; prints what was promised and what arrived.

Usage: diskfull.py FOLDER recover|die
"""

from __future__ import annotations

import json
import os
import resource
import signal
import sys
from pathlib import Path

from rig import Rig, adopt, stored, url_of

from tokentrail.stores import open_store

ROOM = 100_000


def main(folder: Path, then: str) -> None:
    """Files may grow no further than `ROOM` bytes, database and journal alike; then they may, or we die."""
    open_store(url_of(folder)).close()
    reading, writing = os.pipe()
    pid = os.fork()
    if pid == 0:
        run(folder, then, writing)
    os.close(writing)
    told = b""
    while data := os.read(reading, 1 << 20):
        told += data
    os.waitpid(pid, 0)
    report = json.loads(told)
    adopted = adopt(folder)
    found = stored(folder)
    promised = report["promised"] + (report["in_memory"] if then == "recover" else [])
    report["lost"] = [call_id for call_id in promised if found.get(call_id) != "success"]
    report["complete"] = adopted.complete
    report["promised"], report["in_memory"] = len(report["promised"]), len(report["in_memory"])
    print(json.dumps(report))


def run(folder: Path, then: str, pipe: int) -> None:
    """Record until well after the journal is full."""
    _, most = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (ROOM, most))
    rig = Rig(folder, poll_interval=0.01)
    promised, in_memory = [], []
    for _ in range(600):
        call_id = rig.call()
        (promised if rig.writer.health()["durability"] == "process" else in_memory).append(call_id)
    before = rig.writer.health()
    report = {
        "promised": promised,
        "in_memory": in_memory,
        "durability": before["durability"],
        "flushed_while_full": rig.writer.flush(0.5),
    }
    if then == "recover":
        resource.setrlimit(resource.RLIMIT_FSIZE, (most, most))
        report["flushed"] = rig.writer.flush(20)
        last = rig.call()
        report["promised"] = [*promised, last]
        report["durability_after"] = rig.writer.health()["durability"]
        report["lost_counted"] = rig.health.snapshot()["lost"]
        rig.writer.flush(20)
    os.write(pipe, json.dumps(report).encode())
    os.kill(os.getpid(), signal.SIGKILL)


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2])
