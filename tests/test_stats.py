"""Stats: what each question answers, over every kind of call."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta
from itertools import pairwise
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pytest
import sqlalchemy as sa

from ledger import NEW_YEAR, Ledger
from tokentrail import Stats, Tracker
from tokentrail._periods import edges, period_of
from tokentrail._query import Query
from tokentrail._records import STATUSES, to_us
from tokentrail.errors import ConfigurationError, QueryError, StoreError
from tokentrail.stores import open_store

CASES = {
    case["name"]: case
    for case in json.loads((Path(__file__).parent / "cases" / "stats.json").read_text(encoding="utf-8"))
}
SEED_KEYS = {
    "total_calls", "success_calls", "error_calls", "total_input_tokens", "total_output_tokens",
    "total_tokens", "total_cost", "avg_tokens_per_call", "avg_duration_ms", "avg_tokens_per_second",
    "zero_token_success_calls",
}  # fmt: skip


@pytest.fixture
def ledger() -> Ledger:
    return Ledger()


# --- token statistics ----------------------------------------------------------------------------


def test_token_statistics_count_every_billed_token(ledger: Ledger) -> None:
    """Failed calls are billed: they are in the totals and shown apart; every status is counted."""
    case = CASES["token_statistics"]
    for status, sent, received in case["input"]["llm_calls[status,input,output]"]:
        ledger.add(
            status=status,
            input_tokens=sent,
            output_tokens=received,
            total_tokens=sent + received,
            duration_us=case["input"]["duration_ms_each"] * 1000,
        )
    summary = ledger.stats.token_statistics().summary.model_dump()
    assert {name: summary[name] for name in case["expected"]} == case["expected"]
    assert summary.keys() >= SEED_KEYS
    assert (summary["successful_output_tokens"], summary["failed_output_tokens"]) == (5, 5)
    assert (summary["total_tokens"], summary["avg_tokens_per_call"]) == (130, 32.5)
    assert (summary["avg_duration_ms"], summary["avg_tokens_per_second"]) == (1000.0, 2.5)
    assert summary["total_cost"] is None
    assert (summary["unpriced_calls"], summary["coverage"]) == (4, {"tokens": 1.0, "cost": 0.0})


def test_token_statistics_by_model_and_over_time(ledger: Ledger) -> None:
    """Models come largest first by the old names, points ascend, and `bucket` is echoed."""
    ledger.add(model="small", total_tokens=1, cost_nanos=5)
    ledger.add(NEW_YEAR + timedelta(hours=2), model="large", total_tokens=9)
    answer = ledger.stats.token_statistics(bucket="hour", tz="Europe/Berlin")
    assert [(model.model_name, model.total_tokens, model.cost) for model in answer.by_model] == [
        ("large", 9, None),
        ("small", 1, 5e-9),
    ]
    assert [(point.bucket.hour, point.total_tokens) for point in answer.timeseries] == [
        (1, 1),
        (2, 0),
        (3, 9),
    ]
    assert (answer.bucket, answer.tz, answer.by_model_truncated) == ("hour", "Europe/Berlin", False)


# --- unknown is not zero -------------------------------------------------------------------------


def test_nothing_at_all(ledger: Ledger) -> None:
    """No calls: totals are zero and known, rates and averages of nothing are not."""
    overview = ledger.stats.overview()
    assert (overview.calls, overview.total_tokens, overview.cost_usd) == (0, 0, 0)
    assert (overview.success_rate, overview.avg_duration_ms, overview.last_started_at) == (None, None, None)
    assert overview.coverage.model_dump() == {"tokens": None, "cost": None}
    assert ledger.stats.breakdown().items == []
    assert ledger.stats.timeseries().points == []
    assert ledger.stats.latency().p99 is None
    assert ledger.stats.usage_stats().total_tokens == 0


def test_a_total_is_shown_with_its_hole(ledger: Ledger) -> None:
    """Sums skip what is not known and say how much that is; averages are over what is."""
    ledger.add(input_tokens=10, output_tokens=2, total_tokens=12, cost_nanos=2_000_000_000, duration_us=1000)
    ledger.add(input_tokens=0, output_tokens=0, total_tokens=0, cost_nanos=0)
    ledger.add()
    ledger.add(status="interrupted")
    overview = ledger.stats.overview()
    assert (overview.total_tokens, overview.missing_usage_calls, overview.avg_tokens_per_call) == (12, 2, 6.0)
    assert (overview.cost_usd, overview.unpriced_calls, overview.avg_cost_usd) == (2.0, 2, 1.0)
    assert overview.avg_duration_ms == 1.0
    assert overview.reasoning_tokens is None
    assert overview.coverage.model_dump() == {"tokens": 0.5, "cost": 0.5}
    summary = ledger.stats.token_statistics().summary
    assert (summary.zero_token_success_calls, summary.missing_usage_success_calls) == (1, 1)


def test_a_group_of_unknown_calls_is_unknown(ledger: Ledger) -> None:
    """A model whose calls reported nothing has unknown tokens, not zero."""
    ledger.add(model="silent")
    (item,) = ledger.stats.breakdown("model").items
    assert (item.key, item.calls, item.total_tokens, item.cost_usd, item.coverage.tokens) == (
        "silent", 1, None, None, 0.0,
    )  # fmt: skip


def test_every_outcome_is_counted_once(ledger: Ledger) -> None:
    """The six outcomes: errors are error and timeout; the success rate knows nothing of the stopped ones."""
    for status in STATUSES:
        ledger.add(status=status)
    ledger.add()
    overview = ledger.stats.overview()
    assert (overview.calls, overview.success_calls, overview.error_calls, overview.timeout_calls) == (
        7,
        2,
        2,
        1,
    )
    assert (overview.cancelled_calls, overview.abandoned_calls, overview.interrupted_calls) == (1, 1, 1)
    assert (overview.success_rate, overview.error_rate) == (0.5, 0.5)


def test_no_finished_call_has_no_success_rate(ledger: Ledger) -> None:
    """Only cancelled calls: there is no rate of anything."""
    ledger.add(status="cancelled")
    assert ledger.stats.overview().success_rate is None


def test_answers_from_a_cache_are_shown_apart(ledger: Ledger) -> None:
    """A cache hit's tokens were not billed: they stand beside the sums, and cost nothing."""
    ledger.add(input_tokens=10, total_tokens=12, output_tokens=2, cost_nanos=7_000_000_000)
    ledger.add(input_tokens=10, total_tokens=12, output_tokens=2, cost_nanos=0, cache_hit=True)
    overview = ledger.stats.overview()
    assert (overview.calls, overview.cache_hit_calls) == (2, 1)
    assert (overview.total_tokens, overview.cache_hit_total_tokens, overview.cost_usd) == (12, 12, 7.0)
    assert overview.coverage.model_dump() == {"tokens": 1.0, "cost": 1.0}


