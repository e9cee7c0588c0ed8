"""Messages, feedback, sessions, tool calls and errors in every store: tellings join, whatever their order."""

from __future__ import annotations

import itertools
import random
import threading
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from emptying import unpruned
from tokentrail._neighbours import ERROR, FEEDBACK, MESSAGE, SESSION, TOOL_CALL, joined
from tokentrail._query import filters
from tokentrail._records import Record, to_us
from tokentrail.models import ToolCall
from tokentrail.models._neighbours import NEIGHBOURS
from tokentrail.stores.base import Store

NEW_YEAR = to_us(datetime(2026, 1, 1, tzinfo=UTC))


def told(kind: str, moment: int, **columns: Any) -> Record:
    """What is told of a row at a moment, in microseconds after New Year."""
    key = {FEEDBACK: {"feedback_id": "f"}, SESSION: {"session_id": "s"}}.get(kind, {})
    return {"kind": kind, "id": "row", "finality": 2, "told_at": NEW_YEAR + moment, **key, **columns}


def tool(number: int = 1, **columns: Any) -> Record:
    return {
        "kind": TOOL_CALL,
        "id": f"tool-{number}",
        "finality": 2,
        "started_at": NEW_YEAR + number,
        "status": "success",
        **columns,
    }


@pytest.fixture(params=("memory", "sqlite", "postgresql"))
def store(request: pytest.FixtureRequest, all_stores: dict[str, Store]) -> Store:
    """An empty store of each kind in turn."""
    found = all_stores[request.param]
    found.prune(datetime(9999, 1, 1, tzinfo=UTC))
    unpruned(found)
    return found


def rows(store: Store, kind: str) -> list[Record]:
    return [row.to_record() for row in store.beside(NEIGHBOURS[kind], filters(), limit=100)]


# --- joining -------------------------------------------------------------------------------------

MESSAGES = [
    told(MESSAGE, 1, role="user", status="pending", level="info", started_at=NEW_YEAR, user_id="u"),
    told(MESSAGE, 3, status="success"),
    told(MESSAGE, 2, status="error", level="warning"),
    told(MESSAGE, 4, status="pending", tags=["late"]),
    told(MESSAGE, 4, status="discarded", level="odd"),
]
OPINIONS = [
    told(FEEDBACK, 1, feedback_type="like", feedback_content="good", started_at=NEW_YEAR, user_id="u"),
    told(FEEDBACK, 2, feedback_type="dislike", inaccurate_reasons=["wrong"], started_at=NEW_YEAR + 2),
    told(FEEDBACK, 3, feedback_type="cancel", started_at=NEW_YEAR + 3),
    told(FEEDBACK, 4, feedback_type="like", started_at=NEW_YEAR + 4, session_id="s"),
    told(FEEDBACK, 4, feedback_type="dislike", started_at=NEW_YEAR + 4),
]
VISITS = [
    told(SESSION, 5, started_at=NEW_YEAR + 5, last_activity=NEW_YEAR + 5, platform="web"),
    told(SESSION, 1, started_at=NEW_YEAR + 1, last_activity=NEW_YEAR + 1, user_name="Ann"),
    told(SESSION, 9, started_at=NEW_YEAR + 9, last_activity=NEW_YEAR + 9, platform="app"),
]


def fold(tellings: list[Record]) -> Record | None:
    row: Record | None = None
    for telling in tellings:
        row = joined(row, telling) or row
    return row


@pytest.mark.parametrize("tellings", [MESSAGES, OPINIONS, VISITS], ids=["message", "feedback", "session"])
def test_the_order_of_tellings_does_not_matter(tellings: list[Record]) -> None:
    """Every permutation of every selection, and every repetition, gives the same row."""
    for count in range(1, len(tellings) + 1):
        for some in itertools.combinations(tellings, count):
            expected = fold(list(some))
            for order in itertools.permutations(some):
                assert fold([*order, order[0]]) == expected


