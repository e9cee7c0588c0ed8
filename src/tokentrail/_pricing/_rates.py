"""Rates, and the exact arithmetic from tokens to nano-dollars."""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal
from fractions import Fraction
from types import MappingProxyType
from typing import Final, NamedTuple

_PER_NANO: Final = 10**20
"""A rate is an integer: this many of its units are a nano-dollar per token, so that no digit is lost."""
_SCALE: Final = 10**3 * _PER_NANO
"""Units of a rate per dollar per million tokens."""


class UnpriceableError(Exception):
    """These counts have no honest price at these rates; the message is the reason, a short name."""

    @property
    def is_of_the_list(self) -> bool:
        """Whether only this price list lacks a rate, so that another one may have it."""
        return str(self).startswith("no_")


class Tokens(NamedTuple):
    """The counts of a call that cost money. Parts are inside their wholes, as in `Usage`.

    `audio_known` is whether the audio was counted at all: nothing counted is not nothing heard.
    """

    input: int
    output: int
    cache_read: int = 0
    cache_write: int = 0
    cache_write_1h: int = 0
    input_audio: int = 0
    output_audio: int = 0
    reasoning: int = 0
    details: Mapping[str, int] = MappingProxyType({})
    audio_known: bool = False


class Rates(NamedTuple):
    """What a token of each kind costs, and a request; `None` where the source has no rate for it.

    A kind of input without a rate is charged as plain input and reasoning as plain output; except audio: that
    is dearer by far, so audio without a rate has no price.
    """

    input: int | None
    output: int | None
    cache_read: int | None = None
    cache_write: int | None = None
    cache_write_1h: int | None = None
    input_audio: int | None = None
    output_audio: int | None = None
    reasoning: int | None = None
    request: int = 0

    @property
    def is_per_request(self) -> bool:
        """Whether nothing is charged for tokens, but something for the request."""
        return self.request > 0 and not any(rate is not None for rate in self[:-1])


class Charge(NamedTuple):
    """A price in nano-dollars. The total may exceed input and output by what is charged per request."""

    total: int
    input: int
    output: int


FREE: Final = Charge(0, 0, 0)


def rate(dollars_per_million: Decimal | float | str) -> int:
    """A rate from dollars per million tokens; a float is taken as it is written."""
    amount = dollars_per_million
    return int(Fraction(amount if isinstance(amount, Decimal) else Decimal(str(amount))) * _SCALE)


def request_rate(dollars_per_thousand: Decimal) -> int:
    """A rate of one request, from dollars per thousand requests."""
    return int(Fraction(dollars_per_thousand) * 10**6 * _PER_NANO)


def dollars_per_million(units: int) -> float:
    """A rate in dollars per million tokens."""
    return float(Fraction(units, _SCALE))


def dollars_per_request(units: int) -> float:
    """The rate of a request, in dollars."""
    return float(Fraction(units, 10**9 * _PER_NANO))


def nanos(dollars: Decimal) -> int:
    """Dollars as nano-dollars, rounded to the nearest."""
    return _rounded(int(Fraction(dollars) * 10**9 * _PER_NANO))


def charge(rates: Rates, tokens: Tokens) -> Charge:
    """The price of these counts.

    Raises:
        UnpriceableError: parts exceed their whole, or a kind of token has no rate.
    """
    check(tokens)
    given = _charge_input(rates, tokens)
    thought = 0 if rates.reasoning is None else tokens.reasoning
    said = tokens.output - tokens.output_audio - thought
    if said < 0:  # some reasoning was counted as audio, and nobody said how much
        raise UnpriceableError("modality_unknown")
    taken = _charge_kind(said, rates.output, "no_output_rate")
    taken += _charge_kind(thought, rates.reasoning, "no_output_rate")
    taken += _charge_kind(tokens.output_audio, rates.output_audio, "no_audio_rate")
    return Charge(_rounded(given + taken + rates.request), _rounded(given), _rounded(taken))


def check(tokens: Tokens) -> None:
    """Refuse parts that exceed their whole.

    Raises:
        UnpriceableError: they do.
    """
    if (
        tokens.cache_read + tokens.cache_write > tokens.input
        or tokens.cache_write_1h > tokens.cache_write
        or tokens.input_audio > tokens.input
        or tokens.output_audio > tokens.output
        or tokens.reasoning > tokens.output
    ):
        raise UnpriceableError("contradiction")


def _charge_input(rates: Rates, tokens: Tokens) -> int:
    plain, total = tokens.input, 0
    if tokens.cache_read and rates.cache_read is not None:
        plain -= tokens.cache_read
        total += tokens.cache_read * rates.cache_read
    if tokens.cache_write:
        kept, longer = tokens.cache_write, tokens.cache_write_1h
        if longer and rates.cache_write_1h is not None:
            kept -= longer
            plain -= longer
            total += longer * rates.cache_write_1h
        if rates.cache_write is not None:
            plain -= kept
            total += kept * rates.cache_write
    if tokens.input_audio:
        plain -= tokens.input_audio
        total += _charge_kind(tokens.input_audio, rates.input_audio, "no_audio_rate")
    if plain < 0:  # some audio came from the cache, and nobody said how much
        raise UnpriceableError("modality_unknown")
    return total + _charge_kind(plain, rates.input, "no_input_rate")


def _charge_kind(count: int, price: int | None, reason: str) -> int:
    if not count:
        return 0
    if price is None:
        raise UnpriceableError(reason)
    return count * price


def _rounded(amount: int) -> int:
    return (2 * amount + _PER_NANO) // (2 * _PER_NANO)
