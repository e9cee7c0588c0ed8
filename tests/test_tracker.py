"""The life of a call in memory: every case of `cases/lifecycle.json` that is about it, and then some."""

from __future__ import annotations

import asyncio
import json
import logging
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from tokentrail import _totals
from tokentrail._tracker import Tracker, get_tracker, set_tracker
from tokentrail.errors import ConfigurationError

CASES = {
    case["name"]: case
    for case in json.loads((Path(__file__).parent / "cases" / "lifecycle.json").read_text(encoding="utf-8"))
}


@pytest.fixture
def tracker() -> Iterator[Tracker]:
    """A tracker whose store is plain memory."""
    with Tracker("memory://") as tracker:
        yield tracker


class Script:
    """Plays the operations of a case against a tracker; the names of calls in a case become their ids."""

    def __init__(self, tracker: Tracker) -> None:
        self.tracker = tracker
        self.ids: dict[str, str] = {}
        self.totals: list[dict[str, Any]] = []

    def play(self, ops: list[list[Any]]) -> Script:
        for verb, *arguments in ops:
            getattr(self, verb)(*arguments)
        return self

    def start(self, name: str, fields: dict[str, Any]) -> None:
        fields = {"provider": None, "model": None, **fields}
        self.ids[name] = self.tracker.start(is_streaming=fields.pop("stream", False), **fields)

    def progress(self, name: str, usage: dict[str, Any]) -> None:
        self.tracker.progress(self.ids[name], usage=usage)

    def end(self, name: str, fields: dict[str, Any]) -> None:
        usage = {key: fields.pop(key) for key in ("input_tokens", "output_tokens") if key in fields}
        self.tracker.finish(self.ids.get(name, name), usage=usage or None, **fields)

    def end_after_ms(self, name: str, duration: int) -> None:
        self.tracker.finish(self.ids[name], duration_ms=duration)

    def warn(self, name: str, message: str) -> None:
        self.tracker.warn(self.ids[name], message)

    def access(self, provider: str, model: str, moment: str) -> None:
        self.tracker.record(provider=provider, model=model, started_at=datetime.fromisoformat(moment))

    def seed(self, pairs: list[tuple[str, str]]) -> None:
        for provider, model in pairs:
            self.tracker.record(provider=provider, model=model)

    def totals_(self, filters: dict[str, Any]) -> None:
        self.totals.append(self.tracker.running_totals(**filters))


def play(tracker: Tracker, name: str) -> Script:
    ops = [["totals_" if verb == "totals" else verb, *rest] for verb, *rest in CASES[name]["input"]["ops"]]
    return Script(tracker).play(ops)


@pytest.mark.parametrize(
    "name", ["active_counted_once", "active_count_respects_filter", "average_excludes_active"]
)
def test_active_calls_count_once_and_in_no_average(tracker: Tracker, name: str) -> None:
    """A running call is in the top line once, obeys the filter and pulls no average down."""
    script = play(tracker, name)
    expected = CASES[name]["expected"]
    assert {key: script.totals[0][key] for key in expected} == expected


def test_provider_and_model_stay_apart(tracker: Tracker) -> None:
    """A model name with a colon and no provider is kept whole."""
    providers = play(tracker, "provider_missing_model_with_colon").totals[0]["providers"]
    expected = CASES["provider_missing_model_with_colon"]["expected"]
    assert list(providers) == expected["providers"]
    assert list(providers["unknown"]["models"]) == expected["models"]


def test_modelless_traffic_passes_no_model_filter(tracker: Tracker) -> None:
    """A filter on the model hides calls that have none."""
    assert play(tracker, "model_filter_hides_modelless_traffic").totals[0]["total_requests"] == 0


