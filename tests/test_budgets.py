"""Budgets: right in every window, told once, and no answer that was paid for is lost."""

from __future__ import annotations

import asyncio
import json
import sys
import threading
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

import tokentrail
from tokentrail import _guard
from tokentrail._budgets import BudgetNotice, Watch, ask, info, plan, to_row
from tokentrail._cli import main
from tokentrail._context import context
from tokentrail._health import Health
from tokentrail._records import to_us
from tokentrail._stats import Stats
from tokentrail._tracker import Tracker
from tokentrail.errors import BudgetExceeded, ConfigurationError, QueryError
from tokentrail.models import Budget, BudgetAlert
from tokentrail.stores import open_store
from tokentrail.stores.base import Store

CASES = {
    case["name"]: case
    for case in json.loads((Path(__file__).parent / "cases" / "lifecycle.json").read_text(encoding="utf-8"))
}
NOON = to_us(datetime(2026, 3, 15, 12, tzinfo=UTC))
HOUR = 3_600_000_000


@pytest.fixture
def tracker(tmp_path: Path) -> Iterator[Tracker]:
    tracker = Tracker(f"sqlite:///{tmp_path / 'usage.db'}")
    tracker.register_model_price("acme", input_per_million=1, output_per_million=1)
    yield tracker
    tracker.close()


def spend(tracker: Tracker, dollars: float, **fields: Any) -> str:
    """A call that costs this much."""
    usage = {"prompt_tokens": round(dollars * 10**6), "completion_tokens": 0}
    return tracker.record(**{"model": "acme", "usage": usage, **fields})


# --- what fits -----------------------------------------------------------------------------------


def test_a_paid_answer_is_returned_and_the_next_call_refused(tracker: Tracker) -> None:
    """`budget_after_paid_response`: the call that passes the limit is answered; the next one is not made."""
    expected = CASES["budget_after_paid_response"]["expected"]
    tracker.set_budget("all", period="total", limit_usd=1)
    tracker.require_budget()
    with tracker.track(model="acme") as call:
        call.usage({"prompt_tokens": 1_200_000, "completion_tokens": 0})
        answer = "paid for"
    assert (expected["result"], answer) == ("returned to the caller", "paid for")
    with pytest.raises(BudgetExceeded, match=r"used up: \$1.2 of \$1 are used") as caught:
        tracker.require_budget()
    assert (caught.value.current_cost, caught.value.budget_limit) == (1.2, 1)
    assert expected["next_call"].startswith(type(caught.value).__name__)
    stored = tracker.stats.calls().items
    assert [call.status for call in stored] == ["success"]
    assert tokentrail.BudgetExceeded is BudgetExceeded


def test_an_unknown_cost_is_no_zero(tracker: Tracker) -> None:
    """`cost_unknown`: it is told beside what is known; a call of unknown cost does not fit a projection."""
    expected = CASES["cost_unknown"]["expected"]
    tracker.set_budget("all", period="total", limit_usd=1)
    stored = tracker.get(tracker.record(model="nobody-knows", usage={"total_tokens": 15}))
    assert stored.cost_usd is expected["cost"]
    found = tracker.budget_info("all")
    assert found.unpriced_requests == expected["unpriced_requests"]
    assert (found.current_cost, found.total_requests) == (0, 1)
    assert tracker.check_budget("nobody-knows").ok
    check = tracker.check_budget("nobody-knows", 10, 10)
    assert (check.ok, check.projected_cost) == (False, None)
    assert check.reason is not None
    assert "not known" in check.reason


