"""Every store answers as the memory store does."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from emptying import unpruned
from tokentrail._measures import MEASURES
from tokentrail._periods import GRANULARITIES
from tokentrail._query import DIMENSIONS, Filters, Query, filters
from tokentrail._records import COLUMN_OF, FAILED, STATUSES, Record, to_us
from tokentrail.errors import QueryError
from tokentrail.models import BudgetAlert, ModelPrice
from tokentrail.stores.base import Store

NEW_YEAR = to_us(datetime(2026, 1, 1, tzinfo=UTC))
HOUR = 3_600_000_000


def call(number: int = 0, **columns: Any) -> Record:
    """A record of an ended call; each number is an id and a minute of its own."""
    return {
        "id": f"call-{number:04}",
        "finality": 2,
        "started_at": NEW_YEAR + number * 60_000_000,
        "status": "success",
        **columns,
    }


def emptied(store: Store) -> Store:
    """The store without rows and positions."""
    store.erase(filters())
    store.append((), forget=list(store.positions()))
    unpruned(store)
    return store


def counts(appended: Any) -> tuple[int, int, int]:
    return appended.inserted, appended.replaced, appended.unchanged


@pytest.fixture(params=("memory", "sqlite", "postgresql"))
def store(request: pytest.FixtureRequest, all_stores: dict[str, Store]) -> Store:
    """An empty store of each kind in turn."""
    return emptied(all_stores[request.param])


# --- appending -----------------------------------------------------------------------------------


def test_append_is_idempotent(store: Store) -> None:
    """The same record twice, in one batch or in two, is one row and changes nothing the second time."""
    assert counts(store.append([call(1), call(1), call(2)])) == (2, 0, 1)
    assert counts(store.append([call(1), call(2)])) == (0, 0, 2)
    assert [row.id for row in store.scan(filters(), limit=9)] == ["call-0002", "call-0001"]


def test_the_stronger_end_replaces_the_weaker(store: Store) -> None:
    """A final end takes a provisional one's place whole; a provisional one never takes a final one's."""
    store.append([call(1, finality=1, status="error", error_type="Oops", input_tokens=1)])
    assert counts(store.append([call(1, finality=2, output_tokens=7)])) == (0, 1, 0)
    assert counts(store.append([call(1, finality=1, status="error")])) == (0, 0, 1)
    row = store.get("call-0001")
    assert row is not None
    assert (row.status, row.error_type, row.input_tokens, row.output_tokens) == ("success", None, None, 7)
    assert row.finality == "final"


def test_of_one_batch_the_strongest_counts(store: Store) -> None:
    """Several ends of one call in a batch become one row, in whatever order they come."""
    ends = [call(1, finality=rank, attempt=rank) for rank in (2, 1, 3)]
    for order in (ends, ends[::-1]):
        store.append(order)
        row = store.get("call-0001")
        assert row is not None
        assert row.attempt == 3


def test_settings_that_are_nearly_alike_stay_apart(store: Store) -> None:
    """What is equal in Python is not the same in JSON; a batch writes each as it came."""
    shared = {"a": True}
    settings = [
        shared,
        {"a": 1},
        {"a": 1.0},
        {"a": "1"},
        {"a": [1, True]},
        {"a": [1, 1]},
        shared,
        {"a": True},
    ]
    store.append([call(number, params=each) for number, each in enumerate(settings)])
    rows = [row.params for row in store.scan(filters(), limit=9)]
    assert list(map(repr, reversed(rows))) == list(map(repr, settings))


def test_positions_come_with_the_rows(store: Store) -> None:
    """Positions are kept, only move forward, and are forgotten when asked."""
    store.append([call(1)], [("a.seg", 10), ("b.seg", 5)])
    store.append([], [("a.seg", 4), ("b.seg", 6)])
    assert store.positions() == {"a.seg": 10, "b.seg": 6}
    store.append([], [("c.seg", 1)], forget=["a.seg", "unknown.seg"])
    assert store.positions() == {"b.seg": 6, "c.seg": 1}


@pytest.mark.parametrize(
    "bad",
    [
        {"started_at": None},
        {"status": None},
        {"input_tokens": 2**63},
        {"input_tokens": "many"},
        {"finality": 0},
        {"finality": "final"},
        {"started_at": 10**18},
        {"ended_at": -(10**17)},
    ],
)
def test_a_bad_record_stops_no_other(store: Store, bad: Record) -> None:
    """A record that cannot be a row is named with a reason, and its neighbours and positions are stored."""
    wrong = {key: value for key, value in call(2, **bad).items() if value is not None}
    appended = store.append([call(1), wrong, call(3)], [("a.seg", 9)])
    assert [refused.id for refused in appended.refused] == ["call-0002"]
    assert appended.refused[0].reason
    assert counts(appended) == (2, 0, 0)
    assert len(store.scan(filters(), limit=9)) == 2
    assert store.positions() == {"a.seg": 9}


def test_counts_that_are_unusual_are_added_up(store: Store) -> None:
    """Values below zero, and the largest there may be, are summed exactly; one more is refused."""
    appended = store.append(
        [
            call(1, model="m", input_tokens=2**53, cost_nanos=-7, output_tokens=-(2**53)),
            call(2, model="m", input_tokens=-1, cost_nanos=7, output_tokens=2**53 - 1),
            call(3, model="m", input_tokens=2**53 + 1),
            call(4, model="m", input_tokens=-(2**53) - 1),
            call(5, model="n", cost_nanos=-(2**40)),
        ]
    )
    assert [refused.id for refused in appended.refused] == ["call-0003", "call-0004"]
    asked = Query(("calls", "input_tokens", "output_tokens", "cost_usd", "total_tokens"), by=("model",))
    assert [tuple(group.values()) for group in store.aggregate(asked)] == [
        ("m", 2, 2**53 - 1, -1, 0, None),
        ("n", 1, None, None, -(2**40), None),
    ]


def test_a_refused_end_leaves_the_weaker_row(store: Store) -> None:
    """A final end that cannot be stored does not take its provisional row with it."""
    store.append([call(1, finality=1, input_tokens=5)])
    appended = store.append([call(1, finality=2, input_tokens=2**63), call(2)])
    assert counts(appended) == (1, 0, 0)
    row = store.get("call-0001")
    assert row is not None
    assert (row.finality, row.input_tokens) == ("provisional", 5)


@pytest.mark.parametrize("text", ["a\0b", "half \ud83d", "\ud800"])
def test_text_no_database_takes_is_stored_readable(store: Store, text: str) -> None:
    """A lone surrogate or a NUL costs a character, not the record or the batch."""
    appended = store.append([call(1, error_message=text), call(2)])
    assert counts(appended) == (2, 0, 0)
    assert store.get("call-0001") is not None


def test_payloads_follow_their_call(store: Store) -> None:
    """Request and answer are kept beside the call, replaced with it and pruned with it."""
    store.append([call(1, finality=1, request='{"a":1}')])
    assert store.payload("call-0001") == {"request": '{"a":1}', "response": None}
    store.append([call(1, finality=2, request='{"a":1}', response="[]")])
    assert store.payload("call-0001") == {"request": '{"a":1}', "response": "[]"}
    store.prune(datetime(2027, 1, 1, tzinfo=UTC))
    assert store.payload("call-0001") == {"request": None, "response": None}


def test_prune_deletes_what_is_older(store: Store) -> None:
    """Calls before the moment go, the moment itself stays; a naive one is UTC."""
    store.append([call(number) for number in range(5)])
    moment = datetime(2026, 1, 1, 0, 3)  # noqa: DTZ001
    assert store.prune(moment) == 3
    assert [row.id for row in store.scan(filters(), limit=9)] == ["call-0004", "call-0003"]


def test_erase_deletes_calls_as_if_they_had_never_been(store: Store) -> None:
    """A user's calls go with their payloads and leave no trace in any sum; the others stay."""
    store.append(
        [call(n, user_id="ab"[n % 2], session_id=f"s{n}", tags=["t"], request="{}") for n in range(5)]
    )
    assert store.erase(filters(user_id="b")) == 2
    assert [row.id for row in store.scan(filters(), limit=9)] == ["call-0004", "call-0002", "call-0000"]
    assert store.payload("call-0001")["request"] is None
    assert store.aggregate(Query(by=("user_id",))) == [{"user_id": "a", "calls": 3}]
    assert store.aggregate(Query(("calls", "sessions", "users"))) == [{"calls": 3, "sessions": 3, "users": 1}]
    assert len(store.sessions(filters())) == 3
    assert store.erase(filters(user_id="b")) == 0


