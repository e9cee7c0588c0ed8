"""The named statistics beyond sums: users, tags, operations, speed, sizes, savings, quality, sessions."""

from __future__ import annotations

import json
from datetime import timedelta
from typing import Any

import pytest

from ledger import NEW_YEAR, NOW, Ledger
from tokentrail import Stats, Tracker
from tokentrail._query import Query
from tokentrail._stats._catalog import STATS
from tokentrail._stats._quality import CHECKS
from tokentrail.errors import QueryError


@pytest.fixture
def ledger() -> Ledger:
    return Ledger()


# --- apart ---------------------------------------------------------------------------------------


def test_users_and_what_each_used(ledger: Ledger) -> None:
    """Each user's calls and the time between; nobody is a user too."""
    ledger.add(user_id="ann", session_id="a", model="m", total_tokens=5)
    ledger.add(NEW_YEAR + timedelta(days=1), user_id="ann", session_id="b", model="n", total_tokens=2)
    ledger.add(total_tokens=6)
    ann, nobody = ledger.stats.users().items
    assert (ann.user_id, ann.calls, ann.total_tokens) == ("ann", 2, 7)
    assert (ann.first_started_at, ann.last_started_at) == (NEW_YEAR, NEW_YEAR + timedelta(days=1))
    assert (nobody.user_id, nobody.total_tokens) == (None, 6)
    assert ledger.stats.users(limit=1).truncated


def test_tags_count_twice_and_say_so(ledger: Ledger) -> None:
    """A call with two tags is under both; the total beside the sum has it once."""
    ledger.add(tags=["a", "b"], total_tokens=10, cost_nanos=10**9)
    ledger.add(tags=["a"], total_tokens=1)
    ledger.add(total_tokens=100)
    answer = ledger.stats.tags()
    assert [(item.key, item.calls, item.total_tokens) for item in answer.items] == [
        (None, 1, 100), ("a", 2, 11), ("b", 1, 10),
    ]  # fmt: skip
    assert (answer.sum_over_tags.total_tokens, answer.deduplicated_total.total_tokens) == (121, 111)
    assert (answer.sum_over_tags.cost_usd, answer.deduplicated_total.cost_usd) == (2.0, 1.0)
    cut = ledger.stats.tags(limit=1)
    assert (cut.truncated, len(cut.items), cut.sum_over_tags.total_tokens) == (True, 1, 121)
    assert Ledger().stats.tags().sum_over_tags.calls == 0


def test_a_series_apart_is_cut_where_asked(ledger: Ledger) -> None:
    """Of many values those with most calls have a series, and the answer says that there are more."""
    for name, times in (("a", 1), ("b", 3), ("c", 2)):
        for _ in range(times):
            ledger.add(model=name)
    answer = ledger.stats.timeseries(by="model", limit=2)
    assert ({point.key for point in answer.points}, answer.truncated) == ({"b", "c"}, True)
    assert not ledger.stats.timeseries(by="model").truncated


def test_the_overview_has_the_old_keys() -> None:
    """Messages, calls and sessions under the names that LangBot's overview has."""
    with Tracker("memory://") as tracker:
        tracker.record_message("hello", session_id="s")
        tracker.record(model="m", session_id="s")
        tracker.record(model="e", call_type="embedding")
        answer = tracker.stats.overview()
    assert (answer.total_messages, answer.llm_calls, answer.embedding_calls, answer.model_calls) == (
        1,
        1,
        1,
        2,
    )
    assert (answer.success_rate, answer.active_sessions) == (1.0, 1)


def test_the_overview_knows_what_runs() -> None:
    """Running calls are counted beside the sums, by the same filters; without a tracker, unknown."""
    with Tracker("memory://") as tracker:
        running = tracker.start(model="gpt-4o", user_id="u", tags=["beta"])
        tracker.start(model="gpt-4o-mini", user_id="v")
        assert (tracker.stats.overview().calls, tracker.stats.overview().active_calls) == (0, 2)
        assert tracker.stats.data().overview.active_calls == 2
        for where in ({"user_id": "u"}, {"tag": "beta"}, {"model": "GPT-4?"}):
            assert tracker.stats.overview(**where).active_calls == 1
        assert tracker.stats.overview(end="2020-01-01").active_calls == 0
        tracker.finish(running)
        assert tracker.stats.overview().active_calls == 1
        assert Stats(tracker._writer.store(), before_question=int).overview().active_calls is None


# --- operations ----------------------------------------------------------------------------------


