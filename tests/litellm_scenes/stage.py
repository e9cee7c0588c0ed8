"""Plays a scene before both doors' eyes: asks, reads, leaves; and tells what the rows say of what was sent.

Nothing is looked at before its time: rows are compared when they say what is expected (or the time for that
is over), and once more when LiteLLM has nothing left to tell, so that neither a late event nor a second row
escapes.
"""

from __future__ import annotations

import asyncio
import gc
import threading
import time
from collections.abc import Iterator, Sequence
from typing import Any, Final, NamedTuple

import genai_prices
from litellm.litellm_core_utils.logging_worker import GLOBAL_LOGGING_WORKER
from litellm.litellm_core_utils.thread_pool_executor import executor

from litellm_rig import Rig
from litellm_scenes.entries import Entry
from litellm_scenes.scenes import AS_SENT, ESTIMATED, FREE, MADE_UP, UNKNOWN, Expected, Scene, Seen
from tokentrail.demo.provider import Sent

_PATIENCE: Final = 30.0
"""Seconds that a row may take to become what it should be, on a busy machine."""
_COUNTS: Final = (
    "input_tokens",
    "output_tokens",
    "cache_read_tokens",
    "cache_creation_tokens",
    "reasoning_tokens",
)


class Play(NamedTuple):
    """One scene as it was played."""

    seen: Seen
    rows: list[Any]
    sent: list[Sent]
    raised: str | None


def play(rig: Rig, scene: Scene, entry: Entry, mode: str) -> Play:
    """Play a scene with one entry point; the rows and requests of earlier ones stay out of it."""
    rig.provider.script(entry.model, *scene.replies)
    known, asked = _known(rig), len(rig.provider.sent)
    expected = scene.expected(entry, mode)._replace(asked=asked)
    if entry.is_async:
        raised = asyncio.run(_aplay(rig, scene, entry, known, expected))
    else:
        raised = _play(rig, scene, entry)
        for _ in _until_settled(rig, known, expected, time.monotonic() + _PATIENCE):
            time.sleep(0.01)
    if expected.by_age:
        _grow_old(rig)
    rows, sent = _rows(rig, known), rig.provider.sent[asked:]
    return Play(_seen(rows, sent, expected), rows, sent, raised)


# --- asking and reading --------------------------------------------------------------------------


def _play(rig: Rig, scene: Scene, entry: Entry) -> str | None:
    try:
        if scene.act is not None:
            scene.act(rig, entry)
            return None
        result = entry.ask(rig, scene.arguments)
        if entry.streams:
            _read(result, scene.read)
        elif hasattr(result, "read"):
            result.read()
    except Exception as error:
        return _said(error)
    return None


def _said(error: BaseException) -> str:
    """An exception without what it holds: its traceback may hold the stream."""
    return repr(error)[:160]


def _read(stream: Any, how: str) -> None:
    if how == "never":
        return
    for count, chunk in enumerate(stream, 1):
        if how == "raise" and count == 2:
            raise ZeroDivisionError
        if how == "cycle" and count == 2:
            ring: list[Any] = [stream]
            ring.append(ring)
        if (how in ("break", "cycle") and count == 2) or (how == "finish" and _finished(chunk)):
            return


def _finished(chunk: Any) -> bool:
    return bool(chunk.choices and chunk.choices[0].finish_reason)


async def _aplay(rig: Rig, scene: Scene, entry: Entry, known: set[str], expected: Expected) -> str | None:
    raised = await _aact(rig, scene, entry)
    deadline = time.monotonic() + _PATIENCE
    for _ in _until_settled(rig, known, expected, deadline):
        await asyncio.sleep(0.01)
    await asyncio.wait_for(GLOBAL_LOGGING_WORKER.flush(), _PATIENCE)
    while _tasks() and time.monotonic() < deadline:
        await asyncio.sleep(0.01)
    return raised