COLUMNS = {
    MESSAGE: {
        "status": st.sampled_from(["pending", "success", "error", "discarded"]),
        "level": st.sampled_from(["info", "error"]),
        "user_id": st.sampled_from(["u1", "u2"]),
        "tags": st.lists(st.sampled_from("ab"), min_size=1, max_size=2, unique=True),
        "started_at": st.integers(NEW_YEAR, NEW_YEAR + 9),
    },
    FEEDBACK: {
        "feedback_type": st.sampled_from(["like", "dislike", "cancel"]),
        "feedback_content": st.sampled_from(["", "x", "y"]),
        "session_id": st.sampled_from(["s1", "s2"]),
        "attributes": st.dictionaries(st.sampled_from("ab"), st.integers(0, 1), min_size=1),
    },
}


@st.composite
def tellings(draw: st.DrawFn) -> list[Record]:
    """Some tellings of one row, at few moments, so that many coincide."""
    kind = draw(st.sampled_from([MESSAGE, FEEDBACK]))
    some = st.fixed_dictionaries({}, optional=COLUMNS[kind])
    return [told(kind, draw(st.integers(0, 4)), **draw(some)) for _ in range(draw(st.integers(1, 7)))]


@given(told=tellings(), seed=st.randoms(use_true_random=False))
@settings(max_examples=300, deadline=None)
def test_tellings_join_in_any_order(told: list[Record], seed: random.Random) -> None:
    """Shuffled, repeated, and joined from two rows that were built apart: the same row."""
    shuffled = [*told, *seed.choices(told, k=2)]
    seed.shuffle(shuffled)
    assert fold(shuffled) == fold(told)


@given(told=tellings(), seed=st.randoms(use_true_random=False), cut=st.integers(0, 7))
@settings(max_examples=15, deadline=None)
def test_every_store_joins_as_memory_does(
    all_stores: dict[str, Store], told: list[Record], seed: random.Random, cut: int
) -> None:
    """In any order and in any batches, every store holds the row that memory holds."""
    kind = told[0]["kind"]
    expected = fold(told)
    for store in all_stores.values():
        store.prune(datetime(9999, 1, 1, tzinfo=UTC))
        unpruned(store)
        seed.shuffle(told)
        store.append(told[:cut])
        store.append(told[cut:])
        assert rows(store, kind) == ([expected] if expected else [])


def test_an_outcome_beats_pending(store: Store) -> None:
    """A message that has ended does not pend again, whatever the clocks of two machines say."""
    store.append([told(MESSAGE, 1, status="success")])
    store.append([told(MESSAGE, 9, status="pending", role="user")])
    (row,) = rows(store, MESSAGE)
    assert (row["status"], row["role"]) == ("success", "user")


def test_an_update_may_come_first(store: Store) -> None:
    """An outcome that overtakes its message is kept, and the message then fills in the rest."""
    store.append([told(MESSAGE, 7, status="error")])
    assert rows(store, MESSAGE)[0]["started_at"] == NEW_YEAR + 7
    store.append([told(MESSAGE, 1, status="pending", started_at=NEW_YEAR + 1, session_id="s")])
    (row,) = rows(store, MESSAGE)
    assert (row["status"], row["started_at"], row["session_id"]) == ("error", NEW_YEAR + 1, "s")


def test_a_cancelled_opinion_leaves_nothing_behind(store: Store) -> None:
    """A cancellation forgets what was said before it, and only that, even if it arrives first or last."""
    before = told(
        FEEDBACK, 1, feedback_type="like", feedback_content="private", user_id="u", organization_id="o"
    )
    cancel = told(FEEDBACK, 2, feedback_type="cancel", organization_id="o")
    after = told(FEEDBACK, 3, feedback_type="dislike", organization_id="o")
    store.append([cancel])
    store.append([before])
    (row,) = rows(store, FEEDBACK)
    assert not {"feedback_type", "feedback_content", "user_id"} & row.keys()
    assert row["organization_id"] == "o"
    store.append([after])
    (row,) = rows(store, FEEDBACK)
    assert row["feedback_type"] == "dislike"
    assert "feedback_content" not in row


def test_empty_fields_do_not_overwrite_known_ones(store: Store) -> None:
    """What a later telling does not mention stays."""
    store.append([told(FEEDBACK, 1, feedback_type="like", user_id="u", feedback_content="fine")])
    store.append([told(FEEDBACK, 2, feedback_type="dislike", user_id=None)])
    (row,) = rows(store, FEEDBACK)
    assert (row["feedback_type"], row["user_id"], row["feedback_content"]) == ("dislike", "u", "fine")


