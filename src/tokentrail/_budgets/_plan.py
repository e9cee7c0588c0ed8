"""Plan: a budget, checked: which calls, how much, in which window of time."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final
from zoneinfo import ZoneInfo

from tokentrail._periods import edges
from tokentrail._query import FILTERS, Exact, Wanted, filters, matcher
from tokentrail._records import MONEY, SCALES, from_us
from tokentrail.errors import ConfigurationError, QueryError

if TYPE_CHECKING:
    from tokentrail.models import Budget

USD, TOKENS = "usd", "tokens"
TOTAL: Final = "total"
CALENDAR: Final = ("hour", "day", "week", "month")
_SPAN: Final = re.compile(r"([1-9]\d{0,4})\s*(min|h|d|w)")
_UNITS: Final = {"min": 60, "h": 3_600, "d": 86_400, "w": 7 * 86_400}
_WORDS: Final = {
    "hourly": "hour",
    "daily": "day",
    "weekly": "week",
    "monthly": "month",
    "all": TOTAL,
    "lifetime": TOTAL,
}
_LONGEST_PERIOD_US: Final = 32 * 86_400 * 1_000_000
PER: Final = frozenset(FILTERS) - {"tag", "is_streaming", "is_byok", "cache_hit", "status"}
"""Fields whose values may each have a budget."""

Who = Mapping[str, Any]
"""Fields of a call that is, or will be: for whom, which model; `tags` is a list."""


@dataclass(frozen=True)
class Plan:
    """A budget; make one with `plan()`."""

    name: str
    wanted: Mapping[str, Wanted]
    per: str | None
    period: str
    zone: ZoneInfo
    unit: str
    limit: int
    """Nano-dollars, or tokens."""
    thresholds: tuple[float, ...]
    tests: Mapping[str, Callable[[Any], bool]]

    @property
    def span_us(self) -> int | None:
        """The length of a rolling window."""
        span = _SPAN.fullmatch(self.period)
        return None if span is None else int(span[1]) * _UNITS[span[2]] * 1_000_000

    def window(self, now_us: int) -> tuple[int | None, int | None]:
        """Where the window begins that a moment lies in, and where it ends, as far as it does."""
        if self.period == TOTAL:
            return None, None
        span = self.span_us
        if span is not None:
            return now_us - span, None
        beginnings = edges(now_us, now_us + _LONGEST_PERIOD_US, self.period, self.zone)
        return beginnings[0], beginnings[1]

    def covers(self, who: Who) -> bool:
        """Whether calls of these fields count."""
        return all(
            any(map(test, _tags(who))) if name == "tag" else test(who.get(name))
            for name, test in self.tests.items()
        )

    def key_of(self, who: Who) -> str | None:
        """Whose budget it is, where each value has its own."""
        return None if self.per is None else who.get(self.per)

    def due(self, used: int) -> list[float]:
        """The thresholds that are reached."""
        return [threshold for threshold in self.thresholds if used >= threshold * self.limit]

    def shown(self, amount: int) -> float:
        """An amount in dollars, or tokens."""
        return amount / SCALES[MONEY] if self.unit == USD else amount


def _tags(who: Who) -> list[str]:
    given = who.get("tags") or who.get("tag") or ()
    return [given] if isinstance(given, str) else list(given)


def plan(
    name: str,
    *,
    limit_usd: float | None = None,
    limit_tokens: int | None = None,
    period: str = "month",
    tz: str = "UTC",
    per: str | None = None,
    thresholds: Sequence[float] = (0.8, 1.0),
    **scope: Any,
) -> Plan:
    """A checked budget; `None` in the scope is no filter.

    Raises:
        ConfigurationError: the sentence names the argument.
    """
    if not name or not name.strip():
        raise ConfigurationError("name: a budget needs one.")
    unit, limit = _limit(limit_usd, limit_tokens)
    period = _WORDS.get(period, period)
    if period not in (*CALENDAR, TOTAL) and not _SPAN.fullmatch(period):
        raise ConfigurationError(
            f"period: {period!r} is none. Use {', '.join(CALENDAR)}, {TOTAL}, or a rolling span: 24h, 30d."
        )
    if per is not None and per not in PER:
        raise ConfigurationError(f"per: {per!r} is no field. There are: {', '.join(sorted(PER))}.")
    levels = tuple(sorted({float(threshold) for threshold in thresholds}))
    if any(not 0 < level <= 100 for level in levels):
        raise ConfigurationError("thresholds: shares of the limit, such as 0.8 and 1.")
    try:
        asked = filters(tz=tz, **scope)
    except QueryError as error:
        raise ConfigurationError(str(error)) from None
    tests = {field: matcher(field, wanted) for field, wanted in asked.wanted.items()}
    return Plan(name, asked.wanted, per, period, asked.zone, unit, limit, levels, tests)


def _limit(usd: float | None, tokens: int | None) -> tuple[str, int]:
    if (usd is None) == (tokens is None):
        raise ConfigurationError("limit_usd, limit_tokens: a budget has one of them.")
    unit, amount = (USD, usd) if tokens is None else (TOKENS, tokens)
    whole = round(float(amount or 0) * (SCALES[MONEY] if unit == USD else 1))
    if not 0 < whole < 2**63:
        raise ConfigurationError(f"limit_{unit}: {amount!r} is not above 0.")
    return unit, whole


# --- the table -----------------------------------------------------------------------------------


def to_row(made: Plan, now_us: int) -> Budget:
    """A budget as a row."""
    from tokentrail.models import Budget  # SQLAlchemy is loaded where rows are written

    return Budget(
        name=made.name,
        scope={field: [_written(value) for value in wanted] for field, wanted in made.wanted.items()},
        per=made.per,
        period=made.period,
        tz=made.zone.key,
        limit_usd=made.shown(made.limit) if made.unit == USD else None,
        limit_tokens=made.limit if made.unit == TOKENS else None,
        thresholds=list(made.thresholds),
        created_at=from_us(now_us),
    )


def from_row(row: Budget) -> Plan:
    """A row as a budget.

    Raises:
        ConfigurationError: somebody has written something else into the table.
    """
    return plan(
        row.name,
        limit_usd=row.limit_usd,
        limit_tokens=row.limit_tokens,
        period=row.period,
        tz=row.tz,
        per=row.per,
        thresholds=row.thresholds,
        **{field: [_read(value) for value in wanted] for field, wanted in row.scope.items()},
    )


def _written(value: Any) -> Any:
    return {"exactly": str(value)} if isinstance(value, Exact) else value


def _read(value: Any) -> Any:
    return Exact(value["exactly"]) if isinstance(value, dict) else value
