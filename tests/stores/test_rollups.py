"""Rollups: whatever happens to the rows, the sums beside them are what the rows add up to."""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
import threading
from collections.abc import Callable, Iterable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from zoneinfo import available_timezones

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tokentrail._measures import AMOUNTS, MEASURES, passes
from tokentrail._query import Query, filters
from tokentrail._records import FAILED, STATUSES, Record, from_us, to_us
from tokentrail.stores import _sketches, open_store, sql
from tokentrail.stores._cover import HOUR, LUNE, QUARTER, WIDTHS, cover
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
from tokentrail.stores._lanes import COUNTED, MORE, NARROW, WIDE, Lanes, column_of
from tokentrail.stores._rollups import Rollups
from tokentrail.stores.base import ROLLUP, ROWS, Store
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


# --- several writers, and one that dies -----------------------------------------------------------


def test_several_writers_leave_one_sum(tmp_path: Path) -> None:
    """Stores of their own write the same calls at once; every sum is what the rows add up to."""
    url = f"sqlite:///{tmp_path}/usage.db"
    stores = [open_store(url) for _ in range(3)]

    def write(number: int) -> None:
        chance = random.Random(number)
        for _ in range(6):
            stores[number].append([some_call(chance, chance.randrange(60)) for _ in range(15)])

    threads = [threading.Thread(target=write, args=(number,)) for number in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    first = stores[0]
    assert isinstance(first, SqlStore)
    before = (stored_cells(first), stored_sketches(first), stored_sessions(first))
    first.rebuild_rollups()
    assert (stored_cells(first), stored_sketches(first), stored_sessions(first)) == before
    for store in stores:
        store.close()


DIES = """
import os, sys
from tokentrail.stores import _rollups, open_store
store = open_store(sys.argv[1])
call = lambda n: {"id": f"call-{n}", "finality": 2, "started_at": 1767225600000000 + n, "status": "success"}
store.append([call(n) for n in range(10)])
_rollups.Rollups._spans = lambda *_: os.kill(os.getpid(), 9)  # the rows are written, half of the sums too
store.append([call(n) for n in range(10, 30)])
"""


def test_a_death_in_the_middle_leaves_rows_and_sums_equal(tmp_path: Path) -> None:
    """kill -9 between the rows and their sums: neither is there."""
    url = f"sqlite:///{tmp_path}/usage.db"
    done = subprocess.run([sys.executable, "-c", DIES, url], check=False, timeout=60)
    assert done.returncode == -9
    store = open_store(url)
    assert len(store.scan(filters(), limit=99)) == 10
    groups = store.aggregate(Query())
    assert (groups, groups.method) == ([{"calls": 10}], ROLLUP)
    store.close()


# --- mutants: what must make the test of all tests fail -------------------------------------------


def test_the_oracle_sees_an_old_side_that_is_not_taken_away(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without the minus of the delta rule the sums are wrong, and the check says so."""
    store, model = open_store(f"sqlite:///{tmp_path}/usage.db"), MemoryStore()
    assert isinstance(store, SqlStore)
    monkeypatch.setattr("tokentrail.stores._delta._take", lambda new, old: {})
    for each in (store, model):
        each.append([{"id": "a", "finality": 1, "started_at": NEW_YEAR, "status": "error"}])
        each.append([{"id": "a", "finality": 2, "started_at": NEW_YEAR, "status": "success"}])
    with pytest.raises(AssertionError):
        check(store, model)
    store.close()


# --- answers --------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def filled(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """The same thousand calls in SQLite and in memory."""
    store = open_store(f"sqlite:///{tmp_path_factory.mktemp('filled')}/usage.db")
    model, chance = MemoryStore(), random.Random(5)
    calls = [some_call(chance, number) for number in range(1_000)]
    for each in (store, model):
        each.append(calls)
    yield store, model
    store.close()


ANSWERED = (*AMOUNTS, *MORE)


@pytest.mark.parametrize(
    ("by", "wanted"),
    [
        ((), {}),
        (("model",), {}),
        (("provider", "status"), {"is_streaming": True}),
        (("call_type",), {"provider": ["open*", None], "model": "gpt*"}),
        ((), {"status": ["error", "timeout"]}),
    ],
)
@pytest.mark.parametrize("tz", ["UTC", "America/New_York", "Asia/Kathmandu", "Australia/Lord_Howe"])
@pytest.mark.parametrize("granularity", [None, "day"])
def test_every_measure_is_the_same_from_rollups(
    filled: Any, by: tuple[str, ...], wanted: dict[str, Any], tz: str, granularity: str | None
) -> None:
    """All counters, in any zone, with an odd window: exactly what the rows say, and said so."""
    store, model = filled
    window = {"start": datetime(2026, 1, 1, 3, 7), "end": datetime(2026, 1, 20, 22, 11), "tz": tz}  # noqa: DTZ001
    asked = Query(ANSWERED, by=by, granularity=granularity).where(**window, **wanted)
    found = store.aggregate(asked)
    assert found == model.aggregate(asked)
    assert found.method == ROLLUP


@pytest.mark.parametrize("label", ["user_id", "client_id", "tag", "error_type"])
def test_labels_are_the_same_from_rollups(filled: Any, label: str) -> None:
    """Who and what for: the amounts of every label, its largest first."""
    store, model = filled
    failed = {"status": FAILED} if label == "error_type" else {}
    for limit in (None, 1, 2):
        asked = Query(AMOUNTS, by=(label,), order="-total_tokens", limit=limit).where(**failed)
        found = store.aggregate(asked)
        assert (found, found.method) == (model.aggregate(asked), ROLLUP)


def test_what_rollups_cannot_tell_says_rows(filled: Any) -> None:
    """A user and a model together are in no sum."""
    store, model = filled
    asked = Query(by=("model",)).where(user_id="u1")
    found = store.aggregate(asked)
    assert (found, found.method) == (model.aggregate(asked), ROWS)


def test_the_days_of_every_zone_add_up_to_the_whole(filled: Any) -> None:
    """No call is lost or counted twice at the edge of a day, wherever one lives."""
    store, _ = filled
    ((whole,),) = ([group["calls"]] for group in store.aggregate(Query()))
    for tz in sorted(available_timezones()):
        days = store.aggregate(Query(granularity="day").where(tz=tz))
        assert sum(day["calls"] for day in days) == whole, tz
        assert days.method == ROLLUP, tz


def test_few_calls_are_measured_exactly(filled: Any) -> None:
    """Where there are few, percentiles come from the rows themselves."""
    store, model = filled
    few, exact = store.spans(filters(status="success")), model.spans(filters(status="success"))
    assert (few.method, few.error, few.groups) == (ROWS, 0.0, exact.groups)


def test_a_series_of_more_pieces_than_one_statement_takes(tmp_path: Path) -> None:
    store = open_store(f"sqlite:///{tmp_path / 'many.db'}")
    days = (0, 899, *range(397, 404), *range(663, 670))  # where 2,000 pieces of 5 or 3 a day are over
    calls: list[Record] = [
        {"id": f"call-{day:03}-{quarter:02}", "finality": 2, "status": "success", "total_tokens": 1}
        | {"started_at": NEW_YEAR + day * DAY_US + quarter * WIDTHS[QUARTER]}
        for day in days
        for quarter in range(96)
    ]
    store.append(calls)
    model = MemoryStore()
    model.append(calls)
    for tz in ("Asia/Kathmandu", "Asia/Kolkata"):
        asked = Query(("calls", "total_tokens", "last_started_at"), granularity="day").where(tz=tz)
        found = store.aggregate(asked)
        assert found.method == ROLLUP
        assert found == model.aggregate(asked)
    store.close()


def test_percentiles_are_within_the_error_that_is_said(filled: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Sketches find every duration within 2.5 %."""
    store, model = filled
    monkeypatch.setattr(sql, "FEW", 0)
    rough, exact = store.spans(filters(status="success")), model.spans(filters(status="success"))
    assert (rough.method, rough.error, exact.error) == (ROLLUP, _sketches.ERROR, 0.0)
    for one, other in zip(rough.groups[None], exact.groups[None], strict=True):
        shown = [value for value, count in sorted(one.items()) for _ in range(count)]
        true = [max(value, 0) for value, count in sorted(other.items()) for _ in range(count)]
        assert len(shown) == len(true)
        assert all(abs(a - b) <= _sketches.ERROR * b for a, b in zip(shown, sorted(true), strict=True))


def test_more_labels_than_there_may_be_are_answered_from_rows(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Beyond the most keys calls share one; then the dimension is not asked, and the answer stays right."""
    store = open_store(f"sqlite:///{tmp_path}/usage.db")
    assert isinstance(store, SqlStore)
    store._calls._rollups = Rollups(postgres=False, most_keys=8)
    calls: list[Record] = [
        {"id": f"c{n:03}", "finality": 2, "started_at": NEW_YEAR, "status": "success", "user_id": f"u{n}"}
        for n in range(40)
    ]
    store.append(calls)
    groups = store.aggregate(Query(by=("user_id",)))
    assert (len(groups), groups.method) == (40, ROWS)
    assert store.aggregate(Query()).method == ROLLUP
    assert store.aggregate(Query(("users",))) == [{"users": 40}]
    assert store.erase(filters(user_id="u39")) == 1
    assert store.aggregate(Query()) == [{"calls": 39}]
    store.close()


def test_the_name_of_an_erased_user_is_nowhere(tmp_path: Path) -> None:
    """Neither in a row nor in a key of the sums; and whoever comes back is counted again."""
    store = open_store(f"sqlite:///{tmp_path}/usage.db")
    assert isinstance(store, SqlStore)
    call: Record = {"id": "a", "finality": 2, "started_at": NEW_YEAR, "status": "success", "user_id": "alice"}
    store.append([call, {**call, "id": "b", "user_id": "bob"}])
    assert store.erase(filters(user_id="alice")) == 1
    with store._reading() as connection:
        tokens = connection.exec_driver_sql("SELECT token FROM usage_key").scalars().all()
    assert "=alice" not in tokens
    assert "=bob" in tokens
    store.append([{**call, "id": "c"}])
    found = store.aggregate(Query(by=("user_id",)))
    assert found == [{"user_id": "alice", "calls": 1}, {"user_id": "bob", "calls": 1}]
    store.close()


def test_pruned_calls_stay_in_the_sums_and_are_not_counted_again(tmp_path: Path) -> None:
    """Rows go, sums stay; a pruned call that is delivered again is dropped and counted as expired."""
    store = open_store(f"sqlite:///{tmp_path}/usage.db")
    calls: list[Record] = [
        {"id": f"c{n}", "finality": 2, "started_at": NEW_YEAR + n * DAY_US, "status": "success"}
        for n in range(4)
    ]
    store.append(calls)
    assert store.prune(from_us(NEW_YEAR + 2 * DAY_US)) == 2
    told = store.append(calls)
    assert (told.inserted, told.unchanged, told.expired) == (0, 2, 2)
    assert [day["calls"] for day in store.aggregate(Query(granularity="day"))] == [1, 1, 1, 1]
    assert len(store.scan(filters(), limit=9)) == 2
    store.close()


@given(
    level=st.sampled_from((QUARTER, HOUR)), start=st.integers(-5_000, 20_000), length=st.integers(1, 9_000),
    signed=st.booleans(),
)  # fmt: skip
@settings(deadline=None)
def test_a_cover_is_its_window(level: int, start: int, length: int, signed: bool) -> None:
    """Pieces add up to every slot of the window once, and to nothing outside."""
    width = WIDTHS[level]
    slots: dict[int, int] = {}
    for piece in cover(start * width, (start + length) * width, level, signed=signed):
        many = WIDTHS[piece.level] // width
        for slot in range(piece.low * many, piece.high * many):
            slots[slot] = slots.get(slot, 0) + piece.sign
    assert {slot for slot, count in slots.items() if count} == set(range(start, start + length))
    assert set(slots.values()) <= {0, 1}