def test_tokens_of_stopped_calls_are_shown_apart(ledger: Ledger) -> None:
    """What a cancelled or abandoned stream used is billed, and is no success and no failure."""
    ledger.add(output_tokens=1, total_tokens=1)
    ledger.add(status="cancelled", output_tokens=20, total_tokens=20)
    ledger.add(status="error", output_tokens=300, total_tokens=300)
    summary = ledger.stats.token_statistics().summary
    assert summary.total_output_tokens == 321
    assert summary.successful_output_tokens == 1
    assert (summary.failed_output_tokens, summary.stopped_output_tokens) == (300, 20)


def test_speed_is_of_writing_and_not_of_waiting(ledger: Ledger) -> None:
    """Tokens per second leave out the wait for the first token, failures, and calls of unknown length."""
    ledger.add(output_tokens=100, duration_us=3_000_000, time_to_first_token_us=1_000_000, is_streaming=True)
    ledger.add(output_tokens=100, duration_us=2_000_000)
    ledger.add(output_tokens=999)
    ledger.add(status="error", output_tokens=999, duration_us=1)
    summary = ledger.stats.token_statistics().summary
    assert (summary.avg_tokens_per_second, summary.stream_tokens_per_second) == (50.0, 50.0)


# --- sessions ------------------------------------------------------------------------------------


def test_a_session_of_long_ago_is_not_active(ledger: Ledger) -> None:
    """Active is a conversation with a call in the last half hour, whatever the window."""
    assert CASES["active_sessions"]["expected"] == {"active": False}
    ledger.add(session_id="old", user_id="u")
    overview = ledger.stats.overview()
    assert (overview.sessions, overview.active_sessions, overview.users) == (1, 0, 1)
    ledger.add(NEW_YEAR + timedelta(days=40, minutes=-5), session_id="new", user_id="u")
    overview = ledger.stats.overview()
    assert (overview.sessions, overview.active_sessions, overview.users) == (2, 1, 1)
    assert ledger.stats.overview(end="2026-01-03").active_sessions == 0