def test_wildcards_ignore_case(tracker: Tracker) -> None:
    """`*` and `?` work in filters, in upper and lower case."""
    script = play(tracker, "wildcard_filter")
    providers = script.totals[0]["providers"]
    assert len(providers["openai"]["models"]) == CASES["wildcard_filter"]["expected"]["first"]
    assert list(providers) == ["openai"]
    # "gpt-?" is one character: of the three seeded models only gpt-4 has it.
    assert list(script.totals[1]["providers"]["openai"]["models"]) == ["gpt-4"]


def test_brackets_in_model_names_are_no_wildcards(tracker: Tracker) -> None:
    """A filter for `m[1]` finds `m[1]` and not `m1`."""
    tracker.record(provider="p", model="m[1]")
    tracker.record(provider="p", model="m1")
    assert list(tracker.running_totals(model="m[1]")["providers"]["p"]["models"]) == ["m[1]"]


def test_end_of_unknown_id_is_an_orphan(tracker: Tracker) -> None:
    """An end without a start is stored as a row of its own, once, and counted."""
    play(tracker, "end_unknown_id")
    tracker.finish("nope", usage={"input_tokens": 5})
    assert tracker.health()["orphans"] == 1
    assert tracker.health()["duplicates"] == 1
    [row] = tracker.stats.calls().items
    assert (row.request_id, row.input_tokens, row.status) == ("nope", 5, "success")


def test_unknown_fields_never_raise_and_are_kept(tracker: Tracker) -> None:
    """`duration_ms` may be given at the end; a field without a column is kept under `attributes`."""
    call_id = tracker.start(model="m", whatever={"deep": 1})
    tracker.finish(call_id, duration_ms=5)
    tracker.finish(call_id, nonexist=1)
    assert tracker.active() == []
    tracker.flush()
    row = tracker.get(call_id)
    assert row.duration_ms == 5
    assert row.attributes == {"whatever": {"deep": 1}}


@pytest.mark.parametrize("value", ["abc", float("nan"), True, 2**70, object()])
def test_a_bad_value_costs_only_its_field(tracker: Tracker, value: object) -> None:
    """A field of the wrong kind is left out and counted; the call is kept."""
    call_id = tracker.start(model="m", message_count=value, user_id="u")
    tracker.finish(call_id)
    row = tracker.get(call_id)
    assert (row.message_count, row.user_id) == (None, "u")
    assert tracker.health()["notes"]["invalid_field:message_count"] == 1


def test_unknown_tokens_do_not_poison(tracker: Tracker) -> None:
    """Unknown counts end the call like any other, and are no zero in its row."""
    script = play(tracker, "none_tokens_do_not_poison")
    totals = tracker.running_totals()
    assert (totals["total_requests"], totals["active_requests"], totals["total_input_tokens"]) == (1, 0, 0)
    assert tracker.get(script.ids["n"]).input_tokens is None


def test_a_warning_is_no_error(tracker: Tracker) -> None:
    """Doubt about usage is counted as a warning and leaves the status alone."""
    script = play(tracker, "usage_warning_is_no_error")
    totals = tracker.running_totals()
    assert (totals["total_errors"], totals["total_warnings"]) == (0, 1)
    row = tracker.get(script.ids["w"])
    assert row.status == "success"
    assert row.usage_flags == ["warning:usage accounting error", "missing_usage"]


def test_flags_are_those_of_the_usage_that_stands(tracker: Tracker) -> None:
    """A flag of an earlier usage goes with it, one of the last comes once, and a warning stays."""
    doubtful = {"input_tokens": 10, "output_tokens": 5, "total_tokens": 3}
    clean = {**doubtful, "total_tokens": 15}
    told = []
    for last in (doubtful, clean):
        call_id = tracker.start(model="m")
        tracker.progress(call_id, usage=doubtful)
        tracker.progress(call_id, usage=doubtful)
        tracker.warn(call_id, "odd")
        tracker.finish(call_id, usage=last)
        told.append(tracker.get(call_id).usage_flags)
    assert told == [["warning:odd", "total_mismatch"], ["warning:odd"]]


