"""Forks in every way a host does them; prints what was recorded and what is missing.

Usage: forks.py FOLDER
"""

from __future__ import annotations

import json
import multiprocessing
import os
import sys
import threading
from pathlib import Path

from rig import Rig, adopt, left, stored

CALLS = 50


def main(folder: Path) -> None:
    """A writer that has worked already, then children of every kind, while a thread records on."""
    rig = Rig(folder, poll_interval=0.01)
    reading, writing = os.pipe()
    told = [rig.call() for _ in range(CALLS)]
    assert rig.writer.flush(10)

    done = threading.Event()
    busy: list[str] = []

    def work() -> None:
        while not done.is_set():
            busy.append(rig.call())
            done.wait(0.001)

    threads = [threading.Thread(target=work) for _ in range(3)]
    for thread in threads:
        thread.start()

    children = []
    for number in range(24):
        pid = os.fork()
        if pid == 0:
            child(rig, writing, how=number % 3)
        children.append(pid)
    context = multiprocessing.get_context("fork")
    processes = [context.Process(target=record, args=(rig, writing)) for _ in range(3)]
    for process in processes:
        process.start()
    for pid in children:
        os.waitpid(pid, 0)
    for process in processes:
        process.join(20)
    done.set()
    for thread in threads:
        thread.join()
    os.close(writing)
    lines = b""
    while data := os.read(reading, 1 << 20):
        lines += data
    told += lines.decode().split()
    flushed = rig.writer.flush(20)
    closed = rig.writer.close()
    complete = adopt(folder).complete
    found = stored(folder)
    print(
        json.dumps(
            {
                "flushed": flushed and closed and complete,
                "acknowledged": len(told),
                "expected": CALLS * (1 + 24 + 3),
                "busy": len(busy) > 0,
                "lost": sorted(call_id for call_id in [*told, *busy] if found.get(call_id) != "success"),
                "rows": len(found) - len(busy),
                "left": left(folder),
                "exits": [process.exitcode for process in processes],
            }
        )
    )


def child(rig: Rig, pipe: int, *, how: int) -> None:
    """A forked child: it records, and leaves by `os._exit`, as a grandchild's parent, or by an exception."""
    record(rig, pipe)
    if how == 1 and os.fork() != 0:
        os.wait()
    if how == 2:
        assert rig.writer.flush(20)
        rig.writer.close()
    os._exit(0)


def record(rig: Rig, pipe: int) -> None:
    """Some calls, acknowledged on the pipe."""
    ids = [rig.call() for _ in range(CALLS)]
    os.write(pipe, "".join(f"{call_id}\n" for call_id in ids).encode())


if __name__ == "__main__":
    main(Path(sys.argv[1]))
