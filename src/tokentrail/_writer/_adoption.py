"""Adoption: what dead processes left in their journals is brought into the store, once."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Final, NamedTuple

from tokentrail._health import Health
from tokentrail._journal import journal_folder
from tokentrail._journal._folder import (
    Calls,
    interrupted,
    is_being_adopted,
    live_ends,
    owners,
    set_aside,
    sweep,
    take,
)
from tokentrail._records import Record
from tokentrail._writer._delivery import BATCH, Delivery

if TYPE_CHECKING:
    from tokentrail._pricing import Price
    from tokentrail.stores.base import Store

_STALE: Final = 3600.0
_LOOK_AGAIN: Final = 0.02


class Adopted(NamedTuple):
    """How one look through a folder went."""

    records: int
    """Records brought into the store."""
    failed: bool
    """Whether the store did not answer; what is left waits for the next time."""
    busy: bool
    """Whether somebody else was importing segments at this moment."""


class Imported(NamedTuple):
    """What `import_pending` did."""

    records: int
    """Records brought into the store."""
    complete: bool
    """Whether everything that was in the journals is in the store now."""
    error: str | None
    """What the store said, if it did not answer."""


def _no_pause() -> None:
    """Nothing of one's own to do between the batches of others."""


def nowhere(point: str) -> None:
    """The checkpoint of everybody but a test: nothing happens."""


def adopt(
    folder: Path,
    delivery: Delivery,
    *,
    health: Health,
    skip: str = "",
    between: Callable[[], object] = _no_pause,
    checkpoint: Callable[[str], None] = nowhere,
) -> Adopted:
    """Import the segments of every dead owner: its ends, and an `interrupted` row for each call without one.

    Order is everything: rows and position in one transaction, then the file, then the position. So a death at
    any point leaves either the file, and the next importer repeats what changes nothing, or nothing to do.

    Args:
        folder: of one database's journals.
        delivery: to that database.
        health: where damage is counted.
        skip: an owner to leave alone: ourselves.
        between: called after each batch, so that a long import does not keep others waiting.
        checkpoint: called at named points; tests die there.
    """
    records, failed, busy = 0, False, False
    positions: dict[str, int] | None = None
    gone: list[str] = []
    for owner, paths in owners(folder).items():
        if owner == skip:
            continue
        calls = take(paths)
        if calls is None:
            busy = is_being_adopted(paths) or busy
            continue
        try:
            positions = delivery.positions() if positions is None else positions
            found = None if positions is None else _import(calls, positions, delivery, between, checkpoint)
            if found is None:
                failed = True
                break
            records += found
            gone += _finish(calls, health, checkpoint)
        finally:
            calls.release()
    sweep(folder, time.time() - _STALE)
    if gone:
        delivery.forget(gone)
        delivery.append(())
        checkpoint("after-forget")
    return Adopted(records, failed, busy)


def _import(
    calls: Calls,
    positions: dict[str, int],
    delivery: Delivery,
    between: Callable[[], object],
    checkpoint: Callable[[str], None],
) -> int | None:
    """Deliver what the segments of one owner hold; None if the store does not answer."""
    checkpoint("before-append")
    count = 0
    for batch, marks in _batches(calls, positions):
        if not delivery.append(batch, list(marks.items())):
            return None
        count += len(batch)
        checkpoint("after-append")
        between()
    for rows in _chunks(interrupted(start) for start in calls.open.values()):
        if not delivery.append(rows):
            return None
        count += len(rows)
    return count


def _batches(calls: Calls, positions: dict[str, int]) -> Iterator[tuple[list[Record], dict[str, int]]]:
    batch: list[Record] = []
    marks: dict[str, int] = {}
    for claim, record, offset in calls.ends():
        if offset > positions.get(claim.name, 0):
            batch.append(record)
            marks[claim.name] = offset
        if len(batch) == BATCH:
            yield batch, marks
            batch, marks = [], {}
    if batch:
        yield batch, marks


def _chunks(records: Iterable[Record]) -> Iterator[list[Record]]:
    iterator = iter(records)
    while chunk := list(islice(iterator, BATCH)):
        yield chunk


def _finish(calls: Calls, health: Health, checkpoint: Callable[[str], None]) -> list[str]:
    for claim in calls.claims:
        if claim.damaged:
            health.lose("damaged_journal", claim.damaged)
    if calls.torn:
        health.note("torn_records", calls.torn)
    checkpoint("before-unlink")
    for claim in calls.claims:
        claim.finish()
    checkpoint("after-unlink")
    return [claim.name for claim in calls.claims]


def import_pending(
    url: str,
    data_dir: Path,
    *,
    open_store: Callable[[], Store],
    price: Price,
    health: Health | None = None,
    timeout: float = 10.0,
    close: bool = True,
    checkpoint: Callable[[str], None] = nowhere,
) -> Imported:
    """Bring into a store what waits for it in journals: for readers that have no tracker.

    Adopts what dead processes left, and copies what living ones have not delivered yet.

    Args:
        url: of the store, as its writers name it.
        data_dir: where journals lie.
        open_store: opens that store; called only if there is a journal.
        price: adds cost to rows, in place.
        health: where damage and refusals are counted.
        timeout: seconds to wait for others who are importing the same journals.
        close: whether to close the store afterwards.
        checkpoint: called at named points; tests die there.
    """
    folder = journal_folder(data_dir, url)
    if not owners(folder):
        return Imported(0, complete=True, error=None)
    health = health if health is not None else Health()
    delivery = Delivery(open_store, price=price, health=health, refuse=partial(set_aside, folder))
    deadline = time.monotonic() + timeout
    records = 0
    try:
        while True:
            adopted = adopt(folder, delivery, health=health, checkpoint=checkpoint)
            records += adopted.records
            if adopted.failed or not adopted.busy or time.monotonic() > deadline:
                break
            time.sleep(_LOOK_AGAIN)
        failed = adopted.failed or not _copy_live(folder, delivery)
        return Imported(records, complete=not failed and not adopted.busy, error=delivery.last_error)
    finally:
        if close:
            delivery.close()
        else:
            delivery.let_go()


def _copy_live(folder: Path, delivery: Delivery) -> bool:
    positions = delivery.positions()
    if positions is None:
        return False
    for paths in owners(folder).values():
        for batch in _chunks(live_ends(paths, positions)):
            # Without a position: that is the owner's to say.
            if not delivery.append(batch):
                return False
    return True
