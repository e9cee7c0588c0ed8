"""One program that ends in one of many ways; prints the ids it recorded.

Usage: exits.py FOLDER HOW
"""

from __future__ import annotations

import asyncio
import atexit
import os
import sys
import threading
from pathlib import Path
from typing import Any

HOW = sys.argv[2]
if HOW == "atexit_after":
    # Registered before ours, so that it runs after it: LiteLLM does this.
    atexit.register(lambda: tell(RIG.call()))

from rig import Rig  # noqa: E402

RIG = Rig(Path(sys.argv[1]), **({"open_store": threading.Event().wait} if HOW == "hang" else {}))


def tell(call_id: str) -> None:
    """Acknowledge a call on stdout, also when nothing buffered would arrive any more."""
    os.write(1, f"{call_id}\n".encode())


class Stream:
    """Records when it dies, which for a global is after everything else."""

    def __init__(self) -> None:
        self.rig, self.tell = RIG, tell

    def __del__(self) -> None:
        self.tell(self.rig.call())


def record_for_ever() -> None:
    """What a daemon thread of the host may be doing when the interpreter goes down."""
    while True:
        tell(RIG.call())


def fail_in_a_thread() -> None:
    """`sys.exit` in a thread ends the thread only."""
    tell(RIG.call())
    sys.exit(5)


async def call() -> None:
    """A call made by a coroutine."""
    tell(RIG.call())


def main() -> Any:
    """End in the way that was asked for."""
    global stream
    if HOW != "first_in_atexit":
        tell(RIG.call())
    if HOW in ("atexit_before", "first_in_atexit"):
        atexit.register(lambda: tell(RIG.call()))
    elif HOW == "del":
        stream = Stream()
    elif HOW == "daemon":
        threading.Thread(target=record_for_ever, daemon=True).start()
        threading.Event().wait(0.2)
    elif HOW == "thread":
        thread = threading.Thread(target=fail_in_a_thread)
        thread.start()
        thread.join()
    elif HOW == "asyncio":
        asyncio.run(call())
        tell(RIG.call())
    elif HOW == "flush_in_atexit":
        atexit.register(lambda: tell(RIG.call()) if RIG.writer.flush(5) else None)
    elif HOW == "os_exit":
        os._exit(4)
    elif HOW == "exit_code":
        sys.exit(3)
    elif HOW == "exception":
        raise SystemExit("the host's own words")


if __name__ == "__main__":
    main()
