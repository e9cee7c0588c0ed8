"""UsageInfo: three words to log with, and its answers for one client and user."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import tokentrail
from tokentrail import BudgetExceeded, Tracker, UsageInfo
from tokentrail.errors import ConfigurationError

CASES = {
    case["name"]: case["expected"]
    for case in json.loads((Path(__file__).parent / "cases" / "lifecycle.json").read_text(encoding="utf-8"))
}
SENT = {"prompt_tokens": 10, "completion_tokens": 5, "total_tokens": 15}


@pytest.fixture
def tracker() -> Iterator[Tracker]:
    with Tracker("memory://", summary_interval=0) as made:
        yield made


@pytest.fixture
def usage(tracker: Tracker) -> UsageInfo:
    return UsageInfo(client_id="my_app", user_id="user123", tracker=tracker)


def only_call(tracker: Tracker) -> Any:
    (call,) = tracker.stats.calls().items
    return call


# --- the quick start -----------------------------------------------------------------------------


def test_the_quick_start_runs_as_printed(capsys: pytest.CaptureFixture[str]) -> None:
    """The documented example needs no other line changed than its import."""
    # Initialize usage tracker
    usage = UsageInfo(client_id="my_app", user_id="user123")

    # Track request
    request_id = usage.log_request(model_name="openai/gpt-4", raw_request="What is AI?")

    # Update with response
    usage.log_response(
        request_id=request_id,
        raw_response="AI is...",
        usage_info={"prompt_tokens": 10, "completion_tokens": 50, "total_tokens": 60},
        response_time=1.5,
    )

    # Get usage stats
    stats = usage.get_usage_stats()
    print(f"Total requests: {stats['total_requests']}")
    print(f"Total tokens: {stats['total_tokens']}")
    print(f"Total Cost: ${stats['total_cost']:.4f}")

    stats = usage.get_detailed_stats(start_date="2024-03-01", end_date="2124-03-18")
    for model in stats["models"]:
        print(f"\nModel: {model['name']}")
        print(f"Requests: {model['requests']}")
        print(f"Success Rate: {model['success_rate']}%")
        print(f"Avg Response Time: {model['avg_response_time']}s")

    printed = capsys.readouterr().out
    assert "Total requests: 1\nTotal tokens: 60\nTotal Cost: $0.0033\n" in printed
    assert "Model: openai/gpt-4\nRequests: 1\nSuccess Rate: 100.0%\nAvg Response Time: 1.5s\n" in printed
    usage.close()
    tokentrail.set_tracker(None)


def test_the_default_is_the_shared_tracker() -> None:
    """Without a tracker the facade writes where `get_tracker()` does."""
    with UsageInfo(client_id="a") as usage:
        assert usage.tracker is tokentrail.get_tracker()
        usage.log_request("m")
    tokentrail.set_tracker(None)


# --- logging -------------------------------------------------------------------------------------


def test_a_request_without_an_id_gets_one(usage: UsageInfo) -> None:
    """`log_request` returns a new id, or the one it was given."""
    assert CASES["log_request_returns_id"] == {"returns": "a new request id"}
    first = usage.log_request(model_name="openai/gpt-4", raw_request="What is AI?")
    assert first != usage.log_request(model_name="openai/gpt-4", raw_request="What is AI?")
    assert usage.log_request("m", "x", request_id="mine") == "mine"


def test_a_response_without_usage_is_a_success_of_unknown_size(usage: UsageInfo, tracker: Tracker) -> None:
    """No usage at all ends the request all the same, and its tokens stay unknown."""
    usage.log_request("m", "x", "r3")
    usage.log_response("answer", None, request_id="r3")
    call = only_call(tracker)
    assert call.status == CASES["usage_info_none"]["status"]
    assert (call.total_tokens, call.usage_source) == (None, "missing")
    stats = usage.get_usage_stats()
    assert (stats["total_tokens"], stats["missing_usage_requests"], stats["running"]) == (0, 1, 0)


@pytest.mark.parametrize(
    "rubbish", ["nonsense", 5, [], {"prompt_tokens": "many", "total_cost": "dear"}, object()]
)
def test_rubbish_for_usage_ends_the_request(usage: UsageInfo, tracker: Tracker, rubbish: object) -> None:
    """Whatever is passed as usage, the request ends and nothing is raised."""
    usage.log_request("m", "x", "r")
    usage.log_response("answer", rubbish, response_time=float("nan"), request_id="r")
    call = only_call(tracker)
    assert (call.status, call.total_tokens, call.cost_usd) == ("success", None, None)


def test_the_first_end_stands(usage: UsageInfo, tracker: Tracker) -> None:
    """A response that comes after the error is counted as late and changes nothing."""
    usage.log_request("m", "x", "r4")
    usage.log_error("boom", request_id="r4")
    usage.log_response("late", {"total_tokens": 2}, request_id="r4")
    call = only_call(tracker)
    assert (call.status, call.error_message, call.total_tokens) == ("error", "boom", None)
    assert CASES["late_response_after_error"] == {"status": "error", "ignored": True}
    assert tracker.health()["notes"]["late_ends"] == 1


def test_one_name_of_two_clients_is_two_requests(tracker: Tracker) -> None:
    """The same request id of another client or user is another request."""
    ours, theirs = (UsageInfo(client, "u", tracker) for client in ("A", "B"))
    for usage in (ours, theirs):
        usage.log_request("m", "x", "r1")
    theirs.log_response("x", {"total_tokens": 2}, request_id="r1")
    assert ours.get_usage_stats()["running"] == 1
    ours.log_response("x", {"total_tokens": 15}, request_id="r1")
    assert ours.get_usage_stats()["total_tokens"] == CASES["request_id_of_other_client"]["A.total_tokens"]
    assert theirs.get_usage_stats()["total_tokens"] == 2


def test_one_name_twice_is_two_requests(usage: UsageInfo, tracker: Tracker) -> None:
    """A name that is used again while the first still runs is a second request; each ends once."""
    for _ in range(2):
        usage.log_request("m", "x", "same")
    usage.log_response("x", SENT, request_id="same")
    assert usage.get_usage_stats()["running"] == 1
    usage.log_response("x", SENT, request_id="same")
    usage.log_response("x", SENT, request_id="same")
    stats = usage.get_usage_stats()
    assert (stats["total_requests"], stats["total_tokens"], stats["running"]) == (2, 30, 0)


def test_another_facade_of_the_same_user_can_end_a_request(usage: UsageInfo, tracker: Tracker) -> None:
    """Requests belong to client and user, not to the object that logged them."""
    usage.log_request("m", "x", "shared")
    UsageInfo("my_app", "user123", tracker).log_response("x", SENT, request_id="shared")
    assert usage.get_usage_stats()["total_requests"] == 1
    assert tracker.health()["orphans"] == 0


def test_without_an_id_the_latest_open_request_ends(usage: UsageInfo) -> None:
    """`log_response` and `log_error` without an id mean the request logged last and not yet ended."""
    first, second = usage.log_request("m1"), usage.log_request("m2")
    usage.log_response("x", SENT)
    usage.log_error("boom")
    found = {name: usage.get_request_details(name) for name in (first, second)}
    assert {name: each.status for name, each in found.items() if each} == {first: "error", second: "success"}


def test_an_end_without_a_beginning_is_a_call(usage: UsageInfo, tracker: Tracker) -> None:
    """A response to a request nobody logged is recorded under its name and counted as an orphan."""
    usage.log_response("x", SENT, request_id="unheard")
    usage.log_error("boom")
    assert tracker.health()["orphans"] == 2
    details = usage.get_request_details("unheard")
    assert details is not None
    assert (details.total_tokens, details.client_id, details.user_id) == (15, "my_app", "user123")
    assert usage.get_usage_stats()["total_requests"] == 2


def test_requests_may_be_logged_from_many_threads(usage: UsageInfo) -> None:
    """Eight threads that log and answer lose nothing and cross nothing."""

    def work(number: int) -> None:
        for turn in range(50):
            name = usage.log_request("m", "x", f"{number}-{turn}")
            usage.log_response("x", SENT, request_id=name)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    stats = usage.get_usage_stats()
    assert (stats["total_requests"], stats["total_tokens"], stats["running"]) == (400, 6000, 0)


# --- money ---------------------------------------------------------------------------------------


def test_a_stated_cost_is_the_providers(usage: UsageInfo, tracker: Tracker) -> None:
    """`total_cost` in the usage is taken as it is, and not computed again."""
    usage.log_request("openai/gpt-4", "x", "r")
    usage.log_response("x", {**SENT, "total_cost": 0.25}, request_id="r")
    call = only_call(tracker)
    assert (call.cost_usd, call.cost_source, call.provider, call.model) == (
        0.25,
        "provider",
        "openai",
        "openai/gpt-4",
    )


def test_an_unknown_price_is_no_cost_of_zero(usage: UsageInfo) -> None:
    """A model without a price has an unknown cost, and its requests are counted."""
    usage.log_request("nobody/knows-this", "x", "r")
    usage.log_response("x", SENT, request_id="r")
    stats = usage.get_usage_stats()
    assert stats["total_cost"] is CASES["cost_unknown"]["cost"]
    assert stats["unpriced_requests"] == CASES["cost_unknown"]["unpriced_requests"]
    assert stats["models"][0]["cost"] is None


def test_a_budget_counts_what_was_spent_and_what_would_be(usage: UsageInfo) -> None:
    """A request fits while spent plus projected stays within the limit; without a price it does not fit."""
    usage.log_request("openai/gpt-4")
    usage.log_response("x", {**SENT, "total_cost": 0.09})
    assert usage.check_budget(model_name="openai/gpt-4", input_tokens=100, output_tokens=50, budget_limit=0.1)
    check = usage.check_budget("openai/gpt-4", 1000, 500, budget_limit=0.1)
    assert not check
    assert (check.current_cost, check.projected_cost) == (0.09, pytest.approx(0.06))
    assert check.remaining == pytest.approx(0.01)
    unknown = usage.check_budget("nobody/knows-this", 1, 1, budget_limit=100)
    assert (bool(unknown), unknown.projected_cost) == (False, None)
    assert not usage.check_budget("openai/gpt-4", 1, 1, budget_limit=0)


# --- answers -------------------------------------------------------------------------------------


def test_running_and_failed_requests_have_plain_numbers(
    usage: UsageInfo, capsys: pytest.CaptureFixture[str]
) -> None:
    """A model that only has running or failed requests is a row of JSON with zeros, and prints."""
    usage.log_request("m1", "x", "r1")
    usage.log_request("m2", "x", "r2")
    usage.log_error("boom", request_id="r2")
    stats = usage.get_usage_stats()
    assert json.loads(json.dumps(stats)) == stats
    models = {model["model_name"]: model for model in stats["models"]}
    assert models["m1"] == {"model_name": "m1", "requests": 0, "tokens": 0, "cost": 0.0, "running": 1}
    assert (models["m2"]["requests"], models["m2"]["tokens"]) == (1, 0)
    assert (stats["total_requests"], stats["failed_requests"], stats["running"]) == (1, 1, 1)
    usage.print_usage_info()
    printed = capsys.readouterr().out
    assert "m1: 0 requests, 0 tokens, $0.000000" in printed
    assert "m2: 1 requests, 0 tokens, n/a" in printed


def test_nothing_logged_prints_too(usage: UsageInfo, capsys: pytest.CaptureFixture[str]) -> None:
    """With no request at all there is an answer and a print-out."""
    assert usage.get_usage_stats()["total_cost"] == 0
    usage.print_usage_info()
    assert "requests 0" in capsys.readouterr().out
    assert usage.get_detailed_stats()["models"] == []
    assert usage.get_request_details("nothing") is None
    assert usage.get_client_usage_data().recent_requests == []


def test_detailed_stats_are_per_model(usage: UsageInfo) -> None:
    """Requests, success rate in percent and response time in seconds, of the days asked for."""
    for time, fails in ((1.0, False), (2.0, False), (6.0, True)):
        usage.log_request("m")
        usage.log_error("x", time) if fails else usage.log_response("x", SENT, time)
    (model,) = usage.get_detailed_stats()["models"]
    assert (model["name"], model["requests"], model["success_rate"], model["avg_response_time"]) == (
        "m", 3, 66.67, 3.0,
    )  # fmt: skip
    assert usage.get_detailed_stats(end_date="2020-01-01")["models"] == []


def test_usage_of_a_client_is_over_all_its_requests(usage: UsageInfo, tracker: Tracker) -> None:
    """Totals cover everything, however few recent requests are shown; another client is its own."""
    for number in range(5):
        usage.log_request("openai/gpt-4", "x", f"r{number}")
        usage.log_response("x", {**SENT, "total_cost": 0.5}, 0.25, f"r{number}")
    other = UsageInfo("other", "someone", tracker)
    other.log_request("m")
    other.log_error("boom")
    data = usage.get_client_usage_data(limit_recent=2)
    assert (data.total_requests, data.successful_requests, data.total_tokens, data.total_cost) == (
        5,
        5,
        75,
        2.5,
    )
    assert [(each.request_id, each.response_time) for each in data.recent_requests] == [
        ("r4", 0.25),
        ("r3", 0.25),
    ]
    (model,) = data.models_used
    assert (model.model_name, model.model_provider, model.total_input_tokens, model.total_cost) == (
        "openai/gpt-4", "openai", 50, 2.5,
    )  # fmt: skip
    assert model.last_used is not None
    assert usage.get_client_usage_data(client_id="other").failed_requests == 1
    assert json.loads(data.model_dump_json())["client_id"] == "my_app"


def test_details_of_a_request(tracker: Tracker) -> None:
    """By the caller's name or by id, running or ended, and only of one's own client and user."""
    usage = UsageInfo("my_app", "user123", tracker)
    call_id = usage.log_request("m")
    usage.log_request("m", "x", "named")
    running = usage.get_request_details("named")
    assert running is not None
    assert (running.status, running.call, running.model_name) == ("running", None, "m")
    usage.log_error("boom", request_id="named")
    usage.log_response("x", SENT, request_id=call_id)
    named, own = usage.get_request_details("named"), usage.get_request_details(call_id)
    assert named is not None
    assert own is not None
    assert (named.status, named.error_message, own.total_tokens) == ("error", "boom", 15)
    assert own.call is not None
    assert own.call.client_id == "my_app"
    stranger = UsageInfo("my_app", "somebody else", tracker)
    assert stranger.get_request_details("named") is None
    assert stranger.get_request_details(call_id) is None


def test_a_star_in_a_name_opens_no_other_door(tracker: Tracker) -> None:
    """A client called `*` sees its own requests and nobody else's."""
    for client in ("a", "*"):
        usage = UsageInfo(client, None, tracker)
        usage.log_request("m", "x", "?" if client == "*" else "r")
        usage.log_response("x", SENT)
    star = UsageInfo("*", None, tracker)
    assert star.get_usage_stats()["total_requests"] == 1
    found = star.get_request_details("?")
    assert found is not None
    assert found.client_id == "*"
    assert star.get_client_usage_data(client_id="a*").total_requests == 0