# --- time ----------------------------------------------------------------------------------------


def test_a_series_has_no_gaps(ledger: Ledger) -> None:
    """Every period inside the asked window has a point, with zeros where nothing happened."""
    first, second = (date.fromisoformat(day) for day in CASES["bucket_gaps"]["input"]["calls_at"])
    for day in (first, second):
        ledger.add(datetime(day.year, day.month, day.day, 12, tzinfo=UTC), total_tokens=5)
    points = ledger.stats.timeseries("day", start=first, end=second).points
    assert len(points) == 32
    assert [point.bucket.date() for point in points] == [first + timedelta(days=n) for n in range(32)]
    assert [point.calls for point in points] == [1, *[0] * 30, 1]
    assert {point.total_tokens for point in points[1:-1]} == {0}
    assert len(ledger.stats.timeseries("day").points) == 32
    assert len(ledger.stats.timeseries("day", start="2025-12-30", end="2026-02-02").points) == 35


def test_a_window_without_calls_has_all_its_points(ledger: Ledger) -> None:
    """An empty window is drawn as zeros, not as nothing."""
    points = ledger.stats.timeseries("hour", start="2026-05-01", end="2026-05-01").points
    assert [point.calls for point in points] == [0] * 24


def test_a_series_by_model_has_every_point_of_every_model(ledger: Ledger) -> None:
    """Apart by something, each value has its own gapless series."""
    ledger.add(model="a")
    ledger.add(NEW_YEAR + timedelta(days=2), model="b")
    points = ledger.stats.timeseries("day", by="model").points
    assert [(point.bucket.day, point.key, point.calls) for point in points] == [
        (1, "a", 1), (1, "b", 0), (2, "a", 0), (2, "b", 0), (3, "a", 0), (3, "b", 1),
    ]  # fmt: skip


def test_points_are_what_a_check_would_make_of_them(ledger: Ledger) -> None:
    """Points are not checked one by one; each has all fields, of the right types and in the right order."""
    ledger.add(model="a", total_tokens=5, cost_nanos=10**9, duration_us=3, status="error")
    ledger.add(NEW_YEAR + timedelta(days=2), model="b", input_tokens=0)
    for point in ledger.stats.timeseries("day", by="model").points:
        checked = type(point).model_validate(point.model_dump())
        assert (point, point.model_dump_json()) == (checked, checked.model_dump_json())
        assert point.model_fields_set == checked.model_fields_set


def test_periods_follow_the_clocks_of_the_zone(ledger: Ledger) -> None:
    """Days are local days, weeks begin on Monday, months on their first, and points carry the offset."""
    ledger.add(datetime(2026, 3, 29, 0, 30, tzinfo=UTC))
    ledger.add(datetime(2026, 3, 29, 22, 30, tzinfo=UTC))
    ledger.add(datetime(2026, 4, 1, tzinfo=UTC))
    days = ledger.stats.timeseries("day", tz="Europe/Berlin").points
    assert [point.bucket.isoformat() for point in days] == [
        "2026-03-29T00:00:00+01:00",
        "2026-03-30T00:00:00+02:00",
        "2026-03-31T00:00:00+02:00",
        "2026-04-01T00:00:00+02:00",
    ]
    assert [point.calls for point in days] == [1, 1, 0, 1]
    weeks = ledger.stats.timeseries("week").points
    assert [point.bucket.isoformat() for point in weeks] == [
        "2026-03-23T00:00:00+00:00",
        "2026-03-30T00:00:00+00:00",
    ]
    months = ledger.stats.timeseries("month").points
    assert [(point.bucket.month, point.calls) for point in months] == [(3, 2), (4, 1)]


def test_the_hour_that_comes_twice_is_two_hours() -> None:
    """Where clocks go back, the hour that is repeated has two periods, told apart by their offsets."""
    zone = ZoneInfo("America/New_York")
    start = to_us(datetime(2026, 11, 1, 4, tzinfo=UTC))
    hours = edges(start, start + 4 * 3_600_000_000, "hour", zone)
    local = [datetime.fromtimestamp(edge / 1e6, zone).isoformat()[11:] for edge in hours]
    assert local == ["00:00:00-04:00", "01:00:00-04:00", "01:00:00-05:00", "02:00:00-05:00"]
    assert period_of(hours[2] + 1, hours) == hours[2]