# --- counting and refusing -----------------------------------------------------------------------


def test_repetitions_are_counted_as_such(store: Store) -> None:
    """New, changed and unchanged, over calls and neighbours together."""
    call = {"id": "call-1", "finality": 2, "started_at": NEW_YEAR, "status": "success"}
    first = store.append([call, tool(), MESSAGES[0], MESSAGES[1]])
    assert (first.inserted, first.replaced, first.unchanged) == (3, 1, 0)
    again = store.append([call, tool(), MESSAGES[0], MESSAGES[1]])
    assert (again.inserted, again.replaced, again.unchanged) == (0, 0, 4)


def test_the_stronger_end_of_a_tool_call_replaces_the_weaker(store: Store) -> None:
    """As for calls: a final end takes a provisional one's place whole."""
    store.append([tool(finality=1, status="interrupted", attributes={"x": 1})])
    store.append([tool(finality=2)])
    store.append([tool(finality=1, status="interrupted")])
    (row,) = rows(store, TOOL_CALL)
    assert (row["status"], "attributes" in row) == ("success", False)


@pytest.mark.parametrize(
    "bad",
    [
        tool(2, status=None),
        tool(2, started_at=10**18),
        tool(2, duration_us=2**63),
        tool(2, tool_name=7),
        tool(2, finality=0),
        {**tool(2), "kind": "novel"},
        {"kind": MESSAGE, "id": "m", "finality": 2},
        {"kind": FEEDBACK, "id": "m", "finality": 2, "told_at": NEW_YEAR},
    ],
)
def test_a_bad_neighbour_stops_no_other(store: Store, bad: Record) -> None:
    """A record that cannot be a row is named with a reason; those beside it are stored."""
    appended = store.append([tool(1), bad, tool(3)], [("a.seg", 9)])
    assert [refused.id for refused in appended.refused] == [bad["id"]]
    assert appended.refused[0].reason
    assert [row["id"] for row in rows(store, TOOL_CALL)] == ["tool-3", "tool-1"]
    assert store.positions()["a.seg"] == 9
    store.append([], forget=["a.seg"])


def test_every_column_comes_back(store: Store) -> None:
    """What a record says, a row says."""
    told_ = tool(
        1, duration_us=1_234_567, tags=["a", "ü"], attributes={"x": [1, None]}, ended_at=NEW_YEAR + 9
    )
    store.append([told_])
    (row,) = rows(store, TOOL_CALL)
    assert row == {name: value for name, value in told_.items() if name != "kind"}


def test_text_no_database_takes_is_stored_readable(store: Store) -> None:
    """A lone surrogate or a NUL costs a character, not the record."""
    appended = store.append([tool(1, tool_name="a\0b", error_message="half \ud83d")])
    assert (appended.inserted, appended.refused) == (1, ())


def test_prune_deletes_what_is_older(store: Store) -> None:
    """Rows of every kind from before the moment go; a session stays as long as it is active."""
    store.append(
        [tool(1), tool(3), told(MESSAGE, 1, status="success"), told(FEEDBACK, 1, feedback_type="like")]
    )
    store.append([told(SESSION, 1, last_activity=NEW_YEAR + 1), told(SESSION, 5, last_activity=NEW_YEAR + 5)])
    moment = datetime(2026, 1, 1, 0, 0, 0, 2, tzinfo=UTC)
    store.prune(moment)
    assert [row["id"] for row in rows(store, TOOL_CALL)] == ["tool-3"]
    assert (rows(store, MESSAGE), rows(store, FEEDBACK)) == ([], [])
    assert [row["started_at"] for row in rows(store, SESSION)] == [NEW_YEAR + 1]


# --- who inherits from whom ----------------------------------------------------------------------


