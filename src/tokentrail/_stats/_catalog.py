"""STATS: the named statistics, one entry each. Command line, HTTP and documentation read this table.

A statistic is a method of `Stats`; everything else about it is told by the method itself: its parameters by
the signature, their bounds by the annotations, what they mean by the docstring.
"""

from __future__ import annotations

import inspect
import re
import types
import typing
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from pydantic import BaseModel

from tokentrail._stats._arguments import FILTER_HELP, FilterArguments, OneOf, Within
from tokentrail._stats._stats import Stats
from tokentrail.errors import QueryError

REQUIRED: Final = inspect.Parameter.empty
"""The default of a parameter that has none."""


@dataclass(frozen=True)
class Parameter:
    """One argument of a statistic."""

    name: str
    type: type
    """`str`, `int`, `float` or `bool`; of each value, where there may be several."""
    default: Any = None
    """`REQUIRED`, or what holds if it is not given."""
    several: bool = False
    """Whether it may be given more than once."""
    choices: tuple[str, ...] = ()
    """Where only certain words are allowed."""
    least: int | None = None
    most: int | None = None
    """The highest value that has an effect; a higher one is taken for it."""
    help: str = ""

    @property
    def required(self) -> bool:
        """Whether there is no answer without it."""
        return self.default is REQUIRED


@dataclass(frozen=True)
class Statistic:
    """A question with a name."""

    name: str
    """The method of `Stats`."""
    path: str
    """Where HTTP has it, below the prefix; `{session_id}` in it is a parameter."""
    answer: type[BaseModel]
    may_be_missing: bool
    """Whether the answer may be `None`: there is no such thing."""
    summary: str
    parameters: tuple[Parameter, ...]
    """Its own ones, without the filters."""
    filtered: bool
    """Whether it takes the `FILTERS`."""

    @property
    def filters(self) -> tuple[Parameter, ...]:
        """The filters it takes."""
        own = {each.name for each in self.parameters}
        return tuple(each for each in FILTERS if each.name not in own) if self.filtered else ()

    def ask(self, stats: Stats, **arguments: Any) -> Any:
        """The answer; `None` only if `may_be_missing`.

        Raises:
            QueryError: a parameter is wrong or unknown; the sentence names it.
            StoreError: the store cannot be read.
        """
        known = {each.name for each in (*self.parameters, *self.filters)}
        for name in arguments.keys() - known:
            raise QueryError(
                f"{name}: {self.name} has no such parameter. It has: {', '.join(sorted(known))}."
            )
        for each in self.parameters:
            if each.required and arguments.get(each.name) is None:
                raise QueryError(f"{each.name}: {self.name} needs it.")
        return getattr(stats, self.name)(**arguments)


# --- from a method to an entry -------------------------------------------------------------------


def statistic(method: Callable[..., Any], path: str) -> Statistic:
    """The entry of a method of `Stats`."""
    hints = typing.get_type_hints(method, include_extras=True)
    signature = inspect.signature(method).parameters
    told = _arguments_section(method)
    filtered = any(each.kind is each.VAR_KEYWORD for each in signature.values())
    own = [
        _parameter(name, hints[name], each.default, told.get(name, ""))
        for name, each in signature.items()
        if name != "self"
        and each.kind is not each.VAR_KEYWORD
        and (not filtered or name not in _FILTER_HINTS or each.default is REQUIRED)
    ]
    answers = _alternatives(hints["return"])
    return Statistic(
        name=method.__name__,
        path=path,
        answer=answers[0],
        may_be_missing=type(None) in answers,
        summary=_paragraph(inspect.getdoc(method) or ""),
        parameters=tuple(own),
        filtered=filtered,
    )


def _parameter(name: str, hint: Any, default: Any, help_: str) -> Parameter:
    hint, *marks = typing.get_args(hint) if typing.get_origin(hint) is typing.Annotated else (hint,)
    kinds = _alternatives(hint)
    bounds = next((mark for mark in marks if isinstance(mark, Within)), Within())
    words = next((mark for mark in marks if isinstance(mark, OneOf)), OneOf(()))
    return Parameter(
        name=name,
        type=next(kind for kind in (bool, int, float, str) if kind in kinds),
        default=default,
        several=any(typing.get_origin(kind) is Sequence for kind in kinds),
        choices=tuple(words.choices),
        least=bounds.least,
        most=bounds.most,
        help=help_,
    )


def _alternatives(hint: Any) -> tuple[Any, ...]:
    """The members of a union; a type that is none alone."""
    is_union = typing.get_origin(hint) is typing.Union or isinstance(hint, types.UnionType)
    return typing.get_args(hint) if is_union else (hint,)


def _arguments_section(method: Callable[..., Any]) -> dict[str, str]:
    """Name → what the docstring says about it."""
    _, _, section = (inspect.getdoc(method) or "").partition("\nArgs:\n")
    entries = re.findall(r"^    (\w+): (.*(?:\n {8}.*)*)", section.split("\n\n")[0], re.MULTILINE)
    return {name: _paragraph(text) for name, text in entries}


def _paragraph(text: str) -> str:
    return " ".join(text.split("\n\n")[0].split())


_FILTER_HINTS: Final = typing.get_type_hints(FilterArguments, include_extras=True)

FILTERS: Final = tuple(
    _parameter(name, hint, None, FILTER_HELP.get(name, f"Only calls of this {name}; * and ? are allowed."))
    for name, hint in _FILTER_HINTS.items()
)
"""What every filtered statistic takes besides its own parameters."""


# --- the table -----------------------------------------------------------------------------------


def _table(entries: Iterable[Statistic]) -> Mapping[str, Statistic]:
    return {each.name: each for each in entries}


STATS: Final[Mapping[str, Statistic]] = _table(
    (
        statistic(Stats.overview, "overview"),
        statistic(Stats.data, "data"),
        statistic(Stats.token_statistics, "token-statistics"),
        statistic(Stats.timeseries, "timeseries"),
        statistic(Stats.breakdown, "breakdown"),
        statistic(Stats.users, "users"),
        statistic(Stats.tags, "tags"),
        statistic(Stats.operations, "operations"),
        statistic(Stats.latency, "latency"),
        statistic(Stats.tokens_per_second, "tokens-per-second"),
        statistic(Stats.sizes, "sizes"),
        statistic(Stats.cache_savings, "cache-savings"),
        statistic(Stats.error_statistics, "errors/stats"),
        statistic(Stats.data_quality, "data-quality"),
        statistic(Stats.calls, "llm-calls"),
        statistic(Stats.call, "llm-calls/{call_id}"),
        statistic(Stats.find_large, "large-calls"),
        statistic(Stats.sessions, "sessions"),
        statistic(Stats.session_analysis, "sessions/{session_id}/analysis"),
        statistic(Stats.run_usage, "runs/{run_id}/usage"),
        statistic(Stats.messages, "messages"),
        statistic(Stats.message_details, "messages/{message_id}/details"),
        statistic(Stats.tool_calls, "tool-calls"),
        statistic(Stats.errors, "errors"),
        statistic(Stats.feedback, "feedback"),
        statistic(Stats.feedback_stats, "feedback/stats"),
        statistic(Stats.usage_stats, "usage-stats"),
        statistic(Stats.detailed_stats, "detailed-stats"),
        statistic(Stats.client_usage, "client-usage"),
        statistic(Stats.running_totals, "running-totals"),
        statistic(Stats.budgets, "budgets"),
        statistic(Stats.prices, "prices"),
    )
)
"""Name → statistic. To add one, write a method of `Stats` and name it here."""
