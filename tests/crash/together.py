"""Several processes that write into one database at the same time; prints what is missing.

Usage: together.py FOLDER PROCESSES CALLS
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

from rig import Rig, adopt, left, stored


def main(folder: Path, processes: int, calls: int) -> None:
    """Each process records and closes; then nothing may be left to import."""
    reading, writing = os.pipe()
    children = []
    for _ in range(processes):
        pid = os.fork()
        if pid == 0:
            os.close(reading)
            rig = Rig(folder, poll_interval=0.01)
            ids = [rig.call() for _ in range(calls)]
            closed = rig.writer.close(60)
            with os.fdopen(writing, "w") as pipe:
                for call_id in ids:
                    pipe.write(f"{call_id}\n")
            os._exit(0 if closed else 1)
        children.append(pid)
    os.close(writing)
    told = b""
    while data := os.read(reading, 1 << 20):
        told += data
    codes = [os.waitpid(pid, 0)[1] for pid in children]
    found = stored(folder)
    ids = told.decode().split()
    print(
        json.dumps(
            {
                "codes": codes,
                "acknowledged": len(ids),
                "lost": [call_id for call_id in ids if found.get(call_id) != "success"],
                "rows": len(found),
                "pending": adopt(folder).records,
                "left": left(folder),
            }
        )
    )


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]))