def test_an_operation_is_counted_once(ledger: Ledger) -> None:
    """Retries and fallbacks are attempts at one operation, which succeeds if one of them does."""
    ledger.add(status="error", operation_id="x", attempt=1, attempt_kind="first", model="m", total_tokens=3)
    ledger.add(status="error", operation_id="x", attempt=2, attempt_kind="retry", model="m", cost_nanos=5)
    ledger.add(operation_id="x", attempt=3, attempt_kind="fallback", model="n", total_tokens=4)
    ledger.add(status="timeout", operation_id="y", attempt=1, attempt_kind="first", model="m")
    ledger.add(status="cancelled", operation_id="z", attempt=1, attempt_kind="first", model="m")
    ledger.add(model="n")
    ledger.add(status="error", model="n")
    answer = ledger.stats.operations()
    assert (answer.operations, answer.attempts) == (5, 7)
    assert (answer.successful_operations, answer.failed_operations, answer.success_rate) == (2, 2, 0.5)
    assert (answer.retries, answer.fallbacks) == (1, 1)
    assert answer.attempts_per_operation == 7 / 5
    assert (answer.total_tokens, answer.failed_attempt_tokens, answer.failed_attempt_cost) == (7, 3, 5e-9)
    by_model = {item.key: item for item in ledger.stats.operations("model").items}
    for name in ("m", "n"):
        alone = ledger.stats.operations(model=name)
        assert (alone.operations, alone.success_rate) == (
            by_model[name].operations, by_model[name].success_rate,
        )  # fmt: skip
    assert (by_model["m"].operations, by_model["m"].success_rate) == (3, 0.0)
    assert (by_model["n"].operations, by_model["n"].success_rate) == (3, pytest.approx(2 / 3))


# --- how fast and how large ----------------------------------------------------------------------


def test_tokens_per_second(ledger: Ledger) -> None:
    """Streams without their wait, others whole; what cannot be measured is in the coverage."""
    ledger.add(model="m", output_tokens=100, duration_us=3_000_000, time_to_first_token_us=1_000_000,
               is_streaming=True)  # fmt: skip
    ledger.add(model="m", output_tokens=100, duration_us=2_000_000)
    ledger.add(model="n", output_tokens=30)
    ledger.add(model="n", status="error", output_tokens=999, duration_us=1)
    answer = ledger.stats.tokens_per_second("model")
    assert (answer.calls, answer.output_tokens, answer.tokens_per_second) == (2, 200, 50.0)
    assert (answer.stream_calls, answer.stream_tokens_per_second) == (1, 50.0)
    assert (answer.avg_time_to_first_token_ms, answer.coverage) == (1000.0, pytest.approx(2 / 3))
    assert [(item.key, item.tokens_per_second, item.coverage) for item in answer.items] == [
        ("m", 50.0, 1.0), ("n", None, 0.0),
    ]  # fmt: skip


def test_sizes_and_the_largest_calls(ledger: Ledger) -> None:
    """Bytes add up where they are known; large calls come largest first, by either side or both."""
    small = ledger.add(model="m", request_bytes=10, response_bytes=90, tool_call_count=2)
    large = ledger.add(model="m", request_bytes=80, response_bytes=30)
    ledger.add(model="n")
    answer = ledger.stats.sizes("model")
    assert (answer.request_bytes, answer.response_bytes, answer.max_request_bytes) == (90, 120, 80)
    assert (answer.avg_request_bytes, answer.tool_call_count) == (45.0, 2)
    assert answer.coverage.request == pytest.approx(2 / 3)
    assert [(item.key, item.request_bytes) for item in answer.items] == [("m", 90), ("n", None)]

    def ids(*arguments: Any, **more: Any) -> list[str]:
        return [call.id for call in ledger.stats.find_large(*arguments, **more).items]

    assert ids(100) == [large, small]
    assert ids(80, of="request") == [large]
    assert ids(31, of="response") == [small]
    assert ids() == []
    page = ledger.stats.find_large(1, limit=1)
    assert (page.items[0].id, page.truncated, ids(1, limit=1, offset=1)) == (large, True, [small])
    with pytest.raises(QueryError, match=r"^of: "):
        ledger.stats.find_large(1, of="moon")


# --- savings -------------------------------------------------------------------------------------