def test_summary_interval_zero_is_off(caplog: pytest.LogCaptureFixture) -> None:
    """With interval 0 nothing is logged and calls still end."""
    with caplog.at_level(logging.INFO, "tokentrail"), Tracker("memory://", summary_interval=0) as tracker:
        tracker.finish(tracker.start(model="m"))
        assert tracker.running_totals()["total_requests"] == 1
    assert not caplog.records


def test_summary_tells_interval_and_total(caplog: pytest.LogCaptureFixture) -> None:
    """Each summary has the figures of its interval beside those since the start."""
    with caplog.at_level(logging.INFO, "tokentrail"), Tracker("memory://", summary_interval=2) as tracker:
        for _ in range(4):
            tracker.finish(tracker.start(model="m"))
    figures = caplog.records[1].tokentrail  # type: ignore[attr-defined]
    assert {key: figures[key] for key in ("interval_requests", "total_requests")} == CASES[
        "summary_is_per_interval"
    ]["expected"]["second_log_line"]


async def test_fifty_waiters_see_every_change(tracker: Tracker) -> None:
    """No waiter misses a change, also not one between two waits; nothing is kept of them."""

    async def wait_twice(version: int) -> list[int]:
        seen = []
        for _ in range(2):
            version = await tracker.wait_for_change_async(version, timeout=10)
            seen.append(version)
        return seen

    before = tracker.version
    waiters = [asyncio.create_task(wait_twice(before)) for _ in range(50)]
    await asyncio.sleep(0)
    await asyncio.to_thread(tracker.start, model="m")
    first = tracker.version
    while not all(tracker.version > first or waiter.done() for waiter in waiters):
        await asyncio.to_thread(tracker.start, model="m")
    answers = await asyncio.gather(*waiters)
    assert all(seen[0] > before and seen[1] > seen[0] for seen in answers)
    assert tracker._live._wakers == []


def test_waiting_threads_wake(tracker: Tracker) -> None:
    """Threads waiting for a change wake for it, and a version of the past returns at once."""
    before = tracker.version
    with ThreadPoolExecutor(8) as pool:
        waits = [pool.submit(tracker.wait_for_change, before, 10) for _ in range(8)]
        tracker.start(model="m")
        assert all(wait.result() > before for wait in waits)
    assert tracker.wait_for_change(before, timeout=0) > before


def test_first_wait_blocks(tracker: Tracker) -> None:
    """Waiting since the present version lasts until the timeout when nothing changes."""
    version = tracker.version
    began = datetime.now(UTC)
    assert tracker.wait_for_change(version, timeout=0.2) == version
    assert datetime.now(UTC) - began >= timedelta(seconds=0.19)


