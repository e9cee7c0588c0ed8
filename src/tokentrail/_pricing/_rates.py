"""Rates, and the exact arithmetic from tokens to nano-dollars."""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal
from fractions import Fraction
from math import gcd
from types import MappingProxyType
from typing import Final, NamedTuple, TypeAlias

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


Charge: TypeAlias = tuple[int, int, int]
"""Nano-dollars: total, input, output. The total may exceed their sum by what is charged per request."""

FREE: Final[Charge] = (0, 0, 0)


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


class Tariff:
    """Rates made ready: what a token costs as a part of its whole, and how much more as one of its kind."""

    __slots__ = (
        "_cache_read", "_cache_write", "_cache_write_1h", "_half_nano", "_heard", "_input", "_nano",
        "_needs_look", "_output", "_rates", "_request", "_spoken", "_thought",
    )  # fmt: skip

    def __init__(self, rates: Rates) -> None:
        # Small numbers are cheaper: all in the largest unit in which they, and half a nano-dollar, are whole.
        unit = gcd(_PER_NANO // 2, *(each for each in rates if each is not None))
        given, taken, read, written, longer, heard, spoken, thought, request = (
            None if each is None else each // unit for each in rates
        )
        self._rates = rates
        self._nano, self._half_nano = _PER_NANO // unit, _PER_NANO // unit // 2
        self._input, self._output, self._request = given or 0, taken or 0, request or 0
        self._cache_read = _more(read, self._input)
        self._cache_write = _more(written, self._input)
        self._cache_write_1h = _more(longer, self._input + self._cache_write)
        self._heard = _more(heard, self._input)
        self._spoken, self._thought = _more(spoken, self._output), _more(thought, self._output)
        self._needs_look = given is None or taken is None

    def charge(self, tokens: Tokens) -> Charge:
        """The price of these counts.

        Raises:
            UnpriceableError: parts exceed their whole, or a kind of token has no rate.
        """
        check(tokens)
        given, taken, read, written, longer, heard, spoken, thought, _, _ = tokens
        if heard or spoken or self._needs_look:
            self._look(tokens)
        paid = (
            given * self._input
            + read * self._cache_read
            + written * self._cache_write
            + longer * self._cache_write_1h
            + heard * self._heard
        )
        earned = taken * self._output + thought * self._thought + spoken * self._spoken
        total, half, whole = paid + earned + self._request, self._half_nano, self._nano
        return (total + half) // whole, (paid + half) // whole, (earned + half) // whole

    def _look(self, tokens: Tokens) -> None:
        """Refuse counts that have no honest price, where audio was counted or a rate is missing."""
        rates = self._rates
        if tokens.input_audio and rates.input_audio is None:
            raise UnpriceableError("no_audio_rate")
        plain = tokens.input - tokens.input_audio
        plain -= 0 if rates.cache_read is None else tokens.cache_read
        longer = 0 if rates.cache_write_1h is None else tokens.cache_write_1h
        plain -= longer if rates.cache_write is None else tokens.cache_write
        if plain < 0:  # some audio came from the cache, and nobody said how much
            raise UnpriceableError("modality_unknown")
        if plain and rates.input is None:
            raise UnpriceableError("no_input_rate")
        said = tokens.output - tokens.output_audio
        said -= 0 if rates.reasoning is None else tokens.reasoning
        if said < 0:  # some reasoning was counted as audio, and nobody said how much
            raise UnpriceableError("modality_unknown")
        if said and rates.output is None:
            raise UnpriceableError("no_output_rate")
        if tokens.output_audio and rates.output_audio is None:
            raise UnpriceableError("no_audio_rate")


def _more(rate: int | None, whole: int) -> int:
    """What a kind of token costs beyond its whole: nothing, where it has no rate of its own."""
    return 0 if rate is None else rate - whole


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


def _rounded(amount: int) -> int:
    return (amount + _PER_NANO // 2) // _PER_NANO