def test_a_correction_changes_what_it_names(store: Store) -> None:
    """Facts change whatever the finality, sums follow, a column set to None is unknown, the rest stays."""
    store.append([call(1, finality=3, model="a", cost_nanos=5, input_tokens=7), call(2, cost_nanos=1)])
    corrected = store.correct(
        [
            {"id": "call-0001", "cost_nanos": 9, "cost_source": "override", "model": "b"},
            {"id": "call-0002", "cost_nanos": None},
            {"id": "call-0003", "cost_nanos": 1},
        ]
    )
    assert (corrected.replaced, corrected.unchanged, corrected.refused) == (2, 1, ())
    row = store.get("call-0001")
    assert row is not None
    assert (row.cost_usd, row.cost_source, row.input_tokens, row.finality) == (9e-9, "override", 7, "final")
    assert store.aggregate(Query(("cost_usd", "priced_calls"), by=("model",))) == [
        {"model": "b", "cost_usd": 9, "priced_calls": 1},
        {"model": None, "cost_usd": None, "priced_calls": 0},
    ]
    assert counts(store.append([call(1, finality=3, model="a")])) == (0, 0, 1)


def test_a_correction_can_be_for_one_finality(store: Store) -> None:
    """A call that was replaced since it was read is not corrected with what was true before."""
    store.append([call(1, finality=2, cost_nanos=5)])
    assert store.correct([{"id": "call-0001", "finality": 1, "cost_nanos": 9}]).unchanged == 1
    assert store.correct([{"id": "call-0001", "finality": 2, "cost_nanos": 9}]).replaced == 1