def test_figures_of_a_budget(tracker: Tracker) -> None:
    """What is spent, left and projected; more than all of it is less than nothing left."""
    tracker.set_budget("all", period="total", limit_usd=4, thresholds=(0.25, 0.5, 1))
    spend(tracker, 1)
    found = tracker.budget_info("all")
    assert (found.current_cost, found.total_budget, found.remaining_budget) == (1, 4, 3)
    assert (found.budget_used_percent, found.reached, found.is_over) == (25, [0.25], False)
    fits = tracker.check_budget("acme", 3_000_000)
    exceeds = tracker.check_budget("acme", 2_000_000, 1_000_001)
    assert (fits.ok, fits.projected_cost) == (True, 3)
    assert (bool(exceeds), exceeds.projected_tokens) == (False, 3_000_001)
    spend(tracker, 5)
    found = tracker.budget_info("all")
    assert (found.remaining_budget, found.budget_used_percent, found.is_over) == (-2, 150, True)


def test_a_budget_in_tokens(tracker: Tracker) -> None:
    """Tokens that were billed count, whatever they cost; hits of a cache do not."""
    tracker.set_budget("tokens", period="total", limit_tokens=1_000)
    tracker.record(model="x", usage={"prompt_tokens": 600, "completion_tokens": 100})
    tracker.record(model="x", usage={"prompt_tokens": 600, "completion_tokens": 100}, cache_hit=True)
    tracker.record(model="x")
    found = tracker.budget_info("tokens")
    assert (found.unit, found.used, found.remaining_budget) == ("tokens", 700, 300)
    assert found.missing_usage_requests == 1
    assert tracker.check_budget(input_tokens=300)
    assert tracker.check_budget("x", 200, 50)
    check = tracker.check_budget("x", 300, 50)
    assert not check
    assert check.reason is not None
    assert "700 tokens of 1,000 tokens" in check.reason


def test_scopes_cover_their_calls(tracker: Tracker) -> None:
    """By user, tag, model or provider; what the context says is said."""
    tracker.set_budget("alice", period="total", limit_usd=1, user_id="alice")
    tracker.set_budget("beta", period="total", limit_usd=1, tag="beta")
    tracker.set_budget("gpt", period="total", limit_usd=1, model="GPT-*", provider="openai")
    spend(tracker, 2, user_id="alice")
    assert [budget.name for budget in tracker.check_budget(user_id="alice").budgets] == ["alice"]
    assert not tracker.check_budget(user_id="alice")
    assert tracker.check_budget(user_id="bob").budgets == []
    with context(user_id="alice", tags=["x", "beta"]):
        assert [budget.name for budget in tracker.check_budget("gpt-4o", provider="openai").budgets] == [
            "alice",
            "beta",
            "gpt",
        ]
    assert [each.name for each in tracker.check_budget(tag="beta").budgets] == ["beta"]
    assert [each.name for each in tracker.check_budget(name="beta", tags=["beta"]).budgets] == ["beta"]
    with pytest.raises(QueryError, match="no budget 'none'. There are: alice, beta, gpt"):
        tracker.check_budget(name="none")


def test_each_user_has_a_budget(tracker: Tracker) -> None:
    """One budget, as many accounts as users; those that used most come first."""
    tracker.set_budget("users", period="total", limit_usd=1, per="user_id")
    spend(tracker, 0.5, user_id="alice")
    spend(tracker, 2, user_id="bo*")
    spend(tracker, 0.1, user_id="bob")
    spend(tracker, 9)
    assert (tracker.check_budget(user_id="alice").ok, tracker.check_budget(user_id="bo*").ok) == (True, False)
    assert tracker.check_budget(user_id="bob").budgets[0].current_cost == 0.1
    assert tracker.check_budget(user_id="new").budgets[0].current_cost == 0
    assert tracker.check_budget().budgets == []
    listed = tracker.stats.budgets().items
    assert [(each.key, each.current_cost) for each in listed] == [("bo*", 2), ("alice", 0.5), ("bob", 0.1)]
    assert tracker.budget_info("users", "alice").remaining_budget == 0.5
    with pytest.raises(QueryError, match="needs a user_id"):
        tracker.budget_info("users")