def test_what_the_cache_saved(ledger: Ledger) -> None:
    """Cached tokens at the difference of their prices; what has no price is named, and saves nothing."""
    gpt = {"provider": "openai", "model": "gpt-4o", "output_tokens": 0}
    ledger.add(**gpt, input_tokens=10_000, cache_read_tokens=4_000, total_tokens=10_000)
    ledger.add(**gpt, input_tokens=10_000, cache_read_tokens=0, total_tokens=10_000)
    ledger.add(provider="acme", model="large-1", input_tokens=900, cache_read_tokens=1_000)
    answer = ledger.stats.cache_savings()
    assert answer.cache_read_tokens == 5_000
    assert answer.cache_read_saved_usd == pytest.approx(4_000 * 1.25e-6)  # $2.50 and $1.25 a million
    assert answer.coverage.cache_reads == 0.8
    assert answer.coverage.cache_writes is None
    known, unknown = answer.items
    assert (known.model, known.net_saved_usd) == ("gpt-4o", pytest.approx(0.005))
    assert (unknown.model, unknown.cache_read_saved_usd) == ("large-1", None)
    assert ledger.stats.cache_savings(model="gpt-4o").cached_share == 0.2


def test_writing_to_a_cache_costs(ledger: Ledger) -> None:
    """Anthropic charges more for what is written to its cache: that is taken from what reads saved."""
    ledger.add(provider="anthropic", model="claude-haiku-4-5", input_tokens=10_000, output_tokens=0,
               cache_read_tokens=1_000, cache_creation_tokens=2_000)  # fmt: skip
    answer = ledger.stats.cache_savings()
    assert answer.cache_read_saved_usd == pytest.approx(1_000 * 0.9e-6)
    assert answer.cache_write_surcharge_usd == pytest.approx(2_000 * 0.25e-6)
    assert answer.net_saved_usd == pytest.approx(0.0004)


def test_calls_never_made_are_saved_whole(ledger: Ledger) -> None:
    """A hit in a response cache saves what the call would have cost."""
    ledger.add(provider="openai", model="gpt-4o", cache_hit=True, input_tokens=1_000, output_tokens=100,
               total_tokens=1_100, cost_nanos=0)  # fmt: skip
    answer = ledger.stats.cache_savings()
    assert (answer.cache_hit_calls, answer.cache_hit_total_tokens) == (1, 1_100)
    assert answer.cache_hit_saved_usd == pytest.approx(1_000 * 2.5e-6 + 100 * 1e-5)
    assert (answer.input_tokens, answer.cached_share, answer.net_saved_usd) == (0, None, 0)


def test_no_cache_saves_nothing(ledger: Ledger) -> None:
    """No calls at all: zero, and known."""
    answer = ledger.stats.cache_savings()
    assert (answer.cache_read_saved_usd, answer.cache_hit_saved_usd, answer.items) == (0, 0, [])


# --- data quality --------------------------------------------------------------------------------

GOOD = {
    "model": "m", "provider": "p", "input_tokens": 1, "output_tokens": 1, "total_tokens": 2, "cost_nanos": 1,
}  # fmt: skip
BAD: dict[str, dict[str, Any]] = {
    "stream_without_usage": {"is_streaming": True, "total_tokens": None},
    "missing_usage": {"total_tokens": None},
    "zero_token_success": {"total_tokens": 0},
    "unpriced_model": {"cost_nanos": None},
    "estimated_usage": {"usage_source": "estimated"},
    "total_mismatch": {"usage_flags": ["total_mismatch"]},
    "invalid_usage": {"usage_flags": ["invalid:output_tokens"]},
    "negative_usage": {"usage_flags": ["negative:output_tokens"]},
    "usage_not_mapping": {"usage_flags": ["usage_not_mapping"]},
    "parts_added": {"usage_flags": ["parts_added"]},
    "interrupted": {"status": "interrupted"},
    "abandoned": {"status": "abandoned"},
    "unnamed_model": {"model": None},
    "clock_went_back": {"ended_at": 1},
    "warnings": {"usage_flags": ["warning:odd"]},
}


def _with(columns: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in {**GOOD, **columns}.items() if value is not None}


def test_every_check_is_tried() -> None:
    """The table below has a bad call for each check."""
    assert list(BAD) == [check.code for check in CHECKS]


@pytest.mark.parametrize("code", BAD)
def test_one_bad_call_is_one_signal(ledger: Ledger, code: str) -> None:
    """What is wrong with a call is said once, by its own name, with the call and what to do."""
    for _ in range(3):
        ledger.add(**GOOD)
    bad = ledger.add(**_with(BAD[code]))
    answer = ledger.stats.data_quality()
    (signal,) = answer.signals
    assert (signal.code, signal.count, signal.share, signal.example_id) == (code, 1, 0.25, bad)
    assert signal.hint.endswith(".")
    (suspect,) = signal.by_model
    assert (suspect.count, suspect.model) == (1, None if code == "unnamed_model" else "m")
    assert answer.calls == 4


