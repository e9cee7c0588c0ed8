"""STATS: one table that Python, the command line and HTTP read."""

from __future__ import annotations

import inspect

import pytest
from pydantic import BaseModel

from tokentrail._query import FILTERS as FIELDS
from tokentrail._stats import Stats
from tokentrail._stats._answers import Found
from tokentrail._stats._catalog import FILTERS, REQUIRED, STATS, Statistic, statistic
from tokentrail.errors import QueryError
from tokentrail.stores.memory import MemoryStore


@pytest.mark.parametrize("entry", STATS.values(), ids=lambda entry: entry.name)
def test_an_entry_is_whole(entry: Statistic) -> None:
    """Each entry is a method of Stats with a sentence, a path, an answer, and a word on every parameter."""
    assert STATS[entry.name] is entry
    assert callable(getattr(Stats, entry.name))
    assert entry.summary.endswith(".")
    assert issubclass(entry.answer, BaseModel)
    in_path = {part[1:-1] for part in entry.path.split("/") if part.startswith("{")}
    assert in_path == {each.name for each in entry.parameters if each.required}
    for each in entry.parameters:
        assert each.help, f"{entry.name}: say in the docstring what {each.name} is"
        assert each.default is REQUIRED or each.default is None or isinstance(each.default, each.type)
        assert not each.choices or each.default is None or each.default in each.choices


def test_paths_are_apart() -> None:
    """No two statistics have one address."""
    assert len({entry.path for entry in STATS.values()}) == len(STATS)


def test_filters_are_those_of_a_question() -> None:
    """The filters of the table are fields that a question can be filtered by, the window and its zone."""
    names = [each.name for each in FILTERS]
    assert len(names) == len(set(names))
    assert set(names) - {"start", "end", "tz"} <= FIELDS
    assert all(each.help for each in FILTERS)


def test_an_entry_is_made_of_its_method() -> None:
    """Nothing of a statistic is written down twice: its method tells everything."""
    entry = statistic(Stats.breakdown, "breakdown")
    assert [each.name for each in entry.parameters] == ["by", "order", "limit"]
    by, order, limit = entry.parameters
    assert (by.several, "model" in by.choices, by.default) == (True, True, "model")
    assert (order.type, limit.type, limit.least, limit.most) == (str, int, 1, 1_000)
    assert entry.summary.startswith("Calls apart by a field")
    assert entry.filtered


def test_a_new_method_is_a_new_statistic() -> None:
    """A method that Stats gets tomorrow needs one line in the table and nothing else."""

    class Twice(BaseModel):
        twice: int

    def twice(self: Stats, number: int = 1) -> Twice:
        """Twice a number.

        Args:
            number: which one.
        """
        return Twice(twice=2 * number)

    twice.__annotations__ |= {"return": Twice}
    entry = statistic(twice, "twice")
    (number,) = entry.parameters
    assert (entry.summary, entry.filtered, number.type, number.help) == (
        "Twice a number.",
        False,
        int,
        "which one.",
    )
    assert entry.answer is Twice


def test_asking_by_name_checks_the_names() -> None:
    """An unknown parameter, or one that is missing, is a sentence."""
    stats = Stats(MemoryStore())
    assert STATS["overview"].ask(stats, model="x").calls == 0
    with pytest.raises(QueryError, match=r"^colour: overview has no such parameter"):
        STATS["overview"].ask(stats, colour="red")
    with pytest.raises(QueryError, match=r"^call_id: call needs it"):
        STATS["call"].ask(stats)
    assert STATS["call"].ask(stats, call_id="none") is None


def test_every_question_is_in_the_table() -> None:
    """A public method of Stats that says how its answer was found is a named statistic."""
    answers, waiting = set(), [Found]
    while waiting:
        answer = waiting.pop()
        answers.add(answer.__name__)
        waiting += answer.__subclasses__()
    for name, method in inspect.getmembers(Stats, inspect.isfunction):
        if not name.startswith("_") and method.__annotations__.get("return") in answers:
            assert name in STATS
