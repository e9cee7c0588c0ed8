"""What answers cost in a large ledger: from rollups, by a raw scan in SQLite, and in DuckDB on the same rows.

    python tests/benchmarks/bench_answers.py --rows 1000000

Makes a ledger of 90 days (models, users and sessions skewed as they are in life) through the store's own bulk
path, and prints in one run: upkeep against the leanest `executemany`, bytes a call, CPU milliseconds of every
named question, and how far percentiles are from exact ones. DuckDB is asked if it is installed
(`pip install --group bench`).
"""

from __future__ import annotations

import argparse
import random
import sqlite3
import statistics
import sys
import tempfile
import time
from array import array
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final

from tokentrail import Stats
from tokentrail._query import Query
from tokentrail._records import Record, new_id, to_us
from tokentrail.stores import open_store

END: Final = datetime(2026, 6, 1, tzinfo=UTC)
BATCH: Final = 1_000
MODELS: Final = [
    (provider, f"{family}-{size}")
    for provider, family in (
        ("openai", "gpt-5"),
        ("anthropic", "claude-5"),
        ("gemini", "gemini-3"),
        ("mistral", "large"),
    )
    for size in ("max", "main", "mini", "nano", "fast", "old")
]
TAGS: Final = (["rag"], ["agent", "beta"], ["eval"], ["batch"], [])


