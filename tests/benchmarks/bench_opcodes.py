"""How much of our own bytecode a call runs: a count, and so the same on a busy machine as on a quiet one.

    python tests/benchmarks/bench_opcodes.py [--door litellm] [--mode stream] [--by-function]

A handler's time on a shared machine says little about a change of a few per cent; the opcodes of our own
functions do, as most of what we cost is the interpreter's work. Counted are files of tokentrail only, in the
thread that calls and in the writer's. What C functions do (SQLite, orjson, `os.write`) is not seen here.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
import threading
from collections import Counter
from collections.abc import Callable
from types import CodeType, FrameType
from typing import Any

import bench_langchain
import bench_litellm

MODES = ("sync", "async", "stream")
WARM_UP = 3


class Opcodes:
    """Counts the opcodes of tokentrail's functions while it is `on`, in every thread begun after `watch`."""

    def __init__(self) -> None:
        self.on = False
        self.by_code: Counter[tuple[bool, CodeType]] = Counter()

    def watch(self) -> None:
        """Look at this thread and at those that begin from now on."""
        threading.settrace(self._enter)
        sys.settrace(self._enter)

    def _enter(self, frame: FrameType, event: str, argument: Any) -> Any:
        code = frame.f_code
        if "/tokentrail/" not in code.co_filename or "/demo/" in code.co_filename:
            return None
        frame.f_trace_opcodes, frame.f_trace_lines = True, False
        place = threading.current_thread().name == "tokentrail-writer", code

        def count(frame: FrameType, event: str, argument: Any) -> Any:
            if event == "opcode" and self.on:
                self.by_code[place] += 1
            return count

        return count

    def of(self, *, writer: bool) -> int:
        """All that were counted in the writer's thread, or in the others."""
        return sum(count for (in_writer, _), count in self.by_code.items() if in_writer is writer)


def langchain(tracker: Any, mode: str, calls: int) -> Callable[[], None]:
    """Some calls through LangChain's door."""
    from tokentrail.integrations.langchain import TokentrailCallbackHandler

    config = {"callbacks": [TokentrailCallbackHandler(tracker)]}
    return bench_langchain.runner(mode, bench_langchain.make_model(), config, calls)


def litellm(tracker: Any, mode: str, calls: int) -> Callable[[], None]:
    """Some calls through LiteLLM's door."""
    import litellm as library

    from tokentrail.integrations.litellm import TokentrailLogger

    library.callbacks = [TokentrailLogger(tracker)]
    return lambda: bench_litellm.block(mode, calls * 10 if mode == "stream" else calls)


def count(door: str, mode: str, calls: int, *, by_function: bool) -> None:
    """Print one line, and one for each function that matters."""
    opcodes = Opcodes()
    opcodes.watch()
    from tokentrail import Tracker

    with tempfile.TemporaryDirectory() as folder:
        tracker = Tracker(f"sqlite:///{folder}/bench.db", data_dir=folder, summary_interval=0)
        run = {"langchain": langchain, "litellm": litellm}[door](tracker, mode, calls)
        for _ in range(WARM_UP):
            run()
            tracker.flush()
        opcodes.on = True
        run()
        tracker.flush()
        opcodes.on = False
        sys.settrace(None)
        tracker.close()
    caller, writer = opcodes.of(writer=False) / calls, opcodes.of(writer=True) / calls
    print(f"{door:10}{mode:8}{caller:9.0f}{writer:9.0f}", flush=True)
    for (in_writer, code), number in opcodes.by_code.most_common(30) if by_function else ():
        place = "writer" if in_writer else ""
        name = f"{code.co_filename.rpartition('/tokentrail/')[2]} {code.co_qualname}"
        print(f"{number / calls:27.1f}  {place:8}{name}")


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--door", choices=("langchain", "litellm"), default="langchain")
    parser.add_argument("--mode", choices=MODES)
    parser.add_argument("--calls", type=int, default=100)
    parser.add_argument("--by-function", action="store_true")
    arguments = parser.parse_args()
    if arguments.mode:
        count(arguments.door, arguments.mode, arguments.calls, by_function=arguments.by_function)
        return
    print(f"opcodes of ours a call\n{'':18}{'caller':>9}{'writer':>9}", flush=True)
    for mode in MODES:  # a process each: LiteLLM keeps what it has once been told
        subprocess.run([sys.executable, *sys.argv, "--mode", mode], check=True)


if __name__ == "__main__":
    main()