def test_a_midnight_that_does_not_exist_is_where_the_day_begins() -> None:
    """In Beirut the clocks once went from midnight to one: the day begins at that moment and has 23 hours."""
    zone = ZoneInfo("Asia/Beirut")
    start = to_us(datetime(2026, 3, 28, 12, tzinfo=UTC))
    days = edges(start, start + 48 * 3_600_000_000, "day", zone)
    hours = [(after - before) / 3_600_000_000 for before, after in pairwise(days)]
    assert hours == [24.0, 23.0]


def test_an_end_that_is_a_date_includes_the_day(ledger: Ledger) -> None:
    """A date as end, as text or not, includes its day in `tz`; a time does not include itself."""
    ledger.add(datetime(2026, 1, 31, 23, 59, 59, 999_999, tzinfo=UTC))
    ledger.add(datetime(2026, 2, 1, tzinfo=UTC))

    def count(**where: Any) -> int:
        return ledger.stats.calls(**where).total

    assert count(end="2026-01-31") == count(end=date(2026, 1, 31)) == 1
    assert count(end="2026-02-01T00:00:00Z") == count(end=datetime(2026, 2, 1)) == 1  # noqa: DTZ001
    assert count(start="2026-02-01", end="2026-02-01", tz="Europe/Berlin") == 2
    assert count(start="2026-01-31T23:59:59.999999") == 2


# --- apart ---------------------------------------------------------------------------------------


def test_breakdown_in_two_levels(ledger: Ledger) -> None:
    """Providers, largest first, with their models inside; both levels add up."""
    for provider, model, tokens in (("o", "x", 1), ("o", "y", 5), ("a", "z", 3), (None, None, 2)):
        names = {"provider": provider, "model": model} if provider else {}
        ledger.add(total_tokens=tokens, **names)
    answer = ledger.stats.breakdown(("provider", "model"))
    assert [(item.key, item.total_tokens) for item in answer.items] == [("o", 6), ("a", 3), (None, 2)]
    assert [(item.key, item.total_tokens) for item in answer.items[0].items] == [("y", 5), ("x", 1)]


def test_breakdown_says_that_it_is_cut(ledger: Ledger) -> None:
    """`truncated` tells whether there are more groups than were asked for."""
    for number in range(3):
        ledger.add(user_id=f"u{number}", total_tokens=number)
    assert ledger.stats.breakdown("user_id", limit=3).truncated is False
    answer = ledger.stats.breakdown("user_id", limit=2)
    assert ([item.key for item in answer.items], answer.truncated) == (["u2", "u1"], True)


# --- how long, and what went wrong ---------------------------------------------------------------


def test_percentiles_are_exact(ledger: Ledger) -> None:
    """Percentiles lie between the two nearest values, over successful calls that were measured."""
    for number in range(1, 101):
        ledger.add(duration_us=number * 1000, model="m", time_to_first_token_us=number)
    ledger.add(status="error", duration_us=10**9, model="m")
    ledger.add(duration_us=10**9, cache_hit=True, model="m")
    ledger.add(model="m")
    answer = ledger.stats.latency("model")
    assert (answer.calls, answer.p50, answer.p90, answer.p99) == (
        100,
        50.5,
        pytest.approx(90.1),
        pytest.approx(99.01),
    )
    assert (answer.min, answer.max, answer.avg, answer.method, answer.error) == (
        1.0,
        100.0,
        50.5,
        "rows",
        0.0,
    )
    assert answer.time_to_first_token.p50 == 0.0505
    assert [(item.key, item.p50) for item in answer.items] == [("m", 50.5)]
    assert ledger.stats.latency(status="error").p50 == 1e6


def test_percentiles_under_tags_count_a_call_once_in_all(ledger: Ledger) -> None:
    """A call with two tags is in both groups, and once in the whole."""
    ledger.add(duration_us=1000, tags=["a", "b"])
    answer = ledger.stats.latency("tag")
    assert (answer.calls, [item.calls for item in answer.items]) == (1, [1, 1])