def test_no_client_and_no_user_asks_about_all(tracker: Tracker) -> None:
    """`None` is no filter."""
    for client in ("a", "b", None):
        usage = UsageInfo(client, None, tracker)
        usage.log_request("m")
        usage.log_response("x", SENT)
    assert UsageInfo(tracker=tracker).get_usage_stats()["total_requests"] == 3


def test_payloads_are_kept_only_if_asked_for() -> None:
    """Requests and answers are stored with `capture`, and read back with the details."""
    for capture, expected in (("none", False), ("full", True)):
        with Tracker("memory://", capture=capture) as tracker:
            usage = UsageInfo("c", "u", tracker)
            name = usage.log_request("m", "What is AI?")
            usage.log_response("AI is...", SENT, request_id=name)
            details = usage.get_request_details(name)
            assert details is not None
            assert ("What is AI?" in str(details.request_raw)) is expected
            assert ("AI is..." in str(details.response_raw)) is expected


def test_closing_leaves_the_tracker_open(usage: UsageInfo, tracker: Tracker) -> None:
    """One facade's end is not another's: after `close` the tracker still records."""
    usage.close()
    with UsageInfo("b", "u", tracker) as other:
        other.log_request("m")
        other.log_response("x", SENT)
    assert other.get_usage_stats()["total_requests"] == 1


