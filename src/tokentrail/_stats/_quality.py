"""What is doubtful about the calls that were recorded, how often, where to look, and what to do about it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any, Final, NamedTuple

from tokentrail._measures import MEASURES
from tokentrail._query import Filters, Query
from tokentrail._stats._amounts import added, coverage
from tokentrail._stats._answers import Answer, Coverage, Found
from tokentrail._stats._ask import Ask


class Suspect(Answer):
    """How often one model of one provider shows a signal."""

    provider: str | None
    model: str | None
    count: int
    share: float
    """Of the calls of this model."""


class Signal(Answer):
    """Something to look at."""

    code: str
    count: int
    share: float
    """Of all calls, between 0 and 1."""
    example_id: str | None
    """The newest call that shows it."""
    hint: str
    """What it means, and what to do about it."""
    by_model: list[Suspect]
    """Where it happens, most first; at most ten."""


class DataQuality(Found):
    """How far the answers can be trusted."""

    calls: int
    signals: list[Signal]
    """Only what occurs, in the order of how much it matters."""
    coverage: Coverage


class _Check(NamedTuple):
    code: str
    measure: str
    """Counts the calls that show it."""
    hint: str


CHECKS: Final = (
    _Check(
        "stream_without_usage",
        "missing_usage_stream_calls",
        "Streams that ended without usage. OpenAI and compatible servers send it only on request: pass "
        'stream_options={"include_usage": True} (LangChain: stream_usage=True), or set '
        "TOKENTRAIL_ASK_FOR_USAGE=true and tokentrail asks for it.",
    ),
    _Check(
        "missing_usage",
        "missing_usage_other_calls",
        "Successful calls whose answer had no usage: their tokens and cost are unknown and in no total. See "
        "what the server answers (capture='full' keeps the response); TOKENTRAIL_ESTIMATE_MISSING=true fills "
        "in estimates, marked as such.",
    ),
    _Check(
        "zero_token_success",
        "zero_token_success_calls",
        "Successful calls that reported 0 tokens. Often a proxy or gateway writes zeros where it does not "
        "know: look at the example, and at the gateway's usage settings.",
    ),
    _Check(
        "unpriced_model",
        "unpriced_calls",
        "Calls with known tokens whose model has no known price: they are in no sum of cost. Set your own "
        "price (tracker.register_model_price(…) or `tokentrail prices set`), or correct the model's name.",
    ),
    _Check(
        "estimated_usage",
        "estimated_calls",
        "Calls whose tokens were estimated, because nobody reported any. They are in the totals.",
    ),
    _Check(
        "total_mismatch",
        "total_mismatch_calls",
        "The reported total is less than input and output together; their sum was taken. The provider or a "
        "gateway counts differently from its own parts: compare the example with its bill.",
    ),
    _Check(
        "invalid_usage",
        "invalid_calls",
        "A field of the usage was no number; it counts as unknown. See usage_flags of the example.",
    ),
    _Check(
        "negative_usage",
        "negative_calls",
        "A field of the usage was below zero; it counts as unknown. See usage_flags of the example.",
    ),
    _Check(
        "usage_not_mapping",
        "usage_not_mapping_calls",
        "What came as usage was no object at all. See the answer of the example (capture='full' keeps it).",
    ),
    _Check(
        "parts_added",
        "parts_added_calls",
        "Cached or reasoning tokens were told beside the whole and not inside; they were added to it. "
        "Nothing to do, unless the totals look too high for this provider.",
    ),
    _Check(
        "interrupted",
        "interrupted_calls",
        "Calls whose process died while they ran: what they used is unknown. Look for kills and crashes at "
        "that time; tracker.close() before the end lets running calls finish.",
    ),
    _Check(
        "abandoned",
        "abandoned_calls",
        "Streams that nobody read to the end or closed. Read them to the end, or close them (async with, "
        "aclose()), so that their end and usage are seen.",
    ),
    _Check(
        "unnamed_model",
        "unnamed_calls",
        "Calls without the name of a model: they have no price. Pass model= where they are started.",
    ),
    _Check(
        "clock_went_back",
        "backward_calls",
        "Calls that ended before they began: the clock of their host was set back meanwhile. Durations are "
        "right (they are measured by another clock); check the time synchronisation of the host.",
    ),
    _Check(
        "warnings",
        "warning_calls",
        "Calls about which a door noted a doubt. See usage_flags of the example.",
    ),
)
"""What is looked for, the gravest first."""

IN_THE_FUTURE: Final = _Check(
    "clock_ahead",
    "calls",
    "Calls that start in the future: the clock of their host is ahead, so they miss in windows that end now.",
)
_TOLERANCE_US: Final = 5 * 60 * 1_000_000
_HOUR_US: Final = 3_600 * 1_000_000
_MEASURES: Final = (
    "calls", "billed_calls", "counted_calls", "priced_calls", *(check.measure for check in CHECKS),
)  # fmt: skip
_MOST_SUSPECTS: Final = 10

Counts = dict[tuple[str | None, str | None], int]
"""Calls by provider and model."""


def data_quality(ask: Ask, asked: Filters, now_us: int) -> DataQuality:
    """Every signal that occurs."""
    models = ask(_MEASURES, asked, by=("provider", "model"))
    whole = {**dict.fromkeys(_MEASURES, 0), **added(models)}
    calls = _counts(models, "calls")
    signals = [
        _signal(check, _counts(models, check.measure), calls, asked, ask)
        for check in CHECKS
        if whole[check.measure]
    ]
    ahead = now_us + _TOLERANCE_US
    future = replace(asked, start_us=ahead if asked.start_us is None else max(ahead, asked.start_us))
    if future.end_us is None or future.end_us > ahead:
        seen = _counts(ask(("calls",), future, by=("provider", "model")), "calls")
        if seen:
            signals.append(_signal(IN_THE_FUTURE, seen, calls, future, ask))
    return DataQuality(calls=whole["calls"], signals=signals, coverage=coverage(whole), method=ask.method)


def _counts(models: Sequence[dict[str, Any]], measure: str) -> Counts:
    return {(group["provider"], group["model"]): group[measure] for group in models if group[measure]}


def _newest(ask: Ask, asked: Filters, measure: str) -> Filters:
    """The same calls, in the newest hour that has one to show: from now on back may be all there are."""
    if ask.method != "rollup":
        return asked
    for granularity, longest in (("day", 26 * _HOUR_US), ("hour", _HOUR_US)):
        groups = ask.store.aggregate(Query((measure,), filters=asked, granularity=granularity))
        begin = max((group["period"] for group in groups if group[measure]), default=None)
        if begin is None:
            return asked
        start = begin if asked.start_us is None else max(begin, asked.start_us)
        end = begin + longest if asked.end_us is None else min(begin + longest, asked.end_us)
        asked = replace(asked, start_us=start, end_us=end)
    return asked


def _signal(check: _Check, seen: Counts, calls: Counts, asked: Filters, ask: Ask) -> Signal:
    count = sum(seen.values())
    where = _newest(ask, asked, check.measure)
    example = ask.store.scan(where, limit=1, when=MEASURES[check.measure].when)
    most = sorted(seen, key=lambda names: seen[names], reverse=True)[:_MOST_SUSPECTS]
    return Signal(
        code=check.code,
        count=count,
        share=count / sum(calls.values()),
        example_id=example[0].id if example else None,
        hint=check.hint,
        by_model=[
            Suspect(provider=names[0], model=names[1], count=seen[names], share=seen[names] / calls[names])
            for names in most
        ],
    )
