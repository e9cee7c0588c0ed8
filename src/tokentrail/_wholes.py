"""Wholes and parts: makes input include its cache, output its reasoning, and the total agree with both."""

from __future__ import annotations

from collections.abc import Collection
from typing import Final

from tokentrail._counts import Counts
from tokentrail._shapes import (
    BILLED_INPUT,
    BILLED_OUTPUT,
    CACHE,
    CACHE_CREATION,
    CACHE_READ,
    INPUT,
    INPUT_AUDIO,
    LARGEST,
    OUTPUT,
    OUTPUT_AUDIO,
    REASONING,
    TOOL_PROMPT,
    TOTAL,
    WHOLES,
    WRITE_1H,
    WRITE_5M,
    Shape,
)
from tokentrail._usage import COUNTS, NO_DETAILS, Usage


def settle(counts: Counts) -> Usage:
    """Make wholes include their parts, and total, wholes and parts agree; flag what did not."""
    flags = {f"{kind}:{field}" for field, kind in counts.bad.items() if field in COUNTS}
    known = dict(counts.known)
    for field in [field for field, number in known.items() if number < 0]:
        del known[field]
        if field in COUNTS:
            flags.add(f"negative:{field}")
    details = dict(counts.details)
    shape = counts.shape
    _fold_private_counts(known, details)
    if shape.zero_unknown:
        _forget_zeros(known)
    if known.keys().isdisjoint(WHOLES):  # a part alone is no usage
        return Usage(details=details or NO_DETAILS, flags=tuple(sorted({*flags, "missing_usage"})))
    _add_outside_parts(known, shape)
    _fill_missing_whole(known, zero_unknown=shape.zero_unknown)
    _add_left_out_parts(known, flags)
    _settle_total(known, flags)
    values = [known.get(field) for field in COUNTS]
    return Usage._make((*values, details or NO_DETAILS, tuple(sorted(flags))))


def _fold_private_counts(known: dict[str, int], details: dict[str, int]) -> None:
    for field, billed in ((INPUT, BILLED_INPUT), (OUTPUT, BILLED_OUTPUT)):
        number = known.pop(billed, None)
        if number is not None and field not in known:
            known[field] = number
        elif number is not None and number != known[field]:
            details[billed] = number
    writes = [(name, known.pop(name)) for name in (WRITE_5M, WRITE_1H) if name in known]
    if writes:
        details.update((name, number) for name, number in writes if number)
        by_life = sum(number for _, number in writes)
        if CACHE_CREATION not in known or by_life > known[CACHE_CREATION]:
            known[CACHE_CREATION] = by_life


def _forget_zeros(known: dict[str, int]) -> None:
    """LangChain's integrations write an input of 0, or 0 everywhere, for what the server did not send."""
    if known.get(INPUT) == 0:
        del known[INPUT]
        if known.get(OUTPUT) == 0:
            del known[OUTPUT]
    if known.get(TOTAL) == 0:
        del known[TOTAL]


def _add_outside_parts(known: dict[str, int], shape: Shape) -> None:
    """Add the parts that this speaker's wholes leave out."""
    outside = shape.outside
    tool_prompt = known.pop(TOOL_PROMPT, None)
    if tool_prompt is not None and INPUT in known:
        known[INPUT] += tool_prompt
    if INPUT in known and outside >= CACHE and not _total_shows_inside(known, shape, INPUT, CACHE):
        known[INPUT] += _sum(known, CACHE)
    if REASONING in outside and REASONING in known:
        if OUTPUT not in known:
            known[OUTPUT] = known[REASONING]
        elif not _total_shows_inside(known, shape, OUTPUT, {REASONING}):
            known[OUTPUT] += known[REASONING]


def _total_shows_inside(known: dict[str, int], shape: Shape, whole: str, parts: Collection[str]) -> bool:
    """Whether a total that counts the parts equals input + output, and they fit: then they are inside."""
    return (
        shape.total_has_outside
        and INPUT in known
        and OUTPUT in known
        and known.get(TOTAL) == known[INPUT] + known[OUTPUT]
        and _sum(known, parts) <= known[whole]
    )


def _fill_missing_whole(known: dict[str, int], *, zero_unknown: bool) -> None:
    total = known.get(TOTAL)
    if not total or (INPUT in known) is (OUTPUT in known):
        return
    missing, other = (OUTPUT, INPUT) if INPUT in known else (INPUT, OUTPUT)
    rest = total - known[other]
    if rest > 0 or (rest == 0 and not (zero_unknown and missing == INPUT)):
        known[missing] = rest


def _add_left_out_parts(known: dict[str, int], flags: set[str]) -> None:
    """Add parts to a whole that evidently left them out: the total counts them, or they are larger."""
    if INPUT in known and OUTPUT in known and TOTAL in known:
        excess = known[TOTAL] - known[INPUT] - known[OUTPUT]
        for cache, reasoning in _LEFT_OUT if excess > 0 else ():
            if _sum(known, (*cache, *reasoning)) == excess:
                known[INPUT] += _sum(known, cache)
                known[OUTPUT] += _sum(known, reasoning)
                flags.add("parts_added")
                break
    for whole, parts in _PARTS_OF:
        if whole in known and _sum(known, parts) > known[whole]:
            known[whole] += _sum(known, parts)
            flags.add("parts_added")


_LEFT_OUT: Final = (
    ((CACHE_READ, CACHE_CREATION), ()),
    ((), (REASONING,)),
    ((CACHE_READ, CACHE_CREATION), (REASONING,)),
    ((CACHE_READ,), ()),
    ((CACHE_CREATION,), ()),
)
_PARTS_OF: Final = (
    (INPUT, (CACHE_READ, CACHE_CREATION)),
    (INPUT, (INPUT_AUDIO,)),
    (OUTPUT, (REASONING,)),
    (OUTPUT, (OUTPUT_AUDIO,)),
)


def _settle_total(known: dict[str, int], flags: set[str]) -> None:
    if INPUT not in known and OUTPUT not in known:
        flags.add("split_unknown")
        return
    parts = _sum(known, (INPUT, OUTPUT))
    total = known.get(TOTAL)
    if total is not None and total >= parts:
        return
    flags.add("total_mismatch" if total else "derived_total")
    known[TOTAL] = parts
    if parts > LARGEST:
        del known[TOTAL]
        flags.add(f"invalid:{TOTAL}")


def _sum(known: dict[str, int], fields: Collection[str]) -> int:
    return sum(known[field] for field in fields if field in known)
