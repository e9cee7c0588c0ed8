"""A call as a row of Letta's `llm_traces`."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from tokentrail import LLMCall, Tracker

CASES = {
    case["name"]: case
    for case in json.loads((Path(__file__).parent / "cases" / "trace.json").read_text(encoding="utf-8"))
}
NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)


def told(tracker: Tracker, answer: dict[str, Any], **start: Any) -> None:
    """Record a call by what its answer says, as a door to a provider's JSON would."""
    call = tracker.start(model="m", provider="p", **start)
    if "stream" in answer:
        tracker.fail(call, "broken off")
        tracker.finish(call)
    elif answer.get("error") or answer.get("error_type"):
        kind = {"error_type": answer["error_type"]} if "error_type" in answer else {}
        tracker.fail(call, answer["error"], usage=answer, response=answer, **kind)
    else:
        tracker.finish(call, usage=answer, response=answer)


def recorded(case: dict[str, Any]) -> tuple[LLMCall, dict[str, Any]]:
    """The call of a case, and its row by column."""
    given = case["input"]
    with Tracker("memory://", capture="full") as tracker:
        told(tracker, given["response_json"], request=given.get("request_json"))
        (call,) = tracker.stats.calls().items
        if "id" in given:
            call.id = given["id"]
        row = call.to_clickhouse_row(tracker.stats.payload(call.id))
    return call, dict(zip(LLMCall.clickhouse_columns(), row, strict=True))


@pytest.mark.parametrize("name", ["error_null_is_success", "error_object", "error_string_and_type",
                                  "error_type_only", "trace_usage_null"])  # fmt: skip
def test_what_an_answer_says_is_in_the_row(name: str) -> None:
    """Errors in every form they come in, and usage that is there, or is not."""
    expected = dict(CASES[name]["expected"])
    expected.pop("stored", None)
    call, row = recorded(CASES[name])
    if "reported" in expected:
        assert expected.pop("reported") is (call.total_tokens is not None)
    assert {column: row[column] for column in expected} == expected


def test_a_stream_that_broke_is_one_row() -> None:
    """The error stands, whatever says afterwards that the stream had ended."""
    assert CASES["stream_error_written_once"]["expected"] == {"rows": 1, "is_error": True}
    _, row = recorded(CASES["stream_error_written_once"])
    assert row["is_error"] == 1


def test_the_prefix_of_an_id_is_cut() -> None:
    """One id in every store."""
    case = CASES["trace_id_prefix"]
    _, row = recorded(case)
    assert row["id"] == case["input"]["id"].removeprefix("provider_trace-")


def test_sizes_are_bytes_of_the_text_that_is_stored() -> None:
    """é is two bytes."""
    _, row = recorded(CASES["sizes_in_bytes"])
    assert (
        row["request_size_bytes"] == len(row["request_json"].encode()) == len('{"p":"éééééééééé"}'.encode())
    )


def test_the_row_has_the_time_of_the_call() -> None:
    """Not the time at which it was converted."""
    assert CASES["created_at_is_call_time"]["expected"] == {"created_at": "start (or end) of the call"}
    with Tracker("memory://") as tracker:
        tracker.record(model="m", started_at=NOON)
        (call,) = tracker.stats.calls().items
    assert call.to_clickhouse_row()[-1] == NOON


def test_row_and_columns_line_up() -> None:
    """31 values for 31 columns, in Letta's order, with its defaults for what is not known."""
    expected = CASES["row_and_columns_line_up"]["expected"]
    row = LLMCall(id="a", status="success", started_at=NOON).to_clickhouse_row()
    columns = LLMCall.clickhouse_columns()
    assert len(row) == len(columns) == expected["len(to_clickhouse_row())"] == 31
    by_name = dict(zip(columns, row, strict=True))
    assert by_name == {
        "id": "a", "organization_id": "", "project_id": "", "agent_id": "", "agent_tags": [], "run_id": "",
        "step_id": "", "trace_id": "", "call_type": "", "provider": "", "model": "", "is_byok": 0,
        "request_size_bytes": 0, "response_size_bytes": 0, "prompt_tokens": 0, "completion_tokens": 0,
        "total_tokens": 0, "cached_input_tokens": None, "cache_write_tokens": None, "reasoning_tokens": None,
        "latency_ms": 0, "is_error": 0, "error_type": "", "error_message": "", "request_json": "",
        "response_json": "", "llm_config_json": "", "billing_plan_type": "", "billing_cost_source": "",
        "billing_customer_id": "", "created_at": NOON,
    }  # fmt: skip
    assert list(by_name) == columns


def test_every_column_has_its_own_value() -> None:
    """What a call knows is in the column that is named after it; a message is cut at 1,000 characters."""
    call = LLMCall(
        id="a", status="error", started_at=NOON, organization_id="o", project_id="p", agent_id="g",
        tags=["t"], run_id="r", step_id="s", trace_id="x", call_type="agent_step", provider="v", model="m",
        is_byok=True, request_bytes=1, response_bytes=2, input_tokens=3, output_tokens=4, total_tokens=7,
        cache_read_tokens=0, cache_creation_tokens=5, reasoning_tokens=6, duration_ms=1234.5, error_type="E",
        error_message="é" * 2000, params={"temperature": 0.5}, billing_plan_type="b",
        billing_cost_source="quota", billing_customer_id="c",
    )  # fmt: skip
    row = call.to_clickhouse_row({"request": "{}", "response": None})
    assert row == (
        "a", "o", "p", "g", ["t"], "r", "s", "x", "agent_step", "v", "m", 1, 1, 2, 3, 4, 7, 0, 5, 6, 1234, 1,
        "E", "é" * 1000, "{}", "", '{"temperature": 0.5}', "b", "quota", "c", NOON,
    )  # fmt: skip