def test_good_calls_give_no_signal(ledger: Ledger) -> None:
    """Nothing to complain about is an empty list; and of no calls there is no share."""
    assert ledger.stats.data_quality().signals == []
    ledger.add(**GOOD)
    ledger.add(status="error", error_type="E", model="m", provider="p")
    answer = ledger.stats.data_quality()
    assert ([signal.code for signal in answer.signals], answer.coverage.tokens) == ([], 0.5)


def test_a_clock_that_is_ahead(ledger: Ledger) -> None:
    """Calls from the future are found, unless only the past is asked about."""
    ahead = ledger.add(NOW + timedelta(hours=1), **GOOD)
    ledger.add(NOW + timedelta(minutes=1), **GOOD)
    (signal,) = ledger.stats.data_quality().signals
    assert (signal.code, signal.count, signal.share, signal.example_id) == ("clock_ahead", 1, 0.5, ahead)
    assert ledger.stats.data_quality(end=NOW).signals == []


def test_suspects_are_models_with_their_own_share(ledger: Ledger) -> None:
    """A signal names the models that show it, most first, each with its share of its own calls."""
    for model, missing, known in (("a", 1, 0), ("b", 2, 6)):
        for _ in range(missing):
            ledger.add(model=model, provider="p")
        for _ in range(known):
            ledger.add(**{**GOOD, "model": model})
    signal = next(one for one in ledger.stats.data_quality().signals if one.code == "missing_usage")
    assert [(one.model, one.count, one.share) for one in signal.by_model] == [("b", 2, 0.25), ("a", 1, 1.0)]
    assert signal.share == pytest.approx(1 / 3)


# --- sessions and runs ---------------------------------------------------------------------------


def test_sessions_are_pages_the_last_active_first(ledger: Ledger) -> None:
    """A session is all of its calls; active is one with a call within the minutes that are asked for."""
    ledger.add(session_id="old", user_id="ann", total_tokens=1)
    ledger.add(NOW - timedelta(hours=2), session_id="old", total_tokens=2, status="error")
    ledger.add(NOW - timedelta(minutes=20), session_id="new", total_tokens=4)
    ledger.add(total_tokens=8)
    page = ledger.stats.sessions()
    assert [(item.session_id, item.is_active, item.total_tokens) for item in page.items] == [
        ("new", True, 4), ("old", False, 3),
    ]  # fmt: skip
    old = page.items[1]
    assert (old.user_id, old.error_calls, old.message_count) == ("ann", 1, 0)
    assert (old.start_time, old.last_activity) == (NEW_YEAR, NOW - timedelta(hours=2))
    assert (page.total, page.next_cursor) == (2, None)
    active = ledger.stats.sessions(is_active=True)
    assert ([item.session_id for item in active.items], active.total) == (["new"], 1)
    over = ledger.stats.sessions(is_active=False)
    assert ([item.session_id for item in over.items], over.total) == (["old"], 1)
    assert ledger.stats.sessions(is_active=True, active_minutes=180).total == 2
    assert ledger.stats.sessions(status="error").items[0].calls == 2
    assert ledger.stats.sessions(user_id="ann").items[0].calls == 1
    assert ledger.stats.sessions(end="2026-01-02", is_active=True).total == 0


