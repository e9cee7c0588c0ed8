"""The user's own prices: dated, by name or pattern, and the most particular one first."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Iterator, Mapping
from datetime import UTC, datetime
from decimal import Decimal, InvalidOperation
from typing import TYPE_CHECKING, Any, Final, NamedTuple, TypeAlias, TypedDict

from tokentrail._pricing._names import is_same_model, provider_of, spellings
from tokentrail._pricing._rates import Rates, rate, request_rate
from tokentrail._query import Moment, filters, matcher
from tokentrail._records import from_us
from tokentrail.errors import ConfigurationError, QueryError

if TYPE_CHECKING:
    from tokentrail.models import ModelPrice

Amount: TypeAlias = Decimal | float | str
"""Dollars; a float is taken as it is written."""

RATE_OF: Final[Mapping[str, str]] = {
    "input_per_million": "input",
    "output_per_million": "output",
    "cache_read_per_million": "cache_read",
    "cache_creation_per_million": "cache_write",
    "cache_creation_1h_per_million": "cache_write_1h",
    "input_audio_per_million": "input_audio",
    "output_audio_per_million": "output_audio",
    "reasoning_per_million": "reasoning",
}
"""Argument and column → field of `Rates`."""


class Prices(TypedDict, total=False):
    """What a model costs, in US dollars; a kind without a price is charged as its whole (audio is not)."""

    input_per_million: Amount | None
    output_per_million: Amount | None
    cache_read_per_million: Amount | None
    cache_creation_per_million: Amount | None
    cache_creation_1h_per_million: Amount | None
    reasoning_per_million: Amount | None
    input_audio_per_million: Amount | None
    output_audio_per_million: Amount | None
    per_request: Amount | None


class Override(NamedTuple):
    """A price of the user's own; it holds from one moment (in it) to another (no longer in it)."""

    model: str
    provider: str | None
    rates: Rates
    effective_from_us: int
    effective_to_us: int | None
    prices: Mapping[str, float]
    """The rates as they were given, in dollars."""
    id: str | None
    """Its key in the table `model_price`; `None` if it is of this process only."""


def override(
    model: str,
    provider: str | None,
    prices: Mapping[str, Any],
    valid_from: Moment | None = None,
    valid_to: Moment | None = None,
) -> Override:
    """A checked price.

    Raises:
        ConfigurationError: an amount is negative or no number, none is given, or the time is wrong.
    """
    unknown = set(prices) - {*RATE_OF, "per_request"}
    if unknown:
        known = ", ".join([*RATE_OF, "per_request"])
        raise ConfigurationError(f"{sorted(unknown)[0]} is no kind of price. There are: {known}.")
    given = {name: _checked(amount) for name, amount in prices.items() if amount is not None}
    if not model or not given:
        raise ConfigurationError("A price needs the name of a model, and at least one amount.")
    try:
        window = filters(start=valid_from, end=valid_to)
    except QueryError as error:
        wrong = str(error).replace("start:", "valid_from:").replace("end:", "valid_to:")
        raise ConfigurationError(wrong) from None
    fields = {RATE_OF[name]: rate(amount) for name, amount in given.items() if name in RATE_OF}
    request = request_rate(given.get("per_request", Decimal(0)) * 1000)
    rates = Rates(fields.pop("input", None), fields.pop("output", None), **fields, request=request)
    begin = window.start_us or 0
    shown = {name: float(amount) for name, amount in given.items()}
    return Override(model, provider, rates, begin, window.end_us, shown, _key(model, provider, begin))


def _checked(amount: Any) -> Decimal:
    try:
        number = Decimal(str(amount))
    except InvalidOperation:
        number = Decimal("nan")
    if isinstance(amount, bool) or not number.is_finite() or number < 0:
        raise ConfigurationError(
            f"A price is a number of dollars per million tokens (or per request), 0 or more; not {amount!r}."
        )
    return number


