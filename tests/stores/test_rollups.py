"""Rollups: whatever happens to the rows, the sums beside them are what the rows add up to."""

from __future__ import annotations

import json
import os
import random
from collections.abc import Callable, Iterable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from tokentrail._measures import MEASURES, passes
from tokentrail._query import filters
from tokentrail._records import FAILED, STATUSES, Record, from_us, to_us
from tokentrail.stores import _sketches, open_store
from tokentrail.stores._cover import HOUR, LUNE, QUARTER, WIDTHS
from tokentrail.stores._delta import (
    ALL,
    CLIENT,
    ERROR_TYPE,
    FINEST,
    MODEL,
    SERIES,
    SERIES_FIELDS,
    TAG,
    USER,
    table_of,
    token_of,
)
from tokentrail.stores._lanes import COUNTED, NARROW, WIDE, Lanes, column_of
from tokentrail.stores.base import Store
from tokentrail.stores.memory import MemoryStore, measured
from tokentrail.stores.sql import SqlStore

NEW_YEAR = to_us(datetime(2026, 1, 1, tzinfo=UTC))
DAY_US = 24 * 3_600_000_000
ROUNDS = int(os.environ.get("TOKENTRAIL_TEST_ROUNDS", "60"))
"""Random operations of the test of all tests; a long run asks for thousands."""


# --- calls at random ------------------------------------------------------------------------------


def some_call(chance: random.Random, number: int) -> Record:
    """A call of which any fact may be anything, or unknown."""
    record: Record = {
        "id": f"call-{number:04}",
        "finality": chance.choice((1, 1, 2, 2, 3)),
        "started_at": NEW_YEAR + chance.randrange(3) * 10 * DAY_US + chance.randrange(2 * DAY_US),
        "status": chance.choice(("success", "success", *STATUSES)),
    }
    choices: dict[str, Any] = {
        "provider": ("openai", "anthropic"), "model": ("gpt-5", "claude", "*"), "requested_model": ("fast",),
        "call_type": ("chat", "embedding"), "is_streaming": (True, False), "cache_hit": (True, False),
        "usage_source": ("provider", "estimated"), "attempt_kind": ("first", "retry", "fallback"),
        "operation_id": ("o1", "o2"), "user_id": ("u1", "u2", "U1", ""), "client_id": ("c1", "c2"),
        "session_id": ("s1", "s2", "s3"), "error_type": ("Timeout", "Oops"),
        "usage_flags": (["warning"], ["invalid:x", "negative:y"], []),
        "tags": ([], ["a"], ["a", "b"], ["b", "c", "b"]),
    }  # fmt: skip
    for name, values in choices.items():
        if chance.random() < 0.7:
            record[name] = chance.choice(values)
    for name in COUNTED:
        if chance.random() < 0.7:
            record[name] = chance.choice((0, 1, chance.randrange(10**6), chance.randrange(-5, 0)))
    if chance.random() < 0.5:
        record["ended_at"] = record["started_at"] + chance.randrange(-9, 10**7)
    return record


# --- the oracle: every level, counter, sketch and session, by plain counting ----------------------


def cells_of(record: Record) -> Iterable[tuple[int, str]]:
    """(dimension, token) of the sums a call is in."""
    yield SERIES, json.dumps([record.get(name) for name in SERIES_FIELDS])
    yield ALL, "="
    yield MODEL, token_of(record.get("model"))
    yield USER, token_of(record.get("user_id"))
    yield CLIENT, token_of(record.get("client_id"))
    for tag in set(record.get("tags") or [None]):
        yield TAG, token_of(tag)
    if record["status"] in FAILED:
        yield ERROR_TYPE, token_of(record.get("error_type"))


def counted(lanes: Lanes, records: list[Record]) -> dict[str, Any]:
    """The counters of a cell, as the memory store counts."""
    found: dict[str, Any] = {}
    for name in lanes.sums:
        if name in MEASURES:
            found[column_of(name)] = measured(MEASURES[name], records) or 0
        else:
            measure = MEASURES[name.removesuffix("_known")]
            found[column_of(name)] = sum(
                all(passes(record, test) for test in measure.when)
                and record.get(str(measure.column)) is not None
                for record in records
            )
    found |= {column_of(name): measured(MEASURES[name], records) for name in lanes.extremes}
    return found


