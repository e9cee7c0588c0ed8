"""Lists find their rows through an index, however many calls there are."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import event

from tokentrail import Stats
from tokentrail._records import Record
from tokentrail.stores import open_store
from tokentrail.stores.base import Store
from tokentrail.stores.sql import SqlStore

NEW_YEAR = 1_767_225_600_000_000


def calls() -> list[Record]:
    """Few that are asked for, among those that are not."""
    plain: Record = {"finality": 2, "status": "success", "call_type": "chat", "model": "m"}
    records = [{**plain, "id": f"c{number:03}", "started_at": NEW_YEAR + number} for number in range(60)]
    records[3] |= {"call_type": "embedding", "session_id": "s", "user_id": "u", "run_id": "r"}
    records[4] |= {"request_bytes": 999_999, "response_bytes": 1, "status": "error", "run_id": "r"}
    records[5] |= {"request_bytes": 2_000_000, "message_id": "m"}
    records[6] |= {"response_bytes": 999_999}
    return records


READS_ALL = re.compile(r"SCAN llm_call( USING (COVERING )?INDEX (llm_call_started_at|sqlite_autoindex\w+))?")
"""What a plan says of a statement that may read every call."""

QUESTIONS: list[tuple[str, Callable[[Stats], Any]]] = [
    ("c005 c004", lambda stats: stats.find_large().items),
    ("c005", lambda stats: stats.find_large(1_500_000, of="request").items),
    ("c003", lambda stats: stats.calls(call_type="embedding").items),
    ("", lambda stats: stats.calls(call_type="rerank").items),
    ("c004", lambda stats: stats.calls(status=["error", "timeout"]).items),
    ("c003", lambda stats: stats.calls(session_id="s").items),
    ("c003", lambda stats: stats.calls(user_id="u").items),
    ("c005", lambda stats: stats.find(message_id="m")),
    ("c004 c003", lambda stats: stats.calls(run_id="r").items),
]


@pytest.mark.parametrize(("expected", "ask"), QUESTIONS)
def test_a_list_of_few_reads_few(tmp_path: Path, expected: str, ask: Callable[[Stats], Any]) -> None:
    """No statement reads the calls from the first to the last, not even along an index."""
    store = open_store(f"sqlite:///{tmp_path}/usage.db")
    assert isinstance(store, SqlStore)
    store.append(calls())
    found, plans = _explained(store, lambda: ask(Stats(store, before_question=int)))
    assert " ".join(call.id for call in found) == expected
    assert expected == "" or plans
    assert not [step for step in plans if READS_ALL.fullmatch(step) and expected], plans
    store.close()


def test_a_run_is_found_through_its_index(tmp_path: Path) -> None:
    """What a run used is added up from its own rows."""
    store = open_store(f"sqlite:///{tmp_path}/usage.db")
    assert isinstance(store, SqlStore)
    store.append(calls())
    usage, plans = _explained(store, lambda: Stats(store, before_question=int).run_usage("r"))
    assert usage is not None
    assert usage.calls == 2
    assert [step for step in plans if "llm_call_run_id" in step]
    assert not [step for step in plans if READS_ALL.fullmatch(step)], plans
    store.close()


@pytest.mark.parametrize(("expected", "ask"), QUESTIONS)
def test_lists_are_the_same_everywhere(
    all_stores: dict[str, Store], expected: str, ask: Callable[[Stats], Any]
) -> None:
    """An index changes no answer."""
    for store in all_stores.values():
        store.append(calls())
        found = ask(Stats(store, before_question=int))
        assert " ".join(call.id for call in found) == expected


def _explained(store: SqlStore, ask: Callable[[], Any]) -> tuple[Any, list[str]]:
    """What an answer is, and how SQLite finds the calls for it."""
    asked: list[tuple[str, Any]] = []

    def note(_c: Any, _cursor: Any, statement: str, parameters: Any, *_: Any) -> None:
        if "llm_call" in statement:
            asked.append((statement, parameters))

    event.listen(store._engine, "before_cursor_execute", note)
    found = ask()
    event.remove(store._engine, "before_cursor_execute", note)
    with store._engine.connect() as connection:
        return found, [
            row[3]
            for statement, parameters in asked
            for row in connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {statement}", parameters)
        ]


def test_an_old_example_is_looked_for_where_it_is(tmp_path: Path) -> None:
    """The sums say in which hour a doubt was last seen; calls of other hours are not read for it."""
    store = open_store(f"sqlite:///{tmp_path}/usage.db")
    assert isinstance(store, SqlStore)
    plain: Record = {"finality": 2, "status": "success", "total_tokens": 1, "cost_nanos": 1, "model": "m"}
    hour = 3_600_000_000
    records = [{**plain, "id": f"c{n:03}", "started_at": NEW_YEAR + n * hour} for n in range(100)]
    for number in (20, 30):
        records[number]["usage_flags"] = ["invalid:input_tokens"]
    store.append(records)
    windows: list[Any] = []

    def note(_c: Any, _cursor: Any, statement: str, parameters: Any, *_: Any) -> None:
        if "usage_flags LIKE" in statement and "LIMIT" in statement:
            windows.append(parameters)

    event.listen(store._engine, "before_cursor_execute", note)
    (signal,) = Stats(store, before_question=int, now=lambda: NEW_YEAR + 100 * hour).data_quality().signals
    assert (signal.code, signal.count, signal.example_id) == ("invalid_usage", 2, "c030")
    (parameters,) = windows
    assert {NEW_YEAR + 30 * hour, NEW_YEAR + 31 * hour} <= set(parameters)
    store.close()
