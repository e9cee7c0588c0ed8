"""How a window in time is put together from the cells of the rollups: few large ones, some taken away."""

from __future__ import annotations

from typing import Final, NamedTuple

MINUTE: Final = 60_000_000
WIDTHS: Final = (15 * MINUTE, 60 * MINUTE, 24 * 60 * MINUTE, 28 * 24 * 60 * MINUTE)
"""Levels of cells, in microseconds, each a part of the next: quarter of an hour, hour, day, 28 days."""
QUARTER, HOUR, DAY, LUNE = range(4)


class Piece(NamedTuple):
    """Cells of one level, from `low` to before `high`, to be added (1) or taken away (-1)."""

    sign: int
    level: int
    low: int
    high: int


def cover(start_us: int, end_us: int, finest: int, *, signed: bool = True) -> list[Piece]:
    """The fewest cells that make a window, whose edges lie between cells of the finest level.

    Args:
        start_us: first moment.
        end_us: first moment that is no longer in.
        finest: smallest level there is.
        signed: whether cells may be taken away; a maximum cannot be.
    """
    pieces: list[Piece] = []
    low, high = start_us // WIDTHS[finest], end_us // WIDTHS[finest]
    for level in range(finest, LUNE + 1):
        if level == LUNE:
            pieces.append(Piece(1, level, low, high))
            break
        many = WIDTHS[level + 1] // WIDTHS[level]
        if signed:
            above, below = (low + many // 2) // many, (high + many // 2) // many
        else:
            above, below = -(-low // many), high // many
        if above >= below or abs(above * many - low) + abs(high - below * many) >= high - low:
            pieces.append(Piece(1, level, low, high))
            break
        if low != above * many:
            sign = 1 if low < above * many else -1
            pieces.append(Piece(sign, level, *sorted((low, above * many))))
        if high != below * many:
            sign = 1 if high > below * many else -1
            pieces.append(Piece(sign, level, *sorted((high, below * many))))
        low, high = above, below
    return [piece for piece in pieces if piece.low < piece.high]
