"""`daily`, `weekly`, `monthly`: what was used, period by period, with a total."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final

from tokentrail._cli.ledger import opened, plain, say_nothing, shown
from tokentrail._cli.show import COUNT, DOLLARS, TEXT, UNKNOWN, Show, put_json

if TYPE_CHECKING:
    from tokentrail._settings import Settings
    from tokentrail._stats import Stats
    from tokentrail._stats._answers import Amounts, Point

PERIODS: Final[Mapping[str, str]] = {"day": "%Y-%m-%d", "week": "%Y-%m-%d", "month": "%Y-%m"}
"""Granularity → how the beginning of a period is written."""
_NAMES: Final = {"day": "daily", "week": "weekly", "month": "monthly"}
_AMOUNTS: Final = (
    ("calls", "calls", COUNT),
    ("input", "input_tokens", COUNT),
    ("output", "output_tokens", COUNT),
    ("cache create", "cache_creation_tokens", COUNT),
    ("cache read", "cache_read_tokens", COUNT),
    ("total tokens", "total_tokens", COUNT),
    ("cost", "cost_usd", DOLLARS),
)
"""Title, attribute of `Amounts`, kind."""
_MOST_MODELS: Final = 1_000


def report(
    settings: Settings, granularity: str, asked: dict[str, Any], *, breakdown: bool, as_json: bool
) -> None:
    """Show the periods in which something was used, the oldest first, and the total."""
    with opened(settings) as questions:
        total = questions.overview(**asked)
        if as_json:
            _put(questions, settings, granularity, asked, total)
        elif not total.calls:
            say_nothing(questions, settings)
        else:
            show = Show()
            periods = _periods(questions, granularity, asked)
            columns = [
                (f"{granularity} ({asked['tz']})", TEXT),
                ("models", TEXT),
                *((title, kind) for title, _, kind in _AMOUNTS),
            ]
            rows = [row for period in periods for row in _rows(*period, granularity, breakdown=breakdown)]
            show.table(columns, rows, total=("total", "", *_cells(total)))
            show_coverage(show, total)


def _periods(questions: Stats, granularity: str, asked: dict[str, Any]) -> list[tuple[Point, list[Point]]]:
    """The periods with calls, and what each model used in them."""
    models: dict[Any, list[Point]] = {}
    for point in questions.timeseries(granularity, "model", limit=_MOST_MODELS, **asked).points:
        if point.calls:
            models.setdefault(point.bucket, []).append(point)
    for of_one in models.values():
        of_one.sort(key=lambda point: str(point.key))
    points = questions.timeseries(granularity, **asked).points
    return [(point, models.get(point.bucket, [])) for point in points if point.calls]


def _rows(
    point: Point, models: Sequence[Point], granularity: str, *, breakdown: bool
) -> list[tuple[Any, ...]]:
    names = [UNKNOWN if model.key is None else str(model.key) for model in models]
    first = (f"{point.bucket:{PERIODS[granularity]}}", ", ".join(names), *_cells(point))
    if not breakdown:
        return [first]
    return [first, *(("", name, *_cells(model)) for name, model in zip(names, models, strict=True))]


def _put(
    questions: Stats, settings: Settings, granularity: str, asked: dict[str, Any], total: Amounts
) -> None:
    periods = [
        {**plain(point), "models": [plain(model) for model in models]}
        for point, models in _periods(questions, granularity, asked)
    ]
    put_json(
        _NAMES[granularity],
        database=shown(settings),
        tz=asked["tz"],
        periods=periods,
        total=plain(total),
    )


def show_coverage(show: Show, amounts: Amounts) -> None:
    """What is known of the totals: no total without its hole."""
    usage = amounts.calls - amounts.missing_usage_calls
    cost = amounts.calls - amounts.unpriced_calls
    show.line()
    show.line(f"usage known for {usage:,} of {amounts.calls:,} calls, cost for {cost:,}")


def _cells(amounts: Amounts) -> list[Any]:
    return [getattr(amounts, attribute) for _, attribute, _ in _AMOUNTS]
