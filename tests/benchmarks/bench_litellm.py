"""What the logger costs inside real LiteLLM calls, in CPU µs a call, beside a bare `CustomLogger`.

    python tests/benchmarks/bench_litellm.py [--rounds 60] [--calls 20]

Three processes, one a variant, because LiteLLM keeps what it has once been told: no callback, a logger that
appends to a list, and ours, durable and imported. They take turns, block by block, in rotating order; answers
are mocked, so there is no network. The goal is a ratio: ours over no callback, to the list over no callback.
LiteLLM itself costs over a millisecond a call and is noisy. So blocks are short and many, differences are
taken within a round, and beside the median of ours over the list stands the range in which it lies with 95 %:
where that holds 0, nothing is measurable.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import json
import math
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

VARIANTS = ("none", "list", "ours")
MODES = ("sync", "async", "stream")
LIMIT = 1.15
NOISE = 0.05
"""Share of a call's own cost below which a difference says nothing."""
HI = [{"role": "user", "content": "hello"}]


# --- the child: one variant, block by block ------------------------------------------------------


def install(variant: str, folder: str) -> Callable[[], Any]:
    """Set LiteLLM up; returns what has to be waited for after a block."""
    import litellm
    from litellm.integrations.custom_logger import CustomLogger

    litellm.suppress_debug_info = True
    if variant == "list":
        seen: list[Any] = []

        class Bare(CustomLogger):
            def log_success_event(
                self, kwargs: Any, response_obj: Any, start_time: Any, end_time: Any
            ) -> None:
                seen.append((kwargs["model"], response_obj.usage, start_time, end_time))

            async def async_log_success_event(
                self, kwargs: Any, response_obj: Any, start_time: Any, end_time: Any
            ) -> None:
                seen.append((kwargs["model"], response_obj.usage, start_time, end_time))

        litellm.callbacks = [Bare()]
    if variant == "ours":
        from tokentrail import Tracker
        from tokentrail.integrations.litellm import TokentrailLogger

        tracker = Tracker(f"sqlite:///{folder}/bench.db", data_dir=folder, summary_interval=0)
        litellm.callbacks = [TokentrailLogger(tracker)]
        return tracker.flush
    return int


def block(mode: str, calls: int) -> None:
    """Make some calls, one after the other."""
    import litellm

    arguments: dict[str, Any] = {"model": "gpt-4o-mini", "messages": HI, "mock_response": "word " * 20}
    if mode == "sync":
        for _ in range(calls):
            litellm.completion(**arguments)
    elif mode == "stream":
        for _ in range(max(1, calls // 10)):
            for _ in litellm.completion(**arguments, stream=True):
                pass
    else:

        async def run() -> None:
            for _ in range(calls):
                await litellm.acompletion(**arguments)
            await asyncio.sleep(0.05)  # LiteLLM's own worker logs behind the call

        asyncio.run(run())


def serve(variant: str) -> None:
    """Measure the blocks that are asked for on standard input."""
    with tempfile.TemporaryDirectory() as folder:
        settle = install(variant, folder)
        print("ready", flush=True)
        for line in sys.stdin:
            mode, calls = line.split()
            gc.collect()
            gc.freeze()
            gc.disable()
            began = time.process_time_ns()
            block(mode, int(calls))
            settle()
            made = max(1, int(calls) // 10) if mode == "stream" else int(calls)
            print(json.dumps((time.process_time_ns() - began) / 1000 / made), flush=True)
            gc.enable()


# --- the parent ----------------------------------------------------------------------------------


def start(variant: str) -> subprocess.Popen[str]:
    """A child for one variant."""
    environment = {**os.environ, "LITELLM_LOCAL_MODEL_COST_MAP": "True"}
    child = subprocess.Popen(
        [sys.executable, str(Path(__file__)), "--serve", variant],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env=environment,
    )
    assert child.stdout is not None
    child.stdout.readline()
    return child


def ask(child: subprocess.Popen[str], mode: str, calls: int) -> float:
    """Let a child run one block; CPU µs a call."""
    assert child.stdin is not None
    assert child.stdout is not None
    child.stdin.write(f"{mode} {calls}\n")
    child.stdin.flush()
    return float(json.loads(child.stdout.readline()))


def compare(mode: str, children: dict[str, subprocess.Popen[str]], rounds: int, calls: int) -> str:
    """One line of the table."""
    costs: dict[str, list[float]] = {variant: [] for variant in VARIANTS}
    for number in range(-2, rounds):  # two rounds warm up
        turn = number % len(VARIANTS)
        for variant in VARIANTS[turn:] + VARIANTS[:turn]:
            cost = ask(children[variant], mode, calls)
            if number >= 0:
                costs[variant].append(cost)

    def over(variant: str) -> list[float]:
        return [cost - base for cost, base in zip(costs[variant], costs["none"], strict=True)]

    bare, ours = statistics.median(over("list")), statistics.median(over("ours"))
    low, net, high = median_of([a - b for a, b in zip(costs["ours"], costs["list"], strict=True)])
    ratio = ours / bare if bare > 0 else float("nan")
    base = statistics.median(costs["none"])
    verdict = "within" if ratio <= LIMIT else "ABOVE"
    seen = "nothing measurable" if low <= 0 <= high else "measurable"
    return (
        f"{mode:8}{base:9.0f}{bare:9.0f}{ours:9.0f}{ratio:8.2f}   {verdict} {LIMIT}"
        f"{net:9.0f}  ({low:.0f}..{high:.0f}) {seen}"
    )


def median_of(values: list[float]) -> tuple[float, float, float]:
    """The median between the bounds that hold the true one with 95 %, whatever the distribution."""
    ranked, count = sorted(values), len(values)
    reach = math.ceil(0.98 * math.sqrt(count))
    low, high = max(0, count // 2 - reach), min(count - 1, (count - 1) // 2 + reach)
    return ranked[low], statistics.median(ranked), ranked[high]


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--rounds", type=int, default=60)
    parser.add_argument("--calls", type=int, default=20)
    parser.add_argument("--serve", choices=VARIANTS, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.serve:
        serve(arguments.serve)
        return
    print(f"LiteLLM, CPU µs a call, load {os.getloadavg()[0]:.1f}")
    print(f"{'':8}{'base':>9}{'list':>9}{'ours':>9}{'ratio':>8}{'ours - list':>25}  (95 %)")
    children = {variant: start(variant) for variant in VARIANTS}
    for mode in MODES:
        print(compare(mode, children, arguments.rounds, arguments.calls), flush=True)
    for child in children.values():
        child.communicate()


if __name__ == "__main__":
    main()