async def _aact(rig: Rig, scene: Scene, entry: Entry) -> str | None:
    reading = asyncio.Event()

    async def ask() -> None:
        if scene.act is not None:
            await scene.act(rig, entry)
            return
        result = await entry.ask(rig, scene.arguments)
        if entry.streams:
            await _aread(result, scene.read, reading)

    task = asyncio.ensure_future(ask())
    if scene.read == "cancel":
        if entry.streams:
            await reading.wait()
        else:
            await asyncio.to_thread(rig.provider.wait_for, len(rig.provider.sent) + 1)
        task.cancel()
    try:
        await task
    except BaseException as error:
        return _said(error)
    return None


async def _aread(stream: Any, how: str, reading: asyncio.Event) -> None:
    if how == "never":
        return
    count = 0
    async for chunk in stream:
        count += 1
        if how == "cancel":
            reading.set()
        if how == "raise" and count == 2:
            raise ZeroDivisionError
        if how == "close" and count == 2:
            await stream.aclose()
            return
        if how == "cycle" and count == 2:
            ring: list[Any] = [stream]
            ring.append(ring)
        if (how in ("break", "cycle") and count == 2) or (how == "finish" and _finished(chunk)):
            return


# --- waiting -------------------------------------------------------------------------------------


def _until_settled(rig: Rig, known: set[str], expected: Expected, deadline: float) -> Iterator[None]:
    """Yields until the rows have ended as expected and LiteLLM has nothing more to tell."""
    turns = 0
    while not _there(rig, known, expected) and time.monotonic() < deadline:
        turns += 1
        if turns % 5 == 1:
            gc.collect()
        yield
    while _is_busy() and time.monotonic() < deadline:
        yield


def _there(rig: Rig, known: set[str], expected: Expected) -> bool:
    if rig.tracker.health()["active"] != int(expected.by_age):
        return False
    rows = _rows(rig, known)
    if expected.by_age:
        return len(rows) == len(expected.seen.ends) - 1
    return _seen(rows, rig.provider.sent[expected.asked :], expected) == expected.seen


def _is_busy() -> bool:
    """Whether a thread of LiteLLM's has something to tell."""
    idle = executor._idle_semaphore._value
    if executor._work_queue.qsize() or idle < len(executor._threads):
        return True
    return any("_handler" in thread.name for thread in threading.enumerate())


def _tasks() -> list[asyncio.Task[Any]]:
    """Tasks of LiteLLM's in this loop that will end by themselves."""
    return [
        task
        for task in asyncio.all_tasks()
        if task is not asyncio.current_task() and "_worker_loop" not in repr(task)
    ]


def _known(rig: Rig) -> set[str]:
    assert rig.tracker.flush(_PATIENCE)
    return {row.id for row in rig.tracker.stats.calls(limit=1000).items}


def _rows(rig: Rig, known: set[str]) -> list[Any]:
    assert rig.tracker.flush(_PATIENCE)
    found = reversed(rig.tracker.stats.calls(limit=1000).items)
    return [row for row in found if row.id not in known]


def _grow_old(rig: Rig) -> None:
    limit, rig.tracker._max_age_ns = rig.tracker._max_age_ns, 0
    rig.tracker.active()
    rig.tracker._max_age_ns = limit


# --- telling -------------------------------------------------------------------------------------


def _seen(rows: Sequence[Any], sent: Sequence[Sent], expected: Expected) -> Seen:
    of = expected.rows_of or range(len(rows))
    of = [*of, *[None] * len(rows)][: len(rows)]
    truths = [None if index is None or index >= len(sent) else sent[index] for index in of]
    pairs = list(zip(rows, truths, strict=True))
    tokens = [_tokens(row, truth) for row, truth in pairs]
    costs = [_cost(row, truth) for row, truth in pairs]
    # Who leaves early may do so before the usage was sent: nothing of nothing is both words, as one likes.
    for found, wanted, name in (
        (tokens, expected.seen.tokens, "total_tokens"),
        (costs, expected.seen.costs, "cost_usd"),
    ):
        for place, (word, hoped, row) in enumerate(zip(found, wanted, rows, strict=False)):
            if (word, hoped) == (AS_SENT, UNKNOWN) and getattr(row, name) is None:
                found[place] = UNKNOWN
    return Seen(tuple(row.status for row in rows), tuple(tokens), tuple(costs))