def expected_cells(records: list[Record]) -> dict[tuple[int, int, int, str], dict[str, Any]]:
    """Every cell of every level."""
    members: dict[tuple[int, int, int, str], list[Record]] = {}
    for record in records:
        for dimension, token in cells_of(record):
            for level in range(FINEST.get(dimension, QUARTER), LUNE + 1):
                place = (dimension, level, record["started_at"] // WIDTHS[level], token)
                members.setdefault(place, []).append(record)
    return {place: counted(table_of(place[0])[1], each) for place, each in members.items()}


def stored_cells(store: SqlStore) -> dict[tuple[int, int, int, str], dict[str, Any]]:
    found = {}
    with store._reading() as connection:
        tokens = dict(connection.exec_driver_sql("SELECT id, token FROM usage_key").all())
        for table in ("usage", "usage_label"):
            for row in connection.exec_driver_sql(f"SELECT * FROM {table}").mappings():
                cell = dict(row)
                place = tuple(cell.pop(name) for name in ("dimension", "level", "period"))
                found[(*place, tokens[cell.pop("key")])] = cell
    return found


def expected_sketches(records: list[Record]) -> dict[tuple[int, int, str], tuple[int, int]]:
    spans: dict[tuple[int, int, str], tuple[list[int], list[int]]] = {}
    for record in records:
        if record.get("cache_hit"):
            continue
        token = json.dumps([record.get(name) for name in SERIES_FIELDS])
        for level in range(HOUR, LUNE + 1):
            place = (level, record["started_at"] // WIDTHS[level], token)
            for values, name in zip(
                spans.setdefault(place, ([], [])), ("duration_us", "time_to_first_token_us"), strict=True
            ):
                values += [record[name]] if name in record else []
    return {
        place: (_sketches.sketch(one), _sketches.sketch(two))
        for place, (one, two) in spans.items()
        if one or two
    }


def stored_sketches(store: SqlStore) -> dict[tuple[int, int, str], tuple[int, int]]:
    with store._reading() as connection:
        tokens = dict(connection.exec_driver_sql("SELECT id, token FROM usage_key").all())
        rows = connection.exec_driver_sql("SELECT level, period, key, durations, firsts FROM usage_sketch")
        found = {
            (level, period, tokens[key]): (_sketches.unpacked(one), _sketches.unpacked(two))
            for level, period, key, one, two in rows
        }
    return {place: pair for place, pair in found.items() if any(pair)}


def stored_sessions(store: SqlStore) -> dict[str, dict[str, Any]]:
    with store._reading() as connection:
        rows = connection.exec_driver_sql("SELECT * FROM session").mappings()
        return {row["session_id"]: {k: v for k, v in row.items() if k != "session_id"} for row in rows}


def expected_sessions(records: list[Record]) -> dict[str, dict[str, Any]]:
    members: dict[str, list[Record]] = {}
    for record in records:
        if "session_id" in record:
            members.setdefault(record["session_id"], []).append(record)
    return {session_id: counted(NARROW, each) for session_id, each in members.items()}


EXTREMES = {column_of(name) for name in WIDE.extremes}


def without_extremes(cells: dict[Any, dict[str, Any]]) -> dict[Any, dict[str, Any]]:
    return {
        place: {name: value for name, value in cell.items() if name not in EXTREMES}
        for place, cell in cells.items()
    }


def check(store: SqlStore, model: MemoryStore) -> None:
    """The store's sums are what its rows, and those that were pruned, add up to."""
    records = [*model._calls.values(), *model._pruned.values()]
    pairs: list[tuple[Any, Any]] = [
        (stored_cells(store), expected_cells(records)),
        (stored_sessions(store), expected_sessions(records)),
    ]
    for stored, expected in pairs:
        if model._pruned:
            # The extremes of a cell can only be looked for again among the rows there are.
            stored, expected = without_extremes(stored), without_extremes(expected)
        assert stored == expected
    assert stored_sketches(store) == expected_sketches(records)


# --- histories ------------------------------------------------------------------------------------


def operate(chance: random.Random, store: Store, model: MemoryStore, *, prunes: bool) -> None:
    """One random operation on both."""
    kinds = ["append"] * 6 + ["correct", "reprice", "erase"] + (["prune"] if prunes else [])
    match chance.choice(kinds):
        case "append":
            batch = [some_call(chance, chance.randrange(90)) for _ in range(chance.randrange(1, 30))]
            told = [each.append(batch) for each in (store, model)]
            assert told[0][:3] == told[1][:3]
            assert told[0].expired == told[1].expired
        case "correct":
            new = some_call(chance, chance.randrange(90))
            del new["finality"]
            gone = dict.fromkeys(chance.sample(COUNTED, 3))
            assert store.correct([{**gone, **new}])[:3] == model.correct([{**gone, **new}])[:3]
        case "reprice":
            prices = [
                {"id": f"call-{number:04}", "cost_nanos": chance.randrange(10**9), "cost_source": "override"}
                for number in chance.sample(range(90), 20)
            ]
            assert store.correct(prices)[:3] == model.correct(prices)[:3]
        case "erase":
            what = chance.choice(
                ({"user_id": "u1"}, {"session_id": "s2"}, {"model": "claude", "status": "error"})
            )
            assert store.erase(filters(**what)) == model.erase(filters(**what))
        case "prune":
            mark = from_us(NEW_YEAR + chance.randrange(DAY_US))
            assert store.prune(mark) == model.prune(mark)


@pytest.mark.parametrize("prunes", [False, True])
@pytest.mark.parametrize("kind", ["sqlite", "postgresql"])
def test_sums_follow_rows_through_any_history(
    kind: str, prunes: bool, tmp_path: Path, postgres: Callable[[], str]
) -> None:
    """Duplicates, all finalities, facts that move, corrections, erasures and pruning."""
    store = open_store(postgres() if kind == "postgresql" else f"sqlite:///{tmp_path}/usage.db")
    assert isinstance(store, SqlStore)
    model, chance = MemoryStore(), random.Random(f"{kind}{prunes}{os.environ.get('TOKENTRAIL_TEST_SEED')}")
    for step in range(ROUNDS if kind == "sqlite" else ROUNDS // 2):
        operate(chance, store, model, prunes=prunes)
        if step % 20 == 0:
            check(store, model)
    check(store, model)
    before = (stored_cells(store), stored_sketches(store), stored_sessions(store))
    store.rebuild_rollups()
    assert (stored_cells(store), stored_sketches(store), stored_sessions(store)) == before
    store.close()