@pytest.mark.parametrize(
    ("terms", "sentence"),
    [
        ({}, "a budget has one of them"),
        ({"limit_usd": 1, "limit_tokens": 1}, "a budget has one of them"),
        ({"limit_usd": 0}, "limit_usd: 0 is not above 0"),
        ({"limit_tokens": -5}, "limit_tokens: -5"),
        ({"limit_usd": 1, "period": "fortnight"}, "period: 'fortnight' is none"),
        ({"limit_usd": 1, "tz": "Mars"}, "tz: 'Mars'"),
        ({"limit_usd": 1, "thresholds": (0,)}, "thresholds"),
        ({"limit_usd": 1, "per": "tag"}, "per: 'tag'"),
        ({"limit_usd": 1, "usr": "x"}, "usr: no such filter"),
    ],
)
def test_a_budget_that_is_none_is_refused(tracker: Tracker, terms: dict[str, Any], sentence: str) -> None:
    """The sentence names the argument, at once."""
    with pytest.raises(ConfigurationError, match=sentence):
        tracker.set_budget("x", **terms)


# --- windows -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("period", "tz", "start", "end"),
    [
        ("day", "UTC", "2026-03-15T00:00+00:00", "2026-03-16T00:00+00:00"),
        ("daily", "Asia/Kathmandu", "2026-03-15T00:00+05:45", "2026-03-16T00:00+05:45"),
        ("week", "UTC", "2026-03-09T00:00+00:00", "2026-03-16T00:00+00:00"),
        ("month", "Europe/Berlin", "2026-03-01T00:00+01:00", "2026-04-01T00:00+02:00"),
        ("hour", "UTC", "2026-03-15T12:00+00:00", "2026-03-15T13:00+00:00"),
        ("24h", "UTC", "2026-03-14T12:00+00:00", None),
        ("total", "UTC", None, None),
    ],
)
def test_windows(period: str, tz: str, start: str | None, end: str | None) -> None:
    """Days, weeks and months are those of the zone; a rolling span ends now."""
    found = plan("x", limit_usd=1, period=period, tz=tz).window(NOON)
    wanted = tuple(None if text is None else to_us(datetime.fromisoformat(text)) for text in (start, end))
    assert found == wanted


@given(
    st.integers(0, 400 * 24).map(lambda hours: NOON + hours * HOUR),
    st.sampled_from(["America/New_York", "Australia/Lord_Howe", "Africa/Casablanca", "UTC"]),
    st.sampled_from(["day", "week", "month"]),
)
def test_a_window_holds_its_moment(moment: int, tz: str, period: str) -> None:
    """Every moment lies in exactly one window, which begins at midnight there."""
    start, end = plan("x", limit_usd=1, period=period, tz=tz).window(moment)
    assert start is not None
    assert end is not None
    assert start <= moment < end
    assert plan("x", limit_usd=1, period=period, tz=tz).window(end)[0] == end
    begin = datetime.fromtimestamp(start / 10**6, ZoneInfo(tz))
    assert (begin.hour, begin.minute) == (0, 0)


def stored(number: int, at: int, dollars: float = 1, **columns: Any) -> dict[str, Any]:
    return {
        "id": f"call-{number:04}", "finality": 2, "status": "success", "started_at": at,
        "cost_nanos": round(dollars * 10**9), "total_tokens": 10, "cost_source": "override", **columns,
    }  # fmt: skip


@pytest.fixture(params=("memory", "sqlite", "postgresql"))
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Store]:
    urls: dict[str, Callable[[], str]] = {
        "memory": lambda: "memory://",
        "sqlite": lambda: f"sqlite:///{tmp_path / 'store.db'}",
        "postgresql": lambda: request.getfixturevalue("postgres")(),
    }
    store = open_store(urls[request.param]())
    yield store
    store.close()


def test_only_calls_of_the_window_count(store: Store) -> None:
    """Yesterday's are not today's; a rolling day goes by the hour."""
    store.append([stored(1, NOON - 13 * HOUR), stored(2, NOON - 25 * HOUR), stored(3, NOON - HOUR)])
    for period, used in (("day", 1), ("24h", 2), ("30d", 3), ("month", 3), ("total", 3)):
        assert info(store, plan("x", limit_usd=5, period=period), NOON).current_cost == used
    kathmandu = plan("x", limit_usd=5, period="day", tz="Asia/Kathmandu")
    assert info(store, kathmandu, NOON).current_cost == 2
    assert ask(store, [plan("x", limit_usd=3, period="day")], {}, NOON, projected_cost=2).ok
    assert not ask(store, [plan("x", limit_usd=3, period="30d")], {}, NOON).ok