def _tokens(row: Any, sent: Sent | None) -> str:
    told = {name: (sent.counts or {}).get(name) for name in _COUNTS} if sent else dict.fromkeys(_COUNTS)
    found = {name: getattr(row, name) for name in _COUNTS}
    if row.call_type == "embedding" and found["output_tokens"] == 0:
        found["output_tokens"] = None  # nobody says that an embedding writes nothing
    reported = any(told[name] is not None for name in ("input_tokens", "output_tokens"))
    if row.usage_source == "estimated":
        return ESTIMATED
    if sent is None and row.attributes.get("mock_response"):
        return MADE_UP
    if found == told and row.usage_source == ("provider" if reported else "missing"):
        return AS_SENT
    if not any(value is not None for value in found.values()):
        return UNKNOWN
    wrong = {name: (found[name], told[name]) for name in _COUNTS if found[name] != told[name]}
    return ", ".join(f"{name} {ours}, not {theirs}" for name, (ours, theirs) in wrong.items())


def _cost(row: Any, sent: Sent | None) -> str:
    if row.cache_hit:
        return FREE if row.cost_usd == 0 and row.cost_source == "free" else f"${row.cost_usd}"
    if sent is None and row.attributes.get("mock_response"):
        return MADE_UP
    if row.usage_source == "estimated":
        return UNKNOWN if row.cost_usd is None else _tokens(row, sent)
    if (row.provider or "").startswith("ollama"):  # on the caller's own machine
        return AS_SENT if row.cost_source == "free" and row.cost_usd == 0 else f"${row.cost_usd}"
    right = _price(row, sent)
    if row.cost_usd == right or (None not in (row.cost_usd, right) and abs(row.cost_usd - right) < 5e-10):
        return AS_SENT
    return UNKNOWN if row.cost_usd is None else f"${row.cost_usd:.6f}, not {right}"


def _price(row: Any, sent: Sent | None) -> float | None:
    """What the provider says it costs; else what genai-prices makes of the counts that were sent."""
    if sent is None or not sent.counts or "input_tokens" not in sent.counts:
        return None
    stated = (sent.usage or {}).get("cost")
    if stated is not None:
        return float(stated)
    counts = sent.counts
    usage = genai_prices.Usage(
        input_tokens=counts.get("input_tokens"),
        output_tokens=counts.get("output_tokens"),
        cache_read_tokens=counts.get("cache_read_tokens"),
        cache_write_tokens=counts.get("cache_creation_tokens"),
        input_audio_tokens=counts.get("input_audio_tokens"),
    )
    try:
        return float(genai_prices.calc_price(usage, row.model, provider_id=row.provider).total_price)
    except LookupError:
        return None


def disagreements(scene: Scene, played: Play, entry: Entry, mode: str) -> list[str]:
    """Where a play is not as the table has it."""
    expected = scene.expected(entry, mode).seen
    rows, found = played.rows, []
    if played.seen != expected:
        found.append(f"{played.seen} where {expected} belongs; {played.raised}")
    if {row.call_type for row in rows} - {entry.call_type, entry.heard_as if mode == "hooks" else None}:
        found.append(f"call types {[row.call_type for row in rows]}, not {entry.call_type}")
    if any(row.is_streaming != entry.streams for row in rows):
        found.append(f"is_streaming {[row.is_streaming for row in rows]}")
    if {row.provider for row in rows if not row.attributes.get("mock_response")} - {entry.provider}:
        found.append(f"providers {[row.provider for row in rows]}, not {entry.provider}")
    if any(sent.reply.text in str(row) for sent in played.sent for row in rows):
        found.append("the answer is in the row")
    if scene.kinds and mode == "inline":
        kinds = tuple(row.attempt_kind for row in rows)
        if kinds != scene.kinds or len({row.operation_id for row in rows}) != scene.operations:
            found.append(f"attempts {kinds}, not {scene.kinds}")
    limit = scene.limit(entry, mode)
    if scene.check is not None and not (limit and limit.unchecked):
        try:
            scene.check(rows)
        except AssertionError as error:
            found.append(f"check: {error}")
    return found
