"""What the handler costs inside real LangChain calls, in CPU µs a call, beside a handler that does nothing.

    python tests/benchmarks/bench_langchain.py [--rounds 15] [--calls 300] [--gc]

Three legs take turns in one process: no callback, a handler that does nothing (`run_inline`, like ours), and
ours, durable and imported: journal, writer thread and SQLite until `flush()` says that all is in the store.
The order rotates, differences are paired within a round, medians are shown. A leg whose no-op lies within the
noise says nothing about the ratio.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

CHUNKS = 50
MODES = ("sync", "async", "stream")
LIMITS = {"sync": 2.7, "async": 2.5, "stream": 1.9}
"""What the ratio must stay below; `NET_LIMIT` for the µs over the no-op in a sync call."""
NET_LIMIT = 30.0


class Cost(NamedTuple):
    """CPU µs a call: of the whole process, and of the thread that makes the calls."""

    process: float
    caller: float


def make_model() -> Any:
    """A chat model that answers from memory, with the metadata that langchain-openai gives."""
    from langchain_core.language_models import BaseChatModel
    from langchain_core.messages import AIMessage, AIMessageChunk
    from langchain_core.outputs import ChatGeneration, ChatGenerationChunk, ChatResult

    usage = {
        "input_tokens": 1311,
        "output_tokens": 277,
        "total_tokens": 1588,
        "input_token_details": {"cache_read": 1024},
        "output_token_details": {"reasoning": 128},
    }
    raw = {
        "prompt_tokens": 1311,
        "completion_tokens": 277,
        "total_tokens": 1588,
        "prompt_tokens_details": {"cached_tokens": 1024},
        "completion_tokens_details": {"reasoning_tokens": 128},
    }
    output = {"token_usage": raw, "model_name": "gpt-4o-mini-2024-07-18", "id": "chatcmpl-1"}

    class Model(BaseChatModel):
        temperature: float = 0.5

        @property
        def _llm_type(self) -> str:
            return "bench"

        def _get_ls_params(self, stop: Any = None, **kwargs: Any) -> Any:
            return {
                "ls_provider": "openai",
                "ls_model_name": "gpt-4o-mini",
                "ls_model_type": "chat",
                "ls_temperature": 0.5,
            }

        @property
        def _identifying_params(self) -> dict[str, Any]:
            return {"model": "gpt-4o-mini", "model_name": "gpt-4o-mini", "stream": False, "temperature": 0.5}

        def _generate(
            self, messages: Any, stop: Any = None, run_manager: Any = None, **kwargs: Any
        ) -> ChatResult:
            message = AIMessage("Hello.", usage_metadata=usage)
            generation = ChatGeneration(message=message, generation_info={"finish_reason": "stop"})
            return ChatResult(generations=[generation], llm_output=dict(output))

        async def _agenerate(self, messages: Any, stop: Any = None, **kwargs: Any) -> ChatResult:
            return self._generate(messages)

        def _chunks(self) -> Iterator[ChatGenerationChunk]:
            for _ in range(CHUNKS - 2):
                yield ChatGenerationChunk(
                    message=AIMessageChunk("word ", response_metadata={"model_provider": "openai"})
                )
            info = {"finish_reason": "stop", "model_name": "gpt-4o-mini-2024-07-18"}
            yield ChatGenerationChunk(message=AIMessageChunk(""), generation_info=info)
            yield ChatGenerationChunk(message=AIMessageChunk("", usage_metadata=usage, chunk_position="last"))

        def _stream(self, messages: Any, stop: Any = None, **kwargs: Any) -> Any:
            return self._chunks()

        async def _astream(
            self, messages: Any, stop: Any = None, **kwargs: Any
        ) -> AsyncIterator[ChatGenerationChunk]:
            for chunk in self._chunks():
                yield chunk

    return Model()


def make_noop() -> Any:
    """The least a handler can be."""
    from langchain_core.callbacks import BaseCallbackHandler

    class Noop(BaseCallbackHandler):
        run_inline = True

        def on_chat_model_start(self, *args: Any, **kwargs: Any) -> None: ...

        def on_llm_new_token(self, *args: Any, **kwargs: Any) -> None: ...

        def on_llm_end(self, *args: Any, **kwargs: Any) -> None: ...

    return Noop()


def runner(mode: str, model: Any, config: dict[str, Any] | None, calls: int) -> Callable[[], None]:
    """One block of calls."""

    def sync() -> None:
        for _ in range(calls):
            model.invoke("hello", config=config)

    def stream() -> None:
        for _ in range(calls):
            for _ in model.stream("hello", config=config):
                pass

    async def together() -> None:
        await asyncio.gather(*(model.ainvoke("hello", config=config) for _ in range(calls)))

    return {"sync": sync, "stream": stream, "async": lambda: asyncio.run(together())}[mode]


def measure(block: Callable[[], None], after: Callable[[], Any], calls: int) -> Cost:
    """The cost of one block, with what is still to be done after it."""
    process, caller = time.process_time_ns(), time.thread_time_ns()
    block()
    after()
    return Cost(
        (time.process_time_ns() - process) / 1000 / calls, (time.thread_time_ns() - caller) / 1000 / calls
    )


def compare(modes: Sequence[str], rounds: int, calls: int, with_gc: bool) -> Iterator[str]:
    """Run every mode; yield the lines of the table."""
    from tokentrail import Tracker
    from tokentrail.integrations.langchain import TokentrailCallbackHandler

    model = make_model()
    with tempfile.TemporaryDirectory() as folder:
        tracker = Tracker(f"sqlite:///{folder}/bench.db", data_dir=folder, summary_interval=0)
        configs: dict[str, Any] = {
            "none": None,
            "noop": {"callbacks": [make_noop()]},
            "ours": {"callbacks": [TokentrailCallbackHandler(tracker)]},
        }
        for mode in modes:
            count = calls // 3 if mode == "stream" else calls
            legs = {name: runner(mode, model, config, count) for name, config in configs.items()}
            after = {"none": int, "noop": int, "ours": tracker.flush}
            costs = take_turns(legs, after, rounds, count, with_gc)
            yield row(mode, costs)
        health = tracker.health()
        tracker.close()
    if health["lost"] or health["faults"]:
        yield f"NOT VALID: {health['lost']} {health['faults']}"


def take_turns(
    legs: dict[str, Callable[[], None]], after: dict[str, Any], rounds: int, calls: int, with_gc: bool
) -> dict[str, list[Cost]]:
    """Interleave the legs, each round beginning with another one."""
    names = list(legs)
    costs: dict[str, list[Cost]] = {name: [] for name in names}
    for number in range(-2, rounds):  # two rounds warm up
        for name in names[number % len(names) :] + names[: number % len(names)]:
            gc.collect()
            gc.freeze()
            if not with_gc:
                gc.disable()
            cost = measure(legs[name], after[name], calls)
            gc.enable()
            if number >= 0:
                costs[name].append(cost)
    return costs


def row(mode: str, costs: dict[str, list[Cost]]) -> str:
    """One line of the table."""

    def over(name: str, base: str, field: str) -> list[float]:
        return [getattr(a, field) - getattr(b, field) for a, b in zip(costs[name], costs[base], strict=True)]

    base = statistics.median(cost.process for cost in costs["none"])
    noop = statistics.median(over("noop", "none", "process"))
    ours = statistics.median(over("ours", "none", "process"))
    net = over("ours", "noop", "process")
    caller = statistics.median(over("ours", "noop", "caller"))
    low, _, high = statistics.quantiles(net, n=4)
    ratio = ours / noop if noop > 0 else float("nan")
    middle = statistics.median(net)
    fine = ratio <= LIMITS[mode] and (mode != "sync" or middle <= NET_LIMIT)
    return (
        f"{mode:8}{base:9.1f}{noop:9.1f}{ours:9.1f}{ratio:8.2f}{middle:9.1f}  ({low:.1f}..{high:.1f})"
        f"{caller:9.1f}{middle - caller:9.1f}   {'within' if fine else 'ABOVE'} {LIMITS[mode]}"
    )


HEADER = f"{'':8}{'base':>9}{'no-op':>9}{'ours':>9}{'ratio':>8}{'net':>9}  (quartiles)   caller   writer"


def main() -> None:
    """Print one table with orjson and one without it, each from its own process."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--calls", type=int, default=300)
    parser.add_argument("--gc", action="store_true", help="leave the garbage collector on")
    parser.add_argument("--mode", choices=MODES, action="append", help="only this kind of call")
    parser.add_argument("--json", choices=("orjson", "stdlib"), help="only this encoder")
    arguments = parser.parse_args()
    if os.environ.get("TOKENTRAIL_BENCH_CHILD"):
        if arguments.json == "stdlib":
            sys.modules["orjson"] = None  # type: ignore[assignment]
        for line in compare(arguments.mode or MODES, arguments.rounds, arguments.calls, arguments.gc):
            print(line, flush=True)
        return
    for encoder in (arguments.json,) if arguments.json else ("orjson", "stdlib"):
        print(f"\nLangChain, CPU µs a call, {encoder}, load {os.getloadavg()[0]:.1f}\n{HEADER}", flush=True)
        command = [sys.executable, str(Path(__file__)), *sys.argv[1:], "--json", encoder]
        subprocess.run(command, env={**os.environ, "TOKENTRAIL_BENCH_CHILD": "1"}, check=True)


if __name__ == "__main__":
    main()