# --- prices and budgets --------------------------------------------------------------------------


def test_own_prices_in_dollars_per_token(usage: UsageInfo) -> None:
    """The words of price tables: a cost per token, and models by provider."""
    usage.register_model("acme-1", "0.0000005", 0.0000015, provider="openai")
    assert usage.tracker.flush()
    own = usage.get_model_price("openai/acme-1")
    assert own is not None
    assert (own.get_input_cost(), own.get_output_cost(), own.get_max_tokens()) == (5e-7, 1.5e-6, None)
    assert usage.get_token_cost("openai/acme-1", 2_000_000, 1_000_000) == 2.5
    assert usage.get_token_cost("openai/unheard-of", 1) is None
    assert usage.get_model_price("openai/unheard-of") is None
    assert usage.list_models()[0].model == "acme-1"
    assert {each.provider for each in usage.get_models_by_provider("openai")} == {"openai"}
    status = usage.get_last_update_status()
    assert (status["status"], status["source"], status["models"] > 1_000) == ("success", "genai-prices", True)
    with pytest.raises(ConfigurationError):
        usage.register_model("acme-1", -1)


def test_a_budget_of_this_client_and_user(usage: UsageInfo) -> None:
    """The keys that callers know; the request that passes the limit is kept, and the next one refused."""
    assert usage.get_budget_info() is None
    usage.register_model("acme", input_cost_per_token=1)
    usage.set_budget(10, period="total")
    for user in (usage.user_id, "somebody else"):
        with UsageInfo(usage.client_id, user, usage.tracker) as each:
            each.log_response(
                usage_info={"prompt_tokens": 8, "completion_tokens": 0}, request_id=each.log_request("acme")
            )
    found = usage.get_budget_info()
    assert found is not None
    assert [found[name] for name in ("current_cost", "total_budget", "remaining_budget")] == [8, 10, 2]
    assert (found["budget_used_percent"], found["unpriced_requests"]) == (80, 0)
    assert usage.require_budget("acme", 2).ok
    with pytest.raises(BudgetExceeded) as refused:
        usage.require_budget("acme", 3)
    assert (refused.value.current_cost, refused.value.budget_limit) == (8, 10)
    assert UsageInfo("another", "user", usage.tracker).get_budget_info() is None
    starry = UsageInfo(usage.client_id, "*", usage.tracker)
    starry.set_budget(5, period="total")
    found = starry.get_budget_info()
    assert found is not None
    assert found["current_cost"] == 0
