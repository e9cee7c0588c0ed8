"""Trackers that are killed while they are told of messages, tool calls and feedback.

Usage: told.py FOLDER ROUNDS SEED; prints what had been acknowledged, and what is missing of it.
"""

from __future__ import annotations

import itertools
import json
import os
import random
import select
import signal
import sys
import threading
from pathlib import Path

from rig import adopt, left, url_of

from tokentrail._query import filters
from tokentrail._tracker import Tracker
from tokentrail.models import Feedback, Message, Neighbour, ToolCall
from tokentrail.stores import open_store


def main(folder: Path, rounds: int, seed: int) -> None:
    """Kill one tracker a round; every other round a reader imports, else the next tracker adopts."""
    moments = random.Random(seed)
    told: dict[str, set[str]] = {kind: set() for kind in "mutdlc"}
    for number in range(rounds):
        for line in one(folder, moments.uniform(0.01, 0.15)):
            told[line[0]].add(line[2:])
        if number % 2:
            adopt(folder)
    complete = adopt(folder).complete
    messages, tools, opinions = (rows(folder, table) for table in (Message, ToolCall, Feedback))
    wrong = [
        *(each for each in told["m"] if each not in messages),
        *(each for each in told["u"] if messages.get(each) != "success"),
        *(each for each in told["d"] if tools.get(each) != "success"),
        *(each for each in told["t"] if tools.get(each) not in ("success", "interrupted")),
        *(each for each in told["l"] - told["c"] if opinions.get(each) not in ("like", None)),
        *(each for each in told["c"] if opinions.get(each) is not None),
        *(each for each in told["l"] | told["c"] if each not in opinions),
    ]
    counts = {kind: len(ids) for kind, ids in told.items()}
    interrupted = sum(status == "interrupted" for status in tools.values())
    print(
        json.dumps(
            {
                "complete": complete,
                "told": counts,
                "wrong": wrong,
                "interrupted": interrupted,
                "left": left(folder),
            }
        )
    )


def rows(folder: Path, table: type[Neighbour]) -> dict[str, str | None]:
    """Every row of a table: id → status, or what was thought."""
    store = open_store(url_of(folder))
    found = store.beside(table, filters(), limit=1_000_000)
    store.close()
    return {
        row.feedback_id if isinstance(row, Feedback) else row.id: row.feedback_type
        if isinstance(row, Feedback)
        else getattr(row, "status", None)
        for row in found
    }


def one(folder: Path, moment: float) -> list[str]:
    """One tracker, killed `moment` seconds after its first word; returns what it had been told."""
    reading, writing = os.pipe()
    pid = os.fork()
    if pid == 0:
        os.close(reading)
        tell(folder, writing)
    os.close(writing)
    select.select([reading], [], [], 30)
    threading.Event().wait(moment)
    os.kill(pid, signal.SIGKILL)
    told = b""
    while data := os.read(reading, 1 << 20):
        told += data
    os.close(reading)
    os.waitpid(pid, 0)
    return told.decode().splitlines()


def tell(folder: Path, pipe: int) -> None:
    """Tell without end, and acknowledge each telling once it has returned."""
    tracker = Tracker(url_of(folder), data_dir=folder)

    def say(kind: str, name: str) -> None:
        if tracker.health()["durability"] == "process":
            os.write(pipe, f"{kind} {name}\n".encode())

    say("t", tracker.start_tool("never ends"))
    for number in itertools.count():
        message = tracker.record_message("x", session_id="s")
        say("m", message)
        tool = tracker.start_tool("t", message_id=message)
        tracker.update_message(message, "success")
        say("u", message)
        tracker.finish_tool(tool)
        say("d", tool)
        name = f"f-{message}"
        tracker.record_feedback(name, "like", message_id=message)
        say("l", name)
        if number % 2:
            tracker.record_feedback(name, "cancel")
            say("c", name)


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]))
