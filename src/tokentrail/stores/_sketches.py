"""A distribution in few bytes: logarithmic buckets, which add up and can be taken away again, exactly.

Every bucket is 32 bits of one big integer, so merging two sketches is one addition. As in DDSketch (Masson,
Rim, Lee, 2019): the middle of a bucket is within `ERROR` of every value in it.
"""

from __future__ import annotations

from array import array
from collections.abc import Iterable
from math import ceil, log
from typing import Final

GAMMA: Final = 1.05
ERROR: Final = 0.025
"""Largest relative error of a value; (gamma - 1) / (gamma + 1), rounded up."""

_EXACT: Final = 64
"""Below this many microseconds every value has a bucket of its own; the first is for zero and less."""
_LOG: Final = log(GAMMA)
_FIRST: Final = log(_EXACT)
_LANE: Final = 32
_HEADER: Final = 3


def sketch(values: Iterable[int]) -> int:
    """The sketch of some values in microseconds."""
    buckets = [
        max(value, 0) if value < _EXACT else _EXACT + ceil((log(value) - _FIRST) / _LOG) for value in values
    ]
    lowest = min(buckets, default=0)
    total = 0
    for bucket in buckets:
        total += 1 << _LANE * (bucket - lowest)
    return total << _LANE * lowest


def _middle(bucket: int) -> float:
    if bucket < _EXACT:
        return bucket
    return _EXACT * GAMMA ** (bucket - _EXACT) * 2 / (GAMMA + 1)


def counts_of(total: int) -> dict[float, int]:
    """How often each value occurs, in microseconds."""
    lanes = array("I", total.to_bytes(-(-total.bit_length() // _LANE) * 4, "little"))
    return {_middle(bucket): count for bucket, count in enumerate(lanes) if count}


def packed(total: int) -> bytes | None:
    """A sketch as stored: bytes a bucket, first bucket, counts; nothing for an empty one."""
    if not total:
        return None
    first = ((total & -total).bit_length() - 1) // _LANE
    lanes = -(-total.bit_length() // _LANE) - first
    data = (total >> _LANE * first).to_bytes(4 * lanes, "little")
    width = 4
    if not any(data[2::4]) and not any(data[3::4]):
        width = 2 if any(data[1::4]) else 1
    narrow = bytearray(len(data) // 4 * width)
    for plane in range(width):
        narrow[plane::width] = data[plane::4]
    return bytes((width,)) + first.to_bytes(2, "little") + bytes(narrow)


def unpacked(blob: bytes | None) -> int:
    """A sketch from what is stored."""
    if not blob:
        return 0
    width, first, narrow = blob[0], int.from_bytes(blob[1:_HEADER], "little"), blob[_HEADER:]
    if width < 4:
        data = bytearray(len(narrow) // width * 4)
        for plane in range(width):
            data[plane::4] = narrow[plane::width]
        narrow = bytes(data)
    return int.from_bytes(narrow, "little") << _LANE * first