def _key(model: str, provider: str | None, begin_us: int) -> str:
    named = f"{provider or '*'}/{model}"
    if not begin_us:
        return named
    begin = from_us(begin_us)
    midnight = begin == datetime(begin.year, begin.month, begin.day, tzinfo=UTC)
    return f"{named} from {begin:%Y-%m-%d}" if midnight else f"{named} from {begin:%Y-%m-%dT%H:%M:%SZ}"


# --- which one holds -----------------------------------------------------------------------------


class Overrides:
    """Prices by name. What is asked for: the calls' own provider before any, a name before a pattern, a
    longer pattern before a shorter, the latest beginning before an earlier.

    Never changed once made: the writer's thread reads while another one registers.
    """

    def __init__(self, overrides: Iterable[Override] = ()) -> None:
        unique = {(one.model.lower(), one.provider, one.effective_from_us): one for one in overrides}
        self._named: dict[str, list[Override]] = {}
        patterns = []
        for one in sorted(unique.values(), key=lambda one: one.effective_from_us, reverse=True):
            if "*" in one.model or "?" in one.model:
                patterns.append((one, matcher("model", (one.model,))))
            else:
                self._named.setdefault(one.model.lower(), []).append(one)
        self._patterns = sorted(patterns, key=lambda entry: len(entry[0].model.strip("*")), reverse=True)
        bounds = {bound for one in unique.values() for bound in (one.effective_from_us, one.effective_to_us)}
        self._bounds = sorted(bound for bound in bounds if bound is not None)

    def __iter__(self) -> Iterator[Override]:
        for some in self._named.values():
            yield from some
        for one, _ in self._patterns:
            yield one

    def __bool__(self) -> bool:
        return bool(self._named or self._patterns)

    def since(self, at_us: int) -> int | None:
        """From when on the prices hold that hold at a moment; `None` if none does."""
        before = bisect_right(self._bounds, at_us)
        return self._bounds[before - 1] if before else None

    def find(self, provider: str | None, model: str | None, asked: str | None, at_us: int) -> Override | None:
        """The price of a call at a moment, by its model and the one that was asked for."""
        names = list(_names(provider, model, asked))
        named = [one for name in names for one in self._named.get(name, ())]
        matching = [one for one, matches in self._patterns if any(map(matches, names))]
        for some in (named, matching):
            holding = [one for one in some if _holds(one, at_us)]
            for one in holding:
                if one.provider is not None and _is_same_provider(one.provider, provider):
                    return one
            for one in holding:
                if one.provider is None:
                    return one
        return None


def _names(provider: str | None, model: str | None, asked: str | None) -> Iterator[str]:
    """What a call's model is called: as it came, without its provider, with it, and as it was asked for."""
    same = [asked] if asked and (not model or is_same_model(model, asked)) else []
    for name in dict.fromkeys([*([model] if model else []), *same]):
        spelled = spellings(provider, name)[1]
        yield from (each.lower() for each in dict.fromkeys([name, *spelled]))
        if provider:
            yield f"{provider}/{name}".lower()


def _holds(one: Override, at_us: int) -> bool:
    return one.effective_from_us <= at_us and (one.effective_to_us is None or at_us < one.effective_to_us)


def _is_same_provider(one: str, other: str | None) -> bool:
    if other is None:
        return False
    same = provider_of(one)
    return one.lower() == other.lower() or (same is not None and same == provider_of(other))


# --- the table -----------------------------------------------------------------------------------


def to_row(one: Override, now_us: int) -> ModelPrice:
    """A price as a row."""
    from tokentrail.models import ModelPrice  # SQLAlchemy is loaded where rows are written

    assert one.id is not None  # noqa: S101
    return ModelPrice(
        id=one.id,
        provider=one.provider,
        model=one.model,
        valid_from=from_us(one.effective_from_us) if one.effective_from_us else None,
        valid_to=None if one.effective_to_us is None else from_us(one.effective_to_us),
        created_at=from_us(now_us),
        **one.prices,
    )


def from_row(row: ModelPrice) -> Override:
    """A row as a price."""
    prices = {name: getattr(row, name) for name in (*RATE_OF, "per_request")}
    return override(row.model, row.provider, prices, row.valid_from, row.valid_to)._replace(id=row.id)