def test_a_correction_that_cannot_be_is_refused(store: Store) -> None:
    """One value that cannot be stored is named and stops no other."""
    store.append([call(1), call(2)])
    corrected = store.correct(
        [{"id": "call-0001", "input_tokens": "many"}, {"id": "call-0002", "input_tokens": 3}]
    )
    assert [refused.id for refused in corrected.refused] == ["call-0001"]
    assert corrected.replaced == 1
    assert store.aggregate(Query(("calls", "input_tokens"))) == [{"calls": 2, "input_tokens": 3}]


def test_every_column_comes_back(store: Store) -> None:
    """What a record says in storage units, a row says in public ones."""
    store.append(
        [
            call(
                1,
                finality=1,
                tags=["a", "ü"],
                seen_by=["litellm"],
                attributes={"x": [1, None, "🙂"]},
                is_streaming=True,
                cache_hit=False,
                ended_at=NEW_YEAR + 1,
                duration_us=1_234_567,
                time_to_first_token_us=1,
                cost_nanos=1,
                input_cost_nanos=2_500_000_000,
            )
        ]
    )
    row = store.get("call-0001")
    assert row is not None
    assert (row.tags, row.seen_by, row.attributes) == (["a", "ü"], ["litellm"], {"x": [1, None, "🙂"]})
    assert (row.usage_flags, row.params, row.is_byok) == ([], {}, None)
    assert (row.is_streaming, row.cache_hit, row.finality) == (True, False, "provisional")
    assert (row.duration_ms, row.time_to_first_token_ms) == (1234.567, 0.001)
    assert (row.cost_usd, row.input_cost_usd, row.output_cost_usd) == (1e-9, 2.5, None)
    assert row.ended_at == datetime(2026, 1, 1, 0, 0, 0, 1, tzinfo=UTC)