# --- being told ----------------------------------------------------------------------------------


class Clock:
    """A clock that stands where it was put."""

    def __init__(self) -> None:
        self.now = NOON

    def __call__(self) -> int:
        return self.now


class Played:
    """A watch over a store, with a clock of its own; collects what is told."""

    def __init__(self, store: Store, clock: Clock) -> None:
        self.store, self.clock, self.number = store, clock, 0
        self.told: list[tuple[str, str | None, float]] = []
        self.watch = Watch(Health(), clock)
        self.watch.on_threshold(lambda notice: self.told.append((notice.name, notice.key, notice.threshold)))

    def deliver(self, dollars: float, **columns: Any) -> None:
        Played.numbers += 1
        rows = [stored(Played.numbers, self.clock.now, dollars, **columns)]
        self.watch.prepare(self.store)
        self.store.append(rows)
        for call in self.watch.count(self.store, rows):
            call()

    numbers = 0


def test_a_threshold_is_told_once_a_window(store: Store) -> None:
    """Once, and again in the next window; also after a restart, and with two processes."""
    clock = Clock()
    store.keep(to_row(plan("day", limit_usd=10, period="day", thresholds=(0.5, 1)), NOON))
    one, other = Played(store, clock), Played(store, clock)
    one.deliver(4.9)
    assert one.told == []
    one.deliver(0.1)
    one.deliver(1)
    other.deliver(1)
    assert (one.told, other.told) == ([("day", None, 0.5)], [])
    other.deliver(3)
    one.deliver(3)
    assert (one.told[1:], other.told) == ([], [("day", None, 1)])
    restarted = Played(store, clock)
    restarted.deliver(1)
    assert restarted.told == []
    clock.now += 24 * HOUR
    one.deliver(6)
    assert one.told[1:] == [("day", None, 0.5)]


def test_a_rolling_window_may_reach_a_threshold_again(store: Store) -> None:
    """Not within one span, and again when the old calls have left it."""
    clock = Clock()
    store.keep(to_row(plan("roll", limit_usd=10, period="24h", thresholds=(1,)), NOON))
    one = Played(store, clock)
    one.deliver(11)
    clock.now += 12 * HOUR
    one.deliver(11)
    assert len(one.told) == 1
    clock.now += 25 * HOUR
    one.deliver(1)
    one.deliver(11)
    assert len(one.told) == 2


def test_each_key_is_told_for_itself(store: Store) -> None:
    """A budget per user warns of that user; calls without one are nobody's."""
    store.keep(to_row(plan("users", limit_usd=1, per="user_id", thresholds=(1,)), NOON))
    one = Played(store, Clock())
    for user in ("alice", "bob", None):
        one.deliver(0.6, user_id=user)
    one.deliver(0.6, user_id="bob")
    assert one.told == [("users", "bob", 1)]