def test_pages_of_sessions_join(ledger: Ledger) -> None:
    """Pages by cursor are all sessions once, also among those that are over."""
    for number in range(9):
        ledger.add(NEW_YEAR + timedelta(minutes=number // 2), session_id=f"s{number}")
    for asked in ({}, {"is_active": False}):
        seen, cursor = [], None
        while True:
            page = ledger.stats.sessions(limit=2, cursor=cursor, **asked)
            assert page.total == 9
            seen += [item.session_id for item in page.items]
            cursor = page.next_cursor
            if cursor is None:
                break
        assert sorted(seen) == [f"s{number}" for number in range(9)]


def test_the_usage_of_a_run(ledger: Ledger) -> None:
    """All steps of a run, where unknown and unknown is unknown; a run without calls is none."""
    ledger.add(run_id="r", model="m", total_tokens=3)
    ledger.add(NEW_YEAR + timedelta(seconds=9), run_id="r", model="n")
    usage = ledger.stats.run_usage("r")
    assert usage is not None
    assert (usage.run_id, usage.calls, usage.models, usage.total_tokens) == ("r", 2, 2, 3)
    assert (usage.reasoning_tokens, usage.coverage.tokens) == (None, 0.5)
    assert usage.last_started_at == NEW_YEAR + timedelta(seconds=9)
    assert ledger.stats.run_usage("*") is None


def test_pages_of_calls_by_offset(ledger: Ledger) -> None:
    """An offset leaves out the newest; below 0 it is a mistake."""
    ids = [ledger.add(NEW_YEAR + timedelta(seconds=number)) for number in range(4)]
    page = ledger.stats.calls(limit=2, offset=1)
    assert ([call.id for call in page.items], page.offset, page.total) == ([ids[2], ids[1]], 1, 4)
    assert [call.id for call in ledger.stats.calls(limit=2, cursor=page.next_cursor).items] == [ids[0]]
    with pytest.raises(QueryError, match=r"^offset: -1 is below 0"):
        ledger.stats.calls(offset=-1)


# --- in other words ------------------------------------------------------------------------------


def test_running_totals_of_a_window_are_the_trackers() -> None:
    """The store tells the totals of a window in the shape and with the figures of the tracker's own."""
    with Tracker("memory://") as tracker:
        for number in range(6):
            call = tracker.start(
                model="a/b:free" if number % 2 else "gpt", provider="p" if number else None,
                is_streaming=number % 3 == 0, tool_use_count=number,
            )  # fmt: skip
            usage = {"prompt_tokens": 10, "completion_tokens": number} if number != 4 else None
            if number == 2:
                tracker.warn(call, "odd")
                tracker.fail(call, "boom", usage=usage)
            else:
                tracker.finish(call, usage=usage, cache_hit=number == 5)
        known = tracker.stats.running_totals().model_dump(mode="json", exclude={"method"})
        assert known == json.loads(json.dumps(tracker.running_totals(include_active=False)))
        assert known["total_requests"] == 6
        assert known["providers"]["p"]["models"]["a/b:free"]["streaming"]["requests"] == 1
        filtered = tracker.stats.running_totals(model="A/B:*").model_dump(mode="json", exclude={"method"})
        assert filtered["providers"] == tracker.running_totals(model="A/B:*")["providers"]


def test_what_a_client_used(ledger: Ledger) -> None:
    """Models and newest requests of a client; totals are over all of its calls."""
    for number in range(3):
        ledger.add(NEW_YEAR + timedelta(seconds=number), client_id="c", model="m", provider="p",
                   total_tokens=number, duration_us=1_500_000)  # fmt: skip
    ledger.add(client_id="other", total_tokens=99)
    answer = ledger.stats.client_usage(2, client_id="c")
    assert (answer.client_id, answer.total_requests, answer.total_tokens) == ("c", 3, 3)
    assert [(model.model_name, model.model_provider, model.tokens) for model in answer.models_used] == [
        ("m", "p", 3)
    ]
    assert [(one.total_tokens, one.response_time) for one in answer.recent_requests] == [(2, 1.5), (1, 1.5)]
    assert answer.coverage.cost == 0.0


# --- all of them ---------------------------------------------------------------------------------


@pytest.mark.parametrize("name", STATS)
def test_every_statistic_answers_of_nothing_and_of_something(ledger: Ledger, name: str) -> None:
    """Asked by name with its defaults, each answers with its own model, which is JSON; also of no calls."""
    entry = STATS[name]
    needed = {each.name: "call-0001" for each in entry.parameters if each.required}
    if not entry.may_be_missing:
        assert isinstance(entry.ask(ledger.stats, **needed), entry.answer)
    ledger.add(**GOOD, session_id="call-0001", run_id="call-0001", user_id="u", tags=["t"], duration_us=5)
    if name == "message_details":
        return  # there is no message of that name; `test_conversation_stats` asks about one
    answer = entry.ask(ledger.stats, **needed)
    assert isinstance(answer, entry.answer)
    json.loads(answer.model_dump_json())


def test_every_sum_comes_with_what_is_known_of_it() -> None:
    """An answer with a sum of tokens or money has a coverage beside it."""
    for entry in STATS.values():
        fields = entry.answer.model_fields
        if {"total_tokens", "total_cost", "cost_usd"} & fields.keys() and entry.name != "call":
            assert "coverage" in fields, entry.name


def test_a_query_says_how_it_was_answered(tmp_path: Any) -> None:
    """`query` takes any question; its groups are a list that knows its method."""
    stats = Stats(f"sqlite:///{tmp_path}/usage.db")
    assert stats.query(Query(("calls", "last_ended_at"))) == [{"calls": 0, "last_ended_at": None}]
    stats.close()
