"""What was recorded, held against what the provider really sent."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final, NamedTuple

from tokentrail.demo.provider import Sent

WHOLES: Final = ("input_tokens", "output_tokens")
PARTS: Final = ("cache_read_tokens", "cache_creation_tokens", "reasoning_tokens")


class Verdict(NamedTuple):
    """One request beside the row it became."""

    scene: str
    sent: Sent | None
    row: Any | None
    problems: tuple[str, ...]


def compare(scene: str, ends: Sequence[str], sent: Sequence[Sent], rows: Sequence[Any]) -> list[Verdict]:
    """Pair the requests of a scene with its rows, and say what disagrees.

    Args:
        scene: its title.
        ends: the status that the row of each request should have.
        sent: the requests, in the order of their arrival.
        rows: calls from the store, oldest first.
    """
    left = list(rows)
    verdicts: list[Verdict] = []
    for end, request in zip(ends, sent, strict=False):
        # Requests made at once may be recorded in another order than they arrived in.
        row = next((one for one in left if not disagreements(request, end, one)), left[0] if left else None)
        if row is not None:
            left.remove(row)
        problems = ("no row",) if row is None else tuple(disagreements(request, end, row))
        verdicts.append(Verdict(scene, request, row, problems))
    verdicts += [Verdict(scene, request, None, ("unexpected request",)) for request in sent[len(ends) :]]
    verdicts += [Verdict(scene, None, None, ("no request",)) for _ in ends[len(sent) :]]
    return verdicts + [Verdict(scene, None, row, ("a row without a request",)) for row in left]


def disagreements(sent: Sent, end: str, row: Any) -> list[str]:
    """Where a row says other than what was sent: its status, or a count that is wrong, missing or made up."""
    found = [] if row.status == end else [f"status {row.status}, not {end}"]
    told = sent.counts
    if told is None:
        made_up = [name for name in WHOLES if getattr(row, name) is not None]
        return found + [f"{name} {getattr(row, name)}, though none was sent" for name in made_up]
    for name in (*WHOLES, *PARTS):
        found += _count(name, told, getattr(row, name))
    return found


def _count(name: str, told: Mapping[str, int], recorded: int | None) -> list[str]:
    sent = told.get(name)
    # What a provider leaves out of a usage that it does send (an embedding's output) may read as nothing.
    if recorded == sent or (sent is None and recorded == 0):
        return []
    return [f"{name} {recorded}, not {sent}"]