def test_errors_by_type_model_and_day(ledger: Ledger) -> None:
    """Errors and timeouts by what they were and where; calls that ended otherwise are no errors."""
    ledger.add(model="m", provider="p")
    ledger.add(status="error", error_type="RateLimitError", model="m", provider="p")
    ledger.add(status="error", error_type="RateLimitError", model="n", provider="p")
    last = NEW_YEAR + timedelta(days=1)
    ledger.add(last, status="timeout", error_type="Timeout", model="m", provider="p")
    ledger.add(status="cancelled", error_type="CancelledError", model="m", provider="p")
    answer = ledger.stats.error_statistics()
    assert (answer.total_calls, answer.error_calls, answer.timeout_calls, answer.error_rate) == (
        5,
        3,
        1,
        0.75,
    )
    assert [(each.key, each.count, each.last_at) for each in answer.by_type] == [
        ("RateLimitError", 2, NEW_YEAR),
        ("Timeout", 1, last),
    ]
    assert [(each.key, each.count, each.calls) for each in answer.by_model] == [("m", 2, 4), ("n", 1, 1)]
    assert answer.by_type[0].share == pytest.approx(2 / 3)
    assert [(point.count, point.calls) for point in answer.timeseries] == [(2, 4), (1, 1)]
    assert ledger.stats.error_statistics(status="timeout").error_calls == 1


# --- pages ---------------------------------------------------------------------------------------