def test_a_row_of_rubbish_stops_no_budget(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever somebody wrote into the table, the others are watched."""
    monkeypatch.setattr(_guard, "STRICT", False)
    store.keep(Budget(name="bad", period="fortnight", tz="UTC", limit_usd=1))
    store.keep(to_row(plan("good", limit_usd=1, thresholds=(1,)), NOON))
    one = Played(store, Clock())
    one.deliver(2)
    assert one.told == [("good", None, 1)]


def test_the_writers_thread_tells(tracker: Tracker) -> None:
    """Never in a caller's thread; who asks from inside is answered, and not made to wait for himself."""
    heard: list[tuple[BudgetNotice, str, bool]] = []
    reached = threading.Event()

    def hear(notice: BudgetNotice) -> None:
        heard.append((notice, threading.current_thread().name, tracker.budget_info("all").is_over))
        reached.set()

    tracker.set_budget("all", period="total", limit_usd=1, thresholds=(0.5,), on_threshold=hear)
    spend(tracker, 0.75)
    assert reached.wait(30)
    ((notice, thread, is_over),) = heard
    assert (notice.name, notice.threshold, notice.budget.used, is_over) == ("all", 0.5, 0.75, False)
    assert thread == "tokentrail-writer"
    assert [alert.budget for alert in open_store(tracker.database_url).kept(BudgetAlert)] == ["all"]


def test_a_callback_that_fails_harms_nobody(tracker: Tracker, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is counted; the other one is called, and calls go on being stored."""
    monkeypatch.setattr(_guard, "STRICT", False)
    heard: list[BudgetNotice] = []
    tracker.on_budget(lambda notice: 1 / 0)
    tracker.on_budget(heard.append)
    tracker.on_budget(heard.append, "another")
    tracker.set_budget("all", period="total", limit_usd=1)
    spend(tracker, 2)
    spend(tracker, 1)
    assert tracker.flush()
    assert [notice.threshold for notice in heard] == [0.8, 1]
    assert tracker.health()["faults"]["budget.callback:ZeroDivisionError"] == 2
    assert tracker.stats.overview().calls == 2


async def test_a_check_beside_an_event_loop(tracker: Tracker) -> None:
    """It waits for the store, so a loop sends it to a thread, and the context goes along."""
    tracker.set_budget("alice", period="total", limit_usd=1, user_id="alice")
    spend(tracker, 1, user_id="alice")
    with context(user_id="alice"), pytest.raises(BudgetExceeded):
        await asyncio.to_thread(tracker.require_budget)


def test_budgets_of_the_store_are_everybodys(tracker: Tracker, tmp_path: Path) -> None:
    """Set by one process, held by another; set again, it is replaced; removed, it is gone."""
    tracker.set_budget("all", period="total", limit_usd=1)
    assert tracker.flush()
    spend(tracker, 0.5)
    stats = Stats(f"sqlite:///{tmp_path / 'usage.db'}")
    assert [each.name for each in stats.budgets().items] == ["all"]
    changed = stats.set_budget("all", limit_usd=2, period="total")
    assert changed is not None
    assert (changed.total_budget, changed.current_cost) == (2, 0.5)
    assert (stats.remove_budget("all"), stats.remove_budget("all")) == (True, False)
    assert tracker.check_budget().budgets == []
    stats.close()


def test_the_command_fails_where_a_budget_is_used_up(
    tracker: Tracker, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """`budget check` is for CI: 0 while there is something left, 1 when there is not, 2 for a wrong word."""
    tracker.set_budget("loose", limit_usd=100, period="total")
    spend(tracker, 2, user_id="alice")
    assert tracker.flush()

    def run(*arguments: str, code: int = 0) -> str:
        monkeypatch.setattr(sys, "argv", ["tokentrail", "budget", *arguments, "-d", tracker.database_url])
        assert main() == code
        shown = capsys.readouterr()
        return shown.err if code == 2 else shown.out

    run("check")
    shown = run("set", "users", "--usd", "1.5", "--per", "user", "--period", "30d", "--threshold", "0.5")
    assert "users · alice" in shown
    assert "-$0.50" in shown.replace("$-", "-$")
    assert "Used up: users · alice" in run("check", code=1)
    run("check", "loose")
    found = json.loads(run("check", "--json", code=1))
    assert (found["schema_version"], found["ok"]) == (1, False)
    assert [each["name"] for each in found["budgets"]] == ["loose", "users"]
    assert {each["name"] for each in json.loads(run("list", "--json"))["budgets"]} == {"loose", "users"}
    assert "Removed: users" in run("remove", "users")
    assert "no budget 'users'" in run("check", "users", code=2)
    assert "a budget has one of them" in run("set", "x", code=2)