def test_threads_with_their_own_loops(tracker: Tracker) -> None:
    """8 threads with an event loop each, 400 calls a thread: exact totals, no error, nothing left."""

    async def work() -> None:
        for _ in range(400):
            call_id = tracker.start(provider="p", model="m")
            tracker.running_totals(include_active=False)
            tracker.finish(call_id, usage={"prompt_tokens": 2, "completion_tokens": 1})

    threads = [threading.Thread(target=lambda: asyncio.run(work())) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    totals = tracker.running_totals()
    assert (totals["total_requests"], totals["total_input_tokens"], totals["active_requests"]) == (
        3200,
        6400,
        0,
    )
    assert tracker.health()["faults"] == {}
    assert tracker.flush(30)
    assert tracker.stats.overview().calls == 3200


def test_last_accessed_is_a_maximum(tracker: Tracker) -> None:
    """An older call that is recorded later does not move the last access back."""
    play(tracker, "last_accessed_monotonic")
    provider = tracker.running_totals()["providers"]["p"]
    expected = CASES["last_accessed_monotonic"]["expected"]
    assert datetime.fromisoformat(provider["last_accessed"]) == datetime.fromisoformat(expected["provider"])
    assert datetime.fromisoformat(provider["models"]["m"]["last_accessed"]) == datetime.fromisoformat(
        expected["model"]
    )


# --- ends ----------------------------------------------------------------------------------------


def test_an_error_has_its_frames_and_no_words(tracker: Tracker) -> None:
    """Where it came from, from the outermost of its last twenty frames to the line that raised it."""

    def ask(depth: int) -> None:
        if depth:
            ask(depth - 1)
        else:
            raise ValueError("a prompt")

    call_id = tracker.start(model="m")
    try:
        ask(30)
    except ValueError as error:
        tracker.fail(call_id, error)
    never_raised = tracker.start(model="m")
    tracker.fail(never_raised, ValueError("x"))
    stack = tracker.get(call_id).stack_trace
    assert stack is not None
    assert len(stack.splitlines()) == 20
    assert all(line.startswith('File "') and "ask" in line for line in stack.splitlines())
    assert "a prompt" not in stack
    assert tracker.get(never_raised).stack_trace is None


def test_first_final_end_wins(tracker: Tracker) -> None:
    """A later end changes neither status nor usage that is known, and is counted as a duplicate."""
    call_id = tracker.start(model="m")
    tracker.fail(call_id, ValueError("boom"), usage={"prompt_tokens": 3, "completion_tokens": 0})
    tracker.finish(call_id, usage={"prompt_tokens": 9, "completion_tokens": 9})
    row = tracker.get(call_id)
    assert (row.status, row.error_type, row.error_message) == ("error", "ValueError", "boom")
    assert row.input_tokens == 3
    assert tracker.running_totals()["total_requests"] == 1


def test_late_witness_fills_blanks(tracker: Tracker) -> None:
    """What the first end did not know, a later one may add: usage as a whole, and empty fields."""
    call_id = tracker.start(model="m")
    tracker.finish(call_id)
    tracker.finish(call_id, usage={"prompt_tokens": 3, "completion_tokens": 4}, response_id="r1")
    tracker.finish(call_id, usage={"prompt_tokens": 30, "completion_tokens": 40}, response_id="r2")
    row = tracker.get(call_id)
    assert (row.input_tokens, row.output_tokens, row.response_id) == (3, 4, "r1")
    assert (row.usage_source, row.finality) == ("provider", "final")
    assert tracker.running_totals()["total_input_tokens"] == 3
    assert len(tracker.stats.calls().items) == 1


def test_provisional_end_is_replaced(tracker: Tracker) -> None:
    """A provisional end counts until a final one replaces it; usage it knew is kept."""
    call_id = tracker.start(model="m", provider="p")
    tracker.finish(call_id, status="abandoned", usage={"prompt_tokens": 3}, provisional=True)
    assert tracker.active() == []
    tracker.flush()
    assert tracker.get(call_id).finality == "provisional"
    tracker.finish(call_id)
    row = tracker.get(call_id)
    assert (row.status, row.finality, row.input_tokens) == ("success", "final", 3)
    totals = tracker.running_totals()
    assert (totals["total_requests"], totals["total_input_tokens"]) == (1, 3)
    assert [trace.status for trace in tracker.recent_traces()] == ["success"]


def test_progress_is_kept_when_the_end_knows_nothing(tracker: Tracker) -> None:
    """Usage told while running stays when the call is cancelled without any."""
    call_id = tracker.start(model="m", is_streaming=True)
    tracker.progress(call_id, usage={"prompt_tokens": 7, "completion_tokens": 2}, first_token=True)
    [running] = tracker.active()
    assert (running.input_tokens, running["status"]) == (7, "running")
    tracker.cancel(call_id)
    row = tracker.get(call_id)
    assert (row.status, row.input_tokens, row.usage_source) == ("cancelled", 7, "provider")
    assert row.time_to_first_token_ms is not None


@pytest.mark.parametrize(
    ("error", "status"),
    [(TimeoutError("t"), "timeout"), (ValueError("v"), "error"), ("just text", "error")],
)
def test_failures_have_a_status(tracker: Tracker, error: BaseException | str, status: str) -> None:
    """A timeout is told from another error by its type."""
    call_id = tracker.start(model="m")
    tracker.fail(call_id, error)
    assert tracker.get(call_id).status == status
    [trace] = tracker.recent_errors()
    assert trace.error == str(error)


def test_library_timeouts_are_timeouts(tracker: Tracker) -> None:
    """An exception class of a library that ends in Timeout counts as one, also through a subclass."""

    class ReadTimeout(Exception):
        pass

    class Special(ReadTimeout):
        pass

    call_id = tracker.start(model="m")
    tracker.fail(call_id, Special("slow"))
    assert tracker.get(call_id).status == "timeout"


def test_secrets_never_reach_a_row(tracker: Tracker) -> None:
    """A key in an error message is blanked before it is kept anywhere."""
    call_id = tracker.start(model="m", attributes={"api_key": "canary-123", "note": "Bearer canary-456789"})
    tracker.fail(call_id, RuntimeError("Incorrect API key provided: sk-canary789012345"))
    row = tracker.get(call_id)
    assert "canary" not in f"{row.error_message} {row.attributes}"


def test_a_hostile_exception_is_recorded(tracker: Tracker) -> None:
    """An exception whose own text raises is known by its type."""

    class Hostile(Exception):
        def __str__(self) -> str:
            raise RuntimeError("no text for you")

    call_id = tracker.start(model="m")
    tracker.fail(call_id, Hostile())
    assert tracker.get(call_id).error_type == "Hostile"


# --- bounds --------------------------------------------------------------------------------------


def test_running_calls_are_bounded() -> None:
    """Starts that never end stay under a cap; the oldest become rows with status abandoned."""
    with Tracker("memory://", max_active=100, summary_interval=0) as tracker:
        ids = [tracker.start(model="m") for _ in range(1000)]
        assert len(tracker.active()) == 100
        assert tracker.flush(30)
        assert {row.status for row in tracker.stats.calls(limit=1000).items} == {"abandoned"}
        assert tracker.stats.overview().calls == 900
        tracker.finish(ids[0], usage={"prompt_tokens": 1})
        assert tracker.get(ids[0]).status == "success"


def test_old_calls_become_abandoned() -> None:
    """A running call without a sign of life ends as abandoned when it passes the age limit."""
    with Tracker("memory://", active_max_age=0.000001) as tracker:
        call_id = tracker.start(model="m")
        assert tracker.active() == []
        assert tracker.get(call_id).status == "abandoned"


# --- the rest of the API -------------------------------------------------------------------------


def test_record_keeps_given_times() -> None:
    """An import gives its own times; naive ones are UTC; the same id counts once."""
    with Tracker("memory://", client_id="c1") as tracker:
        began = datetime(2026, 1, 1, 12)  # noqa: DTZ001  naive on purpose
        call_id = tracker.record(
            model="m", started_at=began, ended_at=began + timedelta(seconds=2), usage={"prompt_tokens": 1}
        )
        tracker.record(id=call_id, model="m", started_at=began)
        row = tracker.get(call_id)
        assert row.started_at == began.replace(tzinfo=UTC)
        assert (row.duration_ms, row.client_id) == (2000, "c1")
        assert tracker.stats.overview().calls == 1


def test_track_ends_in_every_way(tracker: Tracker) -> None:
    """`track` records success, failure and cancellation, and lets every exception through."""
    with tracker.track(model="m") as call:
        call.usage({"prompt_tokens": 1, "completion_tokens": 2})
    with pytest.raises(KeyError), tracker.track(model="m"):
        raise KeyError("x")
    with pytest.raises(asyncio.CancelledError), tracker.track(model="m"):
        raise asyncio.CancelledError
    assert [trace.status for trace in tracker.recent_traces()] == ["cancelled", "error", "success"]


async def test_track_is_async_too(tracker: Tracker) -> None:
    """`async with` does the same."""
    async with tracker.track(model="m", call_type="agent_step") as call:
        call.set(session_id="s")
    assert tracker.get(call.id).session_id == "s"


def test_disabled_tracker_records_nothing() -> None:
    """With `enabled=False` ids are still given and nothing is kept."""
    with Tracker("memory://", enabled=False) as tracker:
        tracker.finish(tracker.start(model="m"))
        assert tracker.running_totals()["total_requests"] == 0
        assert tracker.health()["enabled"] is False


def test_wrong_arguments_say_what_is_wrong() -> None:
    """A setting that does not exist, or has a wrong value, is a sentence and not a traceback of pydantic."""
    with pytest.raises(ConfigurationError, match="summary_interval"):
        Tracker("memory://", summary_interval=-1)
    with pytest.raises(ConfigurationError, match="nonsense"):
        Tracker("memory://", nonsense=1)


def test_a_wrong_variable_does_not_stop_the_host(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """A typo in the environment is said once and its default used."""
    monkeypatch.setenv("TOKENTRAIL_MAX_ACTIVE", "many")
    with Tracker("memory://") as tracker:
        assert tracker.settings.max_active == 10_000
    assert "TOKENTRAIL_MAX_ACTIVE" in caplog.text


def test_payloads_are_kept_only_when_asked(tmp_path: Path) -> None:
    """Prompt and answer are nowhere on disk by default, and in their own table with capture on."""
    secret = "canary prompt text"
    for capture in ("none", "full"):
        folder = tmp_path / capture
        with Tracker(f"sqlite:///{folder}/u.db", data_dir=folder, capture=capture) as tracker:
            call_id = tracker.start(model="m", request={"messages": [{"content": secret}]})
            tracker.finish(call_id, response={"text": "canary answer"})
            assert tracker.flush(10)
            blob = b"".join(path.read_bytes() for path in folder.rglob("*") if path.is_file())
        assert (b"canary" in blob) is (capture == "full")


def test_durations_survive_clock_jumps(tracker: Tracker, monkeypatch: pytest.MonkeyPatch) -> None:
    """Durations come from the monotonic clock: a wall clock that jumps back an hour changes nothing."""
    call_id = tracker.start(model="m")
    monkeypatch.setattr("tokentrail._recorder.now_us", lambda: 1_000_000)
    tracker.finish(call_id)
    monkeypatch.undo()
    assert 0 <= tracker.get(call_id).duration_ms < 60_000


def test_a_damaged_database_is_set_aside_and_said(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """The host goes on, the damaged file is kept beside a new one, and one loud warning says so."""
    path = tmp_path / "u.db"
    path.write_bytes(b"this is no database " * 500)
    with Tracker(f"sqlite:///{path}") as tracker:
        tracker.finish(tracker.start(model="m"))
        assert tracker.flush(30)
        assert tracker.stats.overview().calls == 1
        assert any("damaged" in warning for warning in tracker.health()["warnings"])
    assert [file.read_bytes()[:4] for file in tmp_path.glob("*corrupt*")] == [b"this"]
    assert "damaged" in caplog.text


@pytest.mark.parametrize("url", ["nosuch://host/db", "sqlite:////dev/null/below/u.db"])
def test_a_wrong_url_warns_once_and_loses_nothing(
    url: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """A database that cannot be had is one warning; calls wait in the journal, and the host never knows."""
    tracker = Tracker(url, data_dir=tmp_path / "data")
    for _ in range(3):
        tracker.finish(tracker.start(model="m"))
    assert tracker.flush(5) is False
    health = tracker.health()
    assert (health["backlog"], health["lost"]) == (3, {})
    assert [record.levelname for record in caplog.records] == ["WARNING"]
    tracker.close(1)
    assert b"".join(file.read_bytes() for file in (tmp_path / "data").rglob("*.seg")).count(b'"status"') == 3


# --- what a call is known by ---------------------------------------------------------------------

TOLD: dict[str, Any] = {
    "request_id": "mine", "response_id": "r", "operation_id": "o", "attempt": 2, "attempt_kind": "retry",
    "parent_id": "p", "trace_id": "t", "organization_id": "org", "project_id": "pro", "client_id": "c",
    "user_id": "u", "agent_id": "a", "session_id": "s", "run_id": "n", "step_id": "e", "message_id": "m",
    "tags": ["beta"], "attributes": {"team": 7}, "call_type": "rerank", "provider": "cohere",
    "requested_model": "alias", "is_streaming": True, "is_byok": True, "finish_reason": "stop",
    "params": {"temperature": 0.5, "max_tokens": 9}, "message_count": 1, "input_count": 2,
    "tool_use_count": 3, "tool_result_count": 4, "tool_call_count": 5, "request_bytes": 6,
    "response_bytes": 7, "billing_plan_type": "pro", "billing_cost_source": "quota",
    "billing_customer_id": "cus",
}  # fmt: skip


def test_what_was_told_of_a_call_is_in_its_row(tracker: Tracker) -> None:
    """Ids, for whom, what kind, sizes, counts, settings and billing come back as they were told."""
    call_id = tracker.start(model="rerank-v3", **TOLD)
    tracker.finish(call_id)
    row = tracker.get(call_id)
    assert {name: getattr(row, name) for name in TOLD} == TOLD
    assert row.id == call_id != row.request_id


@pytest.mark.parametrize(
    "kind",
    [
        "chat",
        "completion",
        "responses",
        "embedding",
        "rerank",
        "image",
        "audio",
        "agent_step",
        "summarization",
    ],
)
def test_a_call_is_of_any_kind(tracker: Tracker, kind: str) -> None:
    """The usual kinds, and a word of one's own, can be asked for."""
    tracker.finish(tracker.start(model="m", call_type=kind))
    tracker.finish(tracker.start(model="m", call_type="another"))
    assert [row.call_type for row in tracker.stats.calls(call_type=kind).items] == [kind]


def test_an_embedding_keeps_what_it_was_for(tracker: Tracker) -> None:
    """The query and the knowledge base have no column; they are kept, and exported under their names."""
    call_id = tracker.record(
        model="e", call_type="embedding", input_count=2, query_text="what", knowledge_base_id="kb"
    )
    row = tracker.get(call_id)
    assert (row.call_type, row.input_count) == ("embedding", 2)
    assert row.attributes == {"query_text": "what", "knowledge_base_id": "kb"}


def test_the_model_that_answers_may_be_told_late(tracker: Tracker) -> None:
    """The model asked for is kept beside the one that answered, whenever that is known."""
    call_id = tracker.start(model="alias", provider="router")
    tracker.progress(call_id, model="gpt-4o")
    assert (tracker.get(call_id).model, tracker.get(call_id).requested_model) == ("gpt-4o", "alias")
    tracker.finish(call_id, model="gpt-4o-2024-08-06", provider="openai")
    row = tracker.get(call_id)
    assert (row.provider, row.model, row.requested_model) == ("openai", "gpt-4o-2024-08-06", "alias")


def test_a_failure_keeps_its_tokens_and_cuts_its_text(tracker: Tracker) -> None:
    """The class of the exception, a message of bounded length, and the usage so far."""
    call_id = tracker.start(model="m")
    tracker.progress(call_id, usage={"prompt_tokens": 7, "completion_tokens": 2})
    tracker.fail(call_id, ValueError("x" * 100_000))
    row = tracker.get(call_id)
    assert (row.status, row.error_type, row.total_tokens) == ("error", "ValueError", 9)
    assert len(row.error_message) < 10_000


def test_running_calls_come_newest_first(tracker: Tracker) -> None:
    """With the fields of the old list; a call that ended is found in the store."""
    first = tracker.start(model="gpt-4o", provider="openai", request_id="one", message_count=3)
    second = tracker.start(model="m")
    assert [row.id for row in tracker.active()] == [second, first]
    row = tracker.active(provider="OPEN*")[0]
    assert {"status", "start_time", "duration_ms", "request_size", "user_id", "tool_calls"} <= set(row)
    assert (row.request_id, row.qualified_model, row.message_count) == ("one", "openai:gpt-4o", 3)
    assert tracker.get(first).status == "running"
    tracker.finish(first)
    assert (tracker.get(first).status, tracker.get("nobody")) == ("success", None)


def test_progress_wakes(tracker: Tracker) -> None:
    """Tokens told while running, and the first of them, are changes to wait for."""
    call_id = tracker.start(model="m", is_streaming=True)
    for told in ({"first_token": True}, {"usage": {"prompt_tokens": 7}}):
        before = tracker.version
        tracker.progress(call_id, **told)
        assert tracker.wait_for_change(before, timeout=0) > before


def test_recent_calls_have_numbers(tracker: Tracker) -> None:
    """Newest first, so many, and only those after a number already seen."""
    for number in range(5):
        call_id = tracker.start(model=str(number))
        tracker.fail(call_id, "boom") if number % 2 else tracker.finish(call_id)
    for recent, models in ((tracker.recent_traces, "43210"), (tracker.recent_errors, "31")):
        rows = recent()
        assert "".join(row.model for row in rows) == models
        assert [row.seq for row in rows] == sorted({row.seq for row in rows}, reverse=True)
        assert recent(limit=1) == rows[:1] == recent(since=rows[1].seq)


def test_trackers_are_apart(caplog: pytest.LogCaptureFixture) -> None:
    """Each has its own calls and logger; the shared default can be replaced and taken back."""
    mine = Tracker("memory://", summary_interval=1, logger=logging.getLogger("mine"))
    other = Tracker("memory://", summary_interval=0)
    previous = set_tracker(mine)
    try:
        with caplog.at_level(logging.INFO, "mine"):
            get_tracker().finish(get_tracker().start(model="m"))
        assert (mine.stats.overview().calls, other.stats.overview().calls) == (1, 0)
        assert [record.name for record in caplog.records] == ["mine"]
    finally:
        assert set_tracker(previous) is mine
        mine.close()
        other.close()


def test_the_default_database_is_in_the_data_directory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without an address, calls are kept in the user's data directory, never in the package."""
    monkeypatch.delenv("TOKENTRAIL_DATABASE_URL", raising=False)
    monkeypatch.setenv("TOKENTRAIL_DATA_DIR", str(tmp_path))
    with Tracker() as tracker:
        assert tracker.database_url == f"sqlite:///{tmp_path}/usage.db"
        tracker.finish(tracker.start(model="m"))
    assert (tmp_path / "usage.db").is_file()


def test_models_beyond_the_most_are_others(tracker: Tracker, monkeypatch: pytest.MonkeyPatch) -> None:
    """Names that strangers send cost no more memory than so much, and no call is missing in the totals."""
    monkeypatch.setattr(_totals, "MOST_LEAVES", 5)
    for number in range(50):
        tracker.record(model=f"made-up-{number}", provider="p", usage={"prompt_tokens": 1})
    tracker.record(model="made-up-1", provider="p", usage={"prompt_tokens": 1})
    totals = tracker.running_totals()
    assert (totals["total_requests"], totals["total_input_tokens"]) == (51, 51)
    assert len(totals["providers"]["p"]["models"]) == 5
    assert totals["providers"]["p"]["models"]["made-up-1"]["total"]["requests"] == 2
    assert totals["providers"]["other"]["rollup"]["total"]["requests"] == 45