@pytest.mark.parametrize("late", [False, True])
@pytest.mark.parametrize("together", [False, True])
def test_neighbours_learn_from_their_message(store: Store, late: bool, together: bool) -> None:
    """Tool calls, feedback and errors of a message are for whom it is, whichever was told first."""
    message = told(MESSAGE, 1, session_id="s", user_id="u", agent_id="a", role="user")
    others = [
        tool(1, message_id="row", user_id="own"),
        {**told(FEEDBACK, 1, feedback_type="like", message_id="row"), "id": "feedback"},
        {"kind": ERROR, "id": "e", "finality": 2, "started_at": NEW_YEAR, "message_id": "row"},
    ]
    order = [*others, message] if late else [message, *others]
    for batch in [order] if together else [[record] for record in order]:
        store.append(batch)
    for kind, user in ((TOOL_CALL, "own"), (FEEDBACK, "u"), (ERROR, "u")):
        (row,) = rows(store, kind)
        assert (row["session_id"], row["user_id"], row["agent_id"]) == ("s", user, "a")
    again = store.append(order)
    assert (again.inserted, again.replaced) == (0, 0)


def test_a_tool_call_learns_from_its_call(store: Store) -> None:
    """Without a message, the call that asked for it tells for whom it is, and for which message."""
    call = {"id": "c", "finality": 2, "started_at": NEW_YEAR, "status": "success"}
    store.append([{**call, "session_id": "s", "message_id": "m"}])
    store.append([tool(parent_id="c")])
    (row,) = rows(store, TOOL_CALL)
    assert (row["session_id"], row["message_id"]) == ("s", "m")


# --- reading -------------------------------------------------------------------------------------


def test_pages_never_overlap(store: Store) -> None:
    """Newest first, ties by id; pages join without gap or repetition although the times are equal."""
    store.append([tool(number, started_at=NEW_YEAR + number // 4) for number in range(10)])
    everything = [row.id for row in store.beside(ToolCall, filters(), limit=99)]
    pages, after = [], None
    while page := store.beside(ToolCall, filters(), limit=3, after=after):
        pages += [row.id for row in page]
        after = (to_us(page[-1].started_at), page[-1].id)
    assert pages == everything
    assert len(pages) == 10


def test_filters_and_tallies(store: Store) -> None:
    """Windows, texts, patterns, tags and unknowns select the same rows everywhere."""
    store.append(
        [
            tool(1, user_id="u1", tags=["a"]),
            tool(2, user_id="u2", tags=["a", "b"], status="error"),
            tool(3, status="error"),
        ]
    )

    def found(**where: Any) -> list[str]:
        return [row.id for row in store.beside(ToolCall, filters(**where), limit=9)]

    assert found(user_id="u?") == ["tool-2", "tool-1"]
    assert found(user_id=["u1", None]) == ["tool-3", "tool-1"]
    assert found(tag="b") == ["tool-2"]
    assert found(status="ERROR") == ["tool-3", "tool-2"]
    assert found(end=datetime(2026, 1, 1, tzinfo=UTC)) == []
    assert found(model="m") == []
    assert found(model=["m", None], is_streaming=[None]) == ["tool-3", "tool-2", "tool-1"]
    last = NEW_YEAR + 3
    assert store.tally(ToolCall, filters()) == [(3, NEW_YEAR + 1, last)]
    assert sorted(store.tally(ToolCall, filters(), ("status",))) == [
        ("error", 2, NEW_YEAR + 2, last),
        ("success", 1, NEW_YEAR + 1, NEW_YEAR + 1),
    ]
    both = NEW_YEAR + 2
    assert ("error", ["a", "b"], 1, both, both) in store.tally(ToolCall, filters(), ("status", "tags"))
    assert store.tally(ToolCall, filters(user_id="nobody")) == [(0, None, None)]


def test_concurrent_first_tellings(store: Store) -> None:
    """Many threads tell of one session for the first time at once: one row, no error."""
    errors: list[BaseException] = []
    barrier = threading.Barrier(4)

    def work(number: int) -> None:
        barrier.wait()
        try:
            for step in range(5):
                moment = number * 10 + step
                store.append(
                    [told(SESSION, moment, started_at=NEW_YEAR + moment, last_activity=NEW_YEAR + moment)]
                )
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not errors
    (row,) = rows(store, SESSION)
    assert (row["started_at"], row["last_activity"]) == (NEW_YEAR, NEW_YEAR + 34)