# --- pages ---------------------------------------------------------------------------------------


def test_pages_never_overlap(store: Store) -> None:
    """Newest first, ties by id; pages join without gap or repetition although the times are equal."""
    store.append([call(number, started_at=NEW_YEAR + number // 4) for number in range(10)])
    everything = [row.id for row in store.scan(filters(), limit=99)]
    assert everything == sorted(everything, reverse=True)
    pages, after = [], None
    while page := store.scan(filters(), limit=3, after=after):
        pages += [row.id for row in page]
        after = (to_us(page[-1].started_at), page[-1].id)
    assert pages == everything


def test_a_page_may_begin_later(store: Store) -> None:
    """`offset` leaves out the newest."""
    store.append([call(number) for number in range(5)])
    assert [row.id for row in store.scan(filters(), limit=2, offset=1)] == ["call-0003", "call-0002"]
    assert store.scan(filters(), limit=2, offset=5) == []


def test_calls_that_a_measure_counts_can_be_looked_at(store: Store) -> None:
    """The tests of a measure find the calls that it counts."""
    store.append(
        [
            call(1, usage_flags=["invalid:input_tokens"], ended_at=NEW_YEAR),
            call(2, usage_flags=["invalidated", "total_mismatch"], request_bytes=5),
            call(3, request_bytes=4, response_bytes=2, usage_flags=[]),
            call(4),
        ]
    )

    def found(*when: Any, **more: Any) -> list[str]:
        return [row.id[-1] for row in store.scan(filters(), limit=9, when=when, **more)]

    for name, ids in (("invalid", "1"), ("total_mismatch", "2"), ("backward", "1"), ("warning", "")):
        assert found(*MEASURES[f"{name}_calls"].when) == list(ids)
    assert found(("size_bytes", "at_least", 5)) == ["3", "2"]
    assert found(("request_bytes", "at_least", 5)) == ["2"]
    assert found(largest="request_bytes") == ["2", "3", "4", "1"]
    assert found(largest="size_bytes") == ["3", "2", "4", "1"]


# --- sessions ------------------------------------------------------------------------------------


def test_sessions_come_with_all_they_used(store: Store) -> None:
    """One call in the window is enough for a session to be meant, and then all of it is shown."""
    store.append(
        [
            call(1, session_id="a", cost_nanos=5, model="m"),
            call(2, session_id="b", cost_nanos=9),
            call(3, session_id="a", status="error"),
            call(4),
            call(5, session_id="c"),
        ]
    )
    found = store.sessions(filters())
    assert [group["session_id"] for group in found] == ["c", "a", "b"]
    session = found[1]
    assert (session["calls"], session["error_calls"], session["cost_usd"]) == (2, 1, 5)
    assert session["first_started_at"] == NEW_YEAR + 60_000_000
    assert session["last_started_at"] == NEW_YEAR + 180_000_000
    by_model = store.sessions(filters(model="m"))
    assert [(group["session_id"], group["calls"]) for group in by_model] == [("a", 2)]
    windowed = store.sessions(filters(start="2026-01-01T00:02Z", end="2026-01-01T00:03Z"))
    assert [group["session_id"] for group in windowed] == ["b"]
    between = store.sessions(filters(start="2026-01-01T00:01:30Z", end="2026-01-01T00:01:40Z"))
    assert between == []
    active = store.sessions(filters(), active_since=NEW_YEAR + 180_000_000)
    assert [group["session_id"] for group in active] == ["c", "a"]


@pytest.mark.parametrize("order", ["cost_usd", "-cost_usd", "-calls", "last_started_at"])
def test_pages_of_sessions_join(store: Store, order: str) -> None:
    """Any order, unknown last, ties by id: pages join without gap or repetition."""
    costs = (5, None, 5, 1, None, 7)
    store.append([call(n, session_id=f"s{n}", cost_nanos=cost) for n, cost in enumerate(costs)])
    everything = list(store.sessions(filters(), order=order))
    assert len(everything) == 6
    if order == "-cost_usd":
        assert [group["session_id"] for group in everything] == ["s5", "s0", "s2", "s3", "s1", "s4"]
    pages: list[dict[str, Any]] = []
    after = None
    while page := store.sessions(filters(), order=order, limit=2, after=after):
        pages += page
        after = (page[-1][order.removeprefix("-")], page[-1]["session_id"])
    assert pages == everything


def test_an_order_there_is_not_is_said(store: Store) -> None:
    """The sentence lists the orders there are."""
    with pytest.raises(QueryError, match="order: 'cost' is unknown"):
        store.sessions(filters(), order="-cost")


# --- filters -------------------------------------------------------------------------------------

HOSTILE = (
    "50%",
    "a_b",
    "a\\b",
    "it's",
    '"quoted"',
    "שלום",
    "🙂🙂",
    "*",
    "?",
    "[x]",
    "",
    " ",
    "Ä",
    "ä",
    "a,b",
    '","',
)


@pytest.mark.parametrize("text", HOSTILE)
def test_a_filter_finds_exactly_its_text(store: Store, text: str) -> None:
    """An id or tag with any character in it is found by itself, and by nothing that looks like it."""
    store.append([call(n, user_id=other, tags=[other, "x"]) for n, other in enumerate(HOSTILE)])
    pattern = "*" in text or "?" in text
    for asked in (filters(user_id=text), filters(tag=text)):
        found = [row.user_id for row in store.scan(asked, limit=99)]
        assert text in found
        assert pattern or found == [text]


def test_patterns_and_names_ignore_case(store: Store) -> None:
    """`*` and `?` match, without minding case; so do whole names of models and providers; ids are exact."""
    store.append(
        [call(n, model=name, user_id=name) for n, name in enumerate(("GPT-4o", "gpt-4", "gpt-35", "x"))]
    )

    def models(**wanted: Any) -> set[str | None]:
        return {row.model for row in store.scan(filters(**wanted), limit=9)}

    assert models(model="gpt-4O") == {"GPT-4o"}
    assert models(model="GPT-*") == {"GPT-4o", "gpt-4", "gpt-35"}
    assert models(model=["gpt-?", "X"]) == {"gpt-4", "x"}
    assert models(user_id="GPT-4") == set()
    assert models(user_id="GPT-?") == {"gpt-4"}


def test_a_filter_lets_nothing_unknown_pass(store: Store) -> None:
    """A call without a model passes no model filter, not even `*`; `None` in a list asks for it."""
    store.append([call(1, provider="p"), call(2, model="m", tags=["t"])])
    assert [row.id for row in store.scan(filters(model="*"), limit=9)] == ["call-0002"]
    assert [row.id for row in store.scan(filters(model=[None]), limit=9)] == ["call-0001"]
    assert [row.id for row in store.scan(filters(tag=[None]), limit=9)] == ["call-0001"]
    assert len(store.scan(filters(model=[None, "m"]), limit=9)) == 2
    assert len(store.scan(filters(model=None), limit=9)) == 2


def test_more_values_than_a_statement_has_parameters(store: Store) -> None:
    """A filter with ten thousand values is one question like any other."""
    store.append([call(n, user_id=f"u{n}") for n in range(3)])
    many = [f"u{n}" for n in range(1, 40_000)]
    assert len(store.scan(filters(user_id=many), limit=9)) == 2


# --- aggregates ----------------------------------------------------------------------------------


def test_unknown_is_not_zero(store: Store) -> None:
    """A sum of nothing but unknown values is unknown; one known value makes it known."""
    store.append([call(1, model="a"), call(2, model="b", input_tokens=0), call(3, model="b")])
    by_model = Query(measures=("calls", "input_tokens", "cost_usd"), by=("model",))
    assert store.aggregate(by_model) == [
        {"model": "a", "calls": 1, "input_tokens": None, "cost_usd": None},
        {"model": "b", "calls": 2, "input_tokens": 0, "cost_usd": None},
    ]


def test_an_empty_store_has_one_total_and_no_groups(store: Store) -> None:
    """The total over no calls is one row of zero calls; groups and periods there are none."""
    assert store.aggregate(Query(measures=("calls", "sessions"))) == [{"calls": 0, "sessions": 0}]
    assert store.aggregate(Query(by=("model",))) == []
    assert store.aggregate(Query(granularity="day")) == []


def test_the_largest_groups_are_cut_by_the_store_as_by_python(store: Store) -> None:
    """Order and limit: largest first, ties by name, unknown last."""
    store.append(
        [call(n, user_id=name, input_tokens=tokens) for n, (name, tokens) in enumerate(
            [("b", 5), ("a", 5), ("Z", 5), ("c", 9), ("d", None), (None, 5)]
        )]
    )  # fmt: skip
    asked = Query(measures=("input_tokens",), by=("user_id",), order="-input_tokens", limit=5)
    assert [group["user_id"] for group in store.aggregate(asked)] == ["c", "Z", "a", "b", None]


def test_a_call_counts_under_each_of_its_tags(store: Store) -> None:
    """Grouped by tag, a call with two tags is in both groups and one without is in the group `None`."""
    store.append([call(1, tags=["a", "b"]), call(2, tags=["a"]), call(3), call(4, tags=[])])
    assert store.aggregate(Query(by=("tag",))) == [
        {"tag": "a", "calls": 2},
        {"tag": "b", "calls": 1},
        {"tag": None, "calls": 2},
    ]


@pytest.mark.parametrize(
    ("zone", "day", "hours"),
    [
        ("America/New_York", datetime(2026, 3, 8), 23),  # noqa: DTZ001
        ("America/New_York", datetime(2026, 11, 1), 25),  # noqa: DTZ001
        ("Asia/Kathmandu", datetime(2026, 3, 8), 24),  # noqa: DTZ001
        ("Australia/Lord_Howe", datetime(2026, 4, 5), 25),  # noqa: DTZ001
        ("UTC", datetime(2026, 3, 8), 24),  # noqa: DTZ001
    ],
)
def test_days_are_local_days(store: Store, zone: str, day: datetime, hours: int) -> None:
    """A day in a time zone has all its quarter hours, 23, 24 or 25 hours of them, and no others."""
    asked = filters(start=day, end=day.date(), tz=zone)
    assert asked.start_us is not None
    assert asked.end_us is not None
    quarters = range(asked.start_us - HOUR, asked.end_us + HOUR, HOUR // 4)
    store.append([call(n, started_at=moment) for n, moment in enumerate(quarters)])
    whole = store.aggregate(Query(granularity="day", filters=asked))
    assert [group["period"] for group in whole] == [asked.start_us]
    assert whole[0]["calls"] == (asked.end_us - asked.start_us) // (HOUR // 4)
    by_hour = store.aggregate(Query(granularity="hour", filters=asked))
    assert sum(group["calls"] for group in by_hour) == whole[0]["calls"]
    assert len(by_hour) == hours


# --- all of it, at random ------------------------------------------------------------------------

TEXTS = st.one_of(
    st.sampled_from(("gpt-4o", "GPT-4O", "claude", *HOSTILE)),
    st.text(st.characters(exclude_categories=("Cs",), exclude_characters="\0"), max_size=6),
)
NUMBERS = st.one_of(st.integers(0, 5), st.integers(0, 2**40))
MOMENTS = st.one_of(
    st.integers(0, 400 * 24).map(lambda hour: NEW_YEAR + hour * HOUR),
    st.integers(0, 3 * 24 * HOUR).map(lambda us: NEW_YEAR + 66 * 24 * HOUR + us),
)
OPTIONAL: dict[str, st.SearchStrategy[Any]] = {
    **{
        COLUMN_OF.get(name, name): TEXTS
        for name in ("model", "provider", "user_id", "session_id", "error_type")
    },
    **dict.fromkeys(("input_tokens", "output_tokens", "total_tokens", "reasoning_tokens"), NUMBERS),
    **dict.fromkeys(("cost_nanos", "duration_us", "time_to_first_token_us", "request_bytes"), NUMBERS),
    **{name: st.booleans() for name in ("is_streaming", "cache_hit")},
    "ended_at": MOMENTS,
    "response_bytes": NUMBERS,
    "operation_id": st.sampled_from(("one", "two")),
    "attempt_kind": st.sampled_from(("first", "retry", "fallback")),
    "usage_flags": st.lists(
        st.sampled_from(("invalid:total_tokens", "invalidated", "total_mismatch", "warning:50%")), max_size=2
    ),
    "tags": st.lists(TEXTS, max_size=3, unique=True),
    "params": st.dictionaries(TEXTS, st.one_of(NUMBERS, TEXTS), max_size=2),
    "call_type": st.sampled_from(("chat", "embedding", "agent_step")),
}
RECORDS = st.fixed_dictionaries(
    {
        "id": st.integers(0, 12).map("call-{:02}".format),
        "finality": st.integers(0, 3),
        "started_at": MOMENTS,
        "status": st.sampled_from(STATUSES),
    },
    optional=OPTIONAL,
)
BATCHES = st.lists(
    st.tuples(
        st.lists(RECORDS, max_size=8),
        st.lists(st.tuples(st.sampled_from("ab"), st.integers(0, 9)), max_size=2),
        st.lists(st.sampled_from("ab"), max_size=1),
    ),
    max_size=4,
)


@settings(max_examples=60, deadline=None)
@given(batches=BATCHES)
def test_any_history_leaves_the_same_rows(all_stores: dict[str, Store], batches: Any) -> None:
    """Whatever is appended in whatever order, every store holds the same rows and positions."""
    for store in all_stores.values():
        emptied(store)
    for batch in batches:
        results = {kind: store.append(*batch) for kind, store in all_stores.items()}
        told = {kind: (*counts(one), [r.id for r in one.refused]) for kind, one in results.items()}
        assert told["sqlite"] == told["postgresql"] == told["memory"]
    rows = {
        kind: [row.model_dump() for row in store.scan(filters(), limit=99)]
        for kind, store in all_stores.items()
    }
    assert rows["sqlite"] == rows["memory"]
    assert rows["postgresql"] == rows["memory"]
    assert len({str(sorted(store.positions().items())) for store in all_stores.values()}) == 1


@st.composite
def questions(draw: st.DrawFn) -> Query:
    """Any question that can be asked."""
    granularity = draw(st.none() | st.sampled_from(("hour", "day", "week", "month")))
    names = [name for name in MEASURES if granularity is None or MEASURES[name].op != "distinct"]
    measures = tuple(draw(st.lists(st.sampled_from(names), min_size=1, max_size=6, unique=True)))
    dimensions = ("model", "tag", "is_streaming", "status", "user_id", "duration_ms", "call_type")
    by = tuple(draw(st.lists(st.sampled_from(dimensions), max_size=2, unique=True)))
    order = draw(
        st.none() | st.sampled_from([f"{sign}{name}" for name in (*measures, *by) for sign in ("", "-")])
    )
    return Query(
        measures=measures,
        by=by,
        filters=draw(wanted()),
        granularity=granularity,
        order=order,
        limit=draw(st.none() | st.integers(1, 3)),
    )


@st.composite
def wanted(draw: st.DrawFn) -> Filters:
    """Any filters."""
    patterns = st.one_of(TEXTS, st.sampled_from(("gpt*", "*", "?", "g?t-*", "*4O")), st.none())
    chosen: dict[str, Any] = {
        name: draw(st.lists(patterns, min_size=1, max_size=3))
        for name in draw(st.lists(st.sampled_from(("model", "user_id", "tag", "provider")), max_size=2))
    }
    if draw(st.booleans()):
        chosen["is_streaming"] = draw(st.booleans() | st.just([False, None]))
    if draw(st.booleans()):
        chosen["status"] = list(FAILED)
    if draw(st.booleans()):
        day = datetime(2026, 1, 1, tzinfo=UTC) + timedelta(days=draw(st.integers(0, 90)))
        chosen |= {"start": day, "end": day + timedelta(days=draw(st.integers(0, 300)))}
    zones = ("UTC", "America/New_York", "Asia/Kathmandu", "Australia/Lord_Howe", "Africa/Casablanca")
    return filters(**chosen, tz=draw(st.sampled_from(zones)))


@settings(max_examples=120, deadline=None)
@given(records=st.lists(RECORDS, max_size=12), asked=st.lists(questions(), min_size=1, max_size=4))
def test_any_question_has_the_same_answer(
    all_stores: dict[str, Store], records: list[Record], asked: list[Query]
) -> None:
    """Filters, groups, periods, orders and limits mean the same everywhere."""
    for store in all_stores.values():
        emptied(store).append(records)
    for question in asked:
        expected = all_stores["memory"].aggregate(question)
        assert all_stores["sqlite"].aggregate(question) == expected
        assert all_stores["postgresql"].aggregate(question) == expected


def test_every_dimension_and_granularity_can_be_asked(store: Store) -> None:
    """No field is left that a question may name and a store cannot compile."""
    store.append([call(1, model="m", tags=["t"], duration_us=5)])
    for name in DIMENSIONS:
        assert len(store.aggregate(Query(measures=tuple(MEASURES), by=(name,)))) == 1
    for granularity in GRANULARITIES:
        assert len(store.aggregate(Query(granularity=granularity))) == 1


# --- small tables --------------------------------------------------------------------------------


def test_rows_of_small_tables_are_kept_by_key(store: Store) -> None:
    """The same key replaces, whole; what comes back is a copy, in public units."""
    for row in store.kept(ModelPrice):
        store.discard(ModelPrice, row.id)
    moment = datetime(2026, 1, 1, tzinfo=UTC)
    store.keep(ModelPrice(id="b", model="m", valid_from=moment, input_per_million=0.15))
    store.keep(ModelPrice(id="b", model="m", output_per_million=0.000000001))
    store.keep(ModelPrice(id="a", model="n", valid_from=moment, input_per_million=0.15))
    first, second = store.kept(ModelPrice)
    assert (first.id, first.valid_from, first.input_per_million) == ("a", moment, 0.15)
    assert (second.valid_from, second.input_per_million, second.output_per_million) == (None, None, 1e-9)
    first.model = "changed"
    assert store.kept(ModelPrice)[0].model == "n"
    assert (store.discard(ModelPrice, "a"), store.discard(ModelPrice, "a")) == (True, False)
    assert [row.id for row in store.kept(ModelPrice)] == ["b"]


def test_of_several_who_claim_one_is_told_yes(store: Store) -> None:
    """Threads, and through the database processes, agree on who came first."""
    for row in store.kept(BudgetAlert):
        store.discard(BudgetAlert, row.id)

    def claim(number: int) -> bool:
        moment = datetime(2026, 1, 1, tzinfo=UTC)
        return store.claim(BudgetAlert(id="x", budget=f"{number}", threshold=0.8, fired_at=moment))

    with ThreadPoolExecutor(8) as threads:
        told = list(threads.map(claim, range(16)))
    assert told.count(True) == 1
    (kept,) = store.kept(BudgetAlert)
    assert (kept.budget, kept.threshold) == (str(told.index(True)), 0.8)