def test_pages_of_calls_join(ledger: Ledger) -> None:
    """Pages by cursor are all calls once, newest first; `total` is of all pages."""
    for number in range(25):
        ledger.add(NEW_YEAR + timedelta(seconds=number // 3), model="m" if number % 2 else "n")
    seen: list[str] = []
    cursor = None
    while True:
        page = ledger.stats.calls(limit=4, cursor=cursor, model="m")
        assert (page.total, page.limit) == (12, 4)
        seen += [call.id for call in page.items]
        cursor = page.next_cursor
        if cursor is None:
            break
    assert seen == sorted(seen, reverse=True)
    assert len(seen) == 12
    assert ledger.stats.calls(limit=10**20).limit == 10_000


@pytest.mark.parametrize(
    "question",
    [
        lambda stats: stats.calls(limit=-1),
        lambda stats: stats.calls(limit=0),
        lambda stats: stats.calls(cursor="nonsense"),
        lambda stats: stats.calls(cursor="é"),
        lambda stats: stats.calls(cursor="OTk5OTk5OTk5OTk5OTk5OTk5OTk5OTk5OTk6YQ"),
        lambda stats: stats.overview(start="yesterday"),
        lambda stats: stats.overview(start="2026-02-30"),
        lambda stats: stats.overview(end="10000-01-01"),
        lambda stats: stats.overview(start="2026-01-01T00:00:00 02:00"),
        lambda stats: stats.overview(start=5),
        lambda stats: stats.timeseries("month", start="0001-01-01", tz="America/New_York"),
        lambda stats: stats.overview(start="2026-02-01", end="2026-01-01"),
        lambda stats: stats.overview(tz="Middle/Earth"),
        lambda stats: stats.overview(tz="../../etc/passwd"),
        lambda stats: stats.overview(tz=""),
        lambda stats: stats.overview(colour="red"),
        lambda stats: stats.overview(model=5),
        lambda stats: stats.overview(is_streaming="yes"),
        lambda stats: stats.timeseries("fortnight"),
        lambda stats: stats.timeseries("minute", start="1926-01-01", end="2026-01-01"),
        lambda stats: stats.timeseries(by="started_at"),
        lambda stats: stats.breakdown("moon"),
        lambda stats: stats.breakdown(("model", "user_id", "tag")),
        lambda stats: stats.breakdown(limit=0),
        lambda stats: stats.breakdown(order="-beauty"),
        lambda stats: stats.query(Query(measures=("beauty",))),
    ],
)
def test_a_wrong_question_is_answered_with_a_sentence(
    ledger: Ledger, question: Callable[[Stats], Any]
) -> None:
    """Whatever is wrong with a parameter, QueryError says which and never anything else is raised."""
    ledger.add()
    with pytest.raises(QueryError, match=r"^\w+: .+"):
        question(ledger.stats)


def test_any_question_can_be_asked(ledger: Ledger) -> None:
    """A Query has its answer in public units, under public names."""
    ledger.add(cost_nanos=1_500_000_000, duration_us=2500, provider="p")
    question = Query(
        ("calls", "cost_usd", "duration_ms", "first_started_at"), by="provider", granularity="day"
    )
    assert ledger.stats.query(question.where(start="2026-01-01", tz="UTC")) == [
        {
            "period": NEW_YEAR,
            "provider": "p",
            "calls": 1,
            "cost_usd": 1.5,
            "duration_ms": 2.5,
            "first_started_at": NEW_YEAR,
        }
    ]


def test_answers_are_json(ledger: Ledger) -> None:
    """Every answer is JSON as it stands, with times in ISO 8601."""
    ledger.add(model="m", total_tokens=1, duration_us=5, session_id="s")
    ledger.add(status="error", error_type="E")
    stats = ledger.stats
    answers = (
        stats.overview(), stats.token_statistics(), stats.breakdown(("model", "status")), stats.timeseries(),
        stats.latency("model"), stats.error_statistics(), stats.calls(), stats.usage_stats(),
        stats.detailed_stats(start="2026-01-01"),
    )  # fmt: skip
    for answer in answers:
        json.loads(answer.model_dump_json())
    assert json.loads(stats.overview().model_dump_json())["last_started_at"] == "2026-01-01T00:00:00Z"
    assert json.loads(stats.calls().model_dump_json())["items"][0]["error_type"] == "E"


# --- where the calls are -------------------------------------------------------------------------


@pytest.fixture
def url(tmp_path: Path) -> str:
    """A database that a tracker has written two calls to."""
    url = f"sqlite:///{tmp_path}/usage.db"
    with Tracker(url) as tracker:
        for _ in range(2):
            tracker.finish(tracker.start(model="m"), usage={"prompt_tokens": 1, "completion_tokens": 2})
    return url


def test_stats_take_a_url_an_engine_or_a_store(url: str) -> None:
    """The same answer from each; only what was opened by us is closed by us."""
    engine = sa.create_engine(url)
    store = open_store(url)
    for source in (url, engine, store):
        stats = Stats(source)
        assert stats.overview().total_tokens == 6
        stats.close()
    with engine.connect() as connection:
        assert connection.exec_driver_sql("SELECT count(*) FROM llm_call").scalar() == 2
    assert store.positions() is not None
    store.close()
    engine.dispose()


def test_a_relative_url_is_the_trackers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, url: str) -> None:
    """`sqlite:///usage.db` means the file in the working directory, as it does for a tracker."""
    monkeypatch.chdir(tmp_path)
    stats = Stats("sqlite:///usage.db")
    assert stats.overview().calls == 2
    stats.close()


def test_stats_see_what_another_program_has_only_journalled(tmp_path: Path) -> None:
    """Calls that a program acknowledged and did not live to store are imported before the answer."""
    url = f"sqlite:///{tmp_path}/usage.db"
    code = (
        "import os, tokentrail\n"
        f"tracker = tokentrail.Tracker({url!r})\n"
        "tracker.record(model='m', usage={'prompt_tokens': 4, 'completion_tokens': 1})\n"
        "tracker.start(model='m')\n"
        "os._exit(0)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
    stats = Stats(url)
    overview = stats.overview()
    assert (overview.calls, overview.total_tokens, overview.interrupted_calls) == (2, 5, 1)
    stats.close()


def test_a_store_that_cannot_be_opened_is_said_when_asked(tmp_path: Path) -> None:
    """Making a Stats costs nothing and raises nothing; the question says what is wrong."""
    (tmp_path / "file").write_text("")
    with pytest.raises(StoreError):
        Stats(f"sqlite:///{tmp_path}/file/usage.db").overview()
    with pytest.raises(ConfigurationError):
        Stats("mysql://x").overview()


def test_estimates_are_told_apart(ledger: Ledger) -> None:
    """Totals say how much of them no provider has reported."""
    told = {"input_tokens": 100, "output_tokens": 10, "total_tokens": 110, "cost_nanos": 3_000_000}
    guess = {"input_tokens": 7, "output_tokens": 3, "total_tokens": 10, "cost_nanos": 1_000_000}
    ledger.add(usage_source="provider", **told)
    ledger.add(usage_source="estimated", **guess)
    ledger.add(usage_source="missing")
    summary = ledger.stats.token_statistics().summary
    assert (summary.total_tokens, summary.estimated_total_tokens, summary.estimated_calls) == (120, 10, 1)
    (group,) = ledger.stats.query(Query(measures=("cost_usd", "estimated_cost_usd")))
    assert (group["cost_usd"], group["estimated_cost_usd"]) == (0.004, 0.001)