def records(rows: int, days: float) -> Iterator[list[Record]]:
    """Batches of ended calls, in the order of time."""
    chance = random.Random(7)
    weights = [1 / (rank + 1) for rank in range(len(MODELS))]
    users = max(50, rows // 2_000)
    sessions: list[tuple[str, str, int]] = []
    start, span = to_us(END - timedelta(days=days)), int(days * 86_400_000_000)
    batch: list[Record] = []
    models = chance.choices(MODELS, weights, k=100_003)
    for number in range(rows):
        now = start + span * number // rows
        if len(sessions) < 40 or chance.random() < 0.02:
            user = int(users * chance.random() ** 2)
            sessions = [*sessions[-39:], (f"session-{number:08x}", f"user-{user:05}", user % 12)]
        session, user_id, client = sessions[int(40 * chance.random()) % len(sessions)]
        batch.append(_call(chance, now, models[number % 100_003], session, user_id, client))
        if len(batch) == BATCH:
            yield batch
            batch = []
    if batch:
        yield batch


def _call(
    chance: random.Random, now: int, model: tuple[str, str], session: str, user: str, client: int
) -> Record:
    provider, name = model
    luck, streams = chance.random(), chance.random() < 0.6
    took = int(chance.lognormvariate(14.3, 0.6))
    record: Record = {
        "id": new_id(now), "finality": 2, "request_id": f"req-{int(luck * 10**12):012x}",
        "operation_id": new_id(now), "attempt": 1, "attempt_kind": "first", "client_id": f"client-{client}",
        "user_id": user, "session_id": session, "source": "litellm", "seen_by": ["litellm"],
        "call_type": "chat", "provider": provider, "model": name, "requested_model": name,
        "api_base": f"api.{provider}.com", "is_streaming": streams, "started_at": now,
        "ended_at": now + took, "created_at": now + took, "duration_us": took, "status": "success",
        "process_id": "4711", "host": "worker-1", "message_count": 4, "request_bytes": 900 + int(9000 * luck),
    }  # fmt: skip
    tags = TAGS[int(5 * chance.random())]
    if tags:
        record["tags"] = tags
    if luck < 0.02:
        record |= {"status": "error", "error_type": ("RateLimitError", "APIError")[int(luck * 100) % 2]}
        record["usage_source"] = "missing"
        return record
    inputs, outputs = int(chance.lognormvariate(6.5, 1)), int(chance.lognormvariate(5.3, 0.9))
    cost = inputs * 2_500 + outputs * 10_000
    record |= {
        "finish_reason": "stop", "input_tokens": inputs, "output_tokens": outputs,
        "total_tokens": inputs + outputs, "cache_read_tokens": inputs // 3 if luck > 0.5 else 0,
        "usage_source": "provider", "cost_nanos": cost, "input_cost_nanos": inputs * 2_500,
        "output_cost_nanos": outputs * 10_000, "cost_source": "genai_prices", "price_version": "2026-05-01",
        "response_bytes": 5 * outputs,
    }  # fmt: skip
    if streams:
        record["time_to_first_token_us"] = took // 4
    return record


def cpu_ms(work: Callable[[], Any], times: int = 5) -> float:
    """Median CPU milliseconds; the first call, which warms up, is not counted."""
    work()
    taken = []
    for _ in range(times):
        begin = time.process_time()
        work()
        taken.append((time.process_time() - begin) * 1e3)
    return statistics.median(taken)


# --- the ledger, and the leanest way to write it --------------------------------------------------


def fill(url: str, rows: int, days: float) -> float:
    """CPU microseconds a call of the store's bulk path."""
    store = open_store(url)
    taken = 0.0
    for number, batch in enumerate(records(rows, days)):
        begin = time.process_time()
        store.append(batch)
        taken += time.process_time() - begin
        if sys.stderr.isatty():
            print(f"\r{(number + 1) * BATCH:,}", end="", file=sys.stderr)
    store.close()
    return taken / rows * 1e6


def leanest(ledger: Path, rows: int, days: float) -> float:
    """The same rows by one `executemany` a batch into the same table and indexes, without anything else."""
    path = ledger.with_name("lean.db")
    with sqlite3.connect(ledger) as source:
        ddl = [
            sql
            for (sql,) in source.execute(
                "SELECT sql FROM sqlite_master WHERE tbl_name = 'llm_call' AND sql NOT NULL"
            )
        ]
    target = sqlite3.connect(path, isolation_level=None)
    for statement in ("PRAGMA journal_mode = WAL", "PRAGMA synchronous = NORMAL", *ddl):
        target.execute(statement)
    taken = 0.0
    for batch in records(rows, days):
        shapes: dict[tuple[str, ...], list[Any]] = {}
        for record in batch:
            flat = {k: (v if not isinstance(v, list) else '["x"]') for k, v in record.items()}
            shapes.setdefault(tuple(flat), []).append(tuple(flat.values()))
        begin = time.process_time()
        target.execute("BEGIN IMMEDIATE")
        for names, members in shapes.items():
            marks = ", ".join("?" * len(names))
            target.executemany(f"INSERT INTO llm_call ({', '.join(names)}) VALUES ({marks})", members)
        target.execute("COMMIT")
        taken += time.process_time() - begin
    target.close()
    path.unlink()
    return taken / rows * 1e6


# --- questions ------------------------------------------------------------------------------------


def questions(stats: Stats, user: str, session: str) -> dict[str, Callable[[], Any]]:
    """Every named statistic, over all, over a week and in zones."""
    week = {"start": END - timedelta(days=7, minutes=3), "tz": "America/New_York"}
    return {
        "overview, 90 d": lambda: stats.overview(),
        "overview, 7 d New York": lambda: stats.overview(**week),
        "token_statistics, by day": lambda: stats.token_statistics("day"),
        "token_statistics, 7 d by hour": lambda: stats.token_statistics("hour", **week),
        "timeseries by day, 90 d": lambda: stats.timeseries("day"),
        "timeseries by day, 90 d New York": lambda: stats.timeseries("day", tz="America/New_York"),
        "timeseries by day, 90 d Kathmandu": lambda: stats.timeseries("day", tz="Asia/Kathmandu"),
        "timeseries by hour and model, 7 d": lambda: stats.timeseries("hour", "model", **week),
        "timeseries by day and model, 90 d New York": lambda: stats.timeseries(
            "day", "model", tz="America/New_York"
        ),
        "breakdown by model": lambda: stats.breakdown("model"),
        "breakdown by provider and model": lambda: stats.breakdown(("provider", "model")),
        "breakdown by status, one provider": lambda: stats.breakdown("status", provider="openai"),
        "breakdown by user, 20, 90 d": lambda: stats.breakdown("user_id", limit=20),
        "breakdown by user, 20, 7 d": lambda: stats.breakdown("user_id", limit=20, **week),
        "breakdown by client": lambda: stats.breakdown("client_id"),
        "breakdown by tag": lambda: stats.breakdown("tag"),
        "latency by model, 90 d": lambda: stats.latency("model"),
        "latency by model, 7 d": lambda: stats.latency("model", **week),
        "error_statistics": lambda: stats.error_statistics(),
        "data_quality": lambda: stats.data_quality(),
        "usage_stats": lambda: stats.usage_stats(),
        "detailed_stats": lambda: stats.detailed_stats(),
        "calls, newest 50": lambda: stats.calls(limit=50),
        "calls of one model, 50": lambda: stats.calls(limit=50, model="gpt-5-max"),
        "calls that failed, 50": lambda: stats.calls(limit=50, status=["error", "timeout"]),
        "calls of one session": lambda: stats.calls(limit=100, session_id=session),
        "sessions, newest 50": lambda: stats.sessions(limit=50),
        "rows: one user by model, 30 d": lambda: stats.query(
            Query(("calls", "total_tokens", "cost_usd"), by=("model",)).where(
                user_id=user, start=END - timedelta(days=30)
            )
        ),
    }


RAW: Final = {
    "breakdown by model": "SELECT model, count(*), sum(input_tokens), sum(output_tokens), sum(total_tokens), "
    "sum(cost_nanos), sum(duration_us) FROM llm_call GROUP BY model",
    "timeseries by day, 90 d": "SELECT started_at / 86400000000, count(*), sum(input_tokens), "
    "sum(output_tokens), sum(total_tokens), sum(cost_nanos) FROM llm_call GROUP BY 1",
    "breakdown by user, 20, 90 d": "SELECT user_id, count(*), sum(total_tokens), sum(cost_nanos) "
    "FROM llm_call GROUP BY user_id ORDER BY 3 DESC LIMIT 20",
    "overview, 90 d": "SELECT count(*), sum(total_tokens), sum(cost_nanos), count(DISTINCT session_id), "
    "count(DISTINCT user_id) FROM llm_call",
}


TEXTS: Final = ("model", "user_id", "session_id")


def in_duckdb(path: Path) -> Callable[[str], float] | None:
    """A function that says what a statement costs in DuckDB, over a copy of the rows."""
    try:
        import duckdb
    except ImportError:
        return None
    connection = duckdb.connect()
    columns = (
        "model, user_id, session_id, started_at, input_tokens, output_tokens, total_tokens, cost_nanos, "
        "duration_us"
    )
    import pyarrow as pa

    names = columns.split(", ")
    kinds = ", ".join(f"{name} {'TEXT' if name in TEXTS else 'BIGINT'}" for name in names)
    connection.execute(f"CREATE TABLE llm_call ({kinds})")
    with sqlite3.connect(path) as source:
        rows = source.execute(f"SELECT {columns} FROM llm_call")
        while several := rows.fetchmany(100_000):
            table = pa.table(dict(zip(names, zip(*several, strict=True), strict=True)))
            connection.register("several", table)
            connection.execute("INSERT INTO llm_call SELECT * FROM several")
    return lambda sql: cpu_ms(
        lambda: connection.execute(sql.replace("/ 86400000000", "// 86400000000")).fetchall(), 3
    )


def worst_percentile(stats: Stats, path: Path) -> float:
    """The largest relative error of a percentile of a model."""
    worst = 0.0
    found: dict[str, array[int]] = {}
    with sqlite3.connect(path) as rows:
        for model, value in rows.execute("SELECT model, duration_us FROM llm_call WHERE status = 'success'"):
            found.setdefault(model, array("q")).append(value)
    for item in stats.latency("model").items:
        exact = sorted(found[str(item.key)])
        for percent, shown in ((50, item.p50), (90, item.p90), (95, item.p95), (99, item.p99)):
            rank, part = divmod((len(exact) - 1) * percent, 100)
            above = exact[min(rank + 1, len(exact) - 1)]
            right = (exact[rank] + (above - exact[rank]) * part / 100) / 1000
            worst = max(worst, abs((shown or 0.0) - right) / right)
    return worst


def main() -> None:
    """Make the ledger, ask, print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=10_000_000)
    parser.add_argument("--days", type=float, default=90.0, help="how much time the calls are spread over")
    parser.add_argument("--folder", type=Path, help="where the ledger is made, and left, to be asked again")
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        folder = asked.folder or Path(temporary)
        path = folder / "ledger.db"
        url = f"sqlite:///{path}"
        if not path.exists():
            upkeep = fill(url, asked.rows, asked.days)
            sample = min(asked.rows, 100_000)
            print(f"append, batches of {BATCH:,}: {upkeep:.1f} us of CPU a call", flush=True)
            lean = leanest(path, sample, asked.days * sample / asked.rows)
            print(f"leanest executemany, {sample:,} rows: {lean:.1f} us of CPU a call")
        _report(url, path, asked.rows)


def _report(url: str, path: Path, rows: int) -> None:
    store = open_store(url)
    stats = Stats(store, before_question=lambda: None, now=lambda: to_us(END))
    with sqlite3.connect(path) as raw:
        raw.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        session, user = raw.execute(
            "SELECT session_id, user_id FROM llm_call LIMIT 1 OFFSET ?", (rows // 2,)
        ).fetchone()
        print(f"{path.stat().st_size / rows:.0f} bytes a call on disk, all in")
        duckdb = in_duckdb(path)
        print(f"{'question':44} {'ms CPU':>8} {'method':>7} {'SQLite scan':>12} {'DuckDB':>8}")
        for name, ask in questions(stats, user, session).items():
            method = getattr(ask(), "method", "")
            scan = name in RAW and f"{cpu_ms(lambda name=name: raw.execute(RAW[name]).fetchall(), 1):.0f}"
            duck = name in RAW and duckdb is not None and f"{duckdb(RAW[name]):.0f}"
            print(f"{name:44} {cpu_ms(ask):8.1f} {method:>7} {scan or '':>12} {duck or '':>8}", flush=True)
    print(f"percentiles: within {100 * worst_percentile(stats, path):.2f} % of exact ones")
    store.close()


if __name__ == "__main__":
    main()
