"""How neighbours of calls become rows: once for every store, over a shelf that reads and writes them."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any, Final, Protocol

from tokentrail._neighbours import (
    CALL_OF,
    ERROR,
    FEEDBACK,
    FIELDS_OF,
    MESSAGE,
    SESSION,
    TOOL_CALL,
    by_kind,
    inherited,
    joined,
)
from tokentrail._records import PROVISIONAL, Record
from tokentrail.stores.base import Appended, Refused, refusal


class Shelf(Protocol):
    """Rows of every kind, inside a transaction."""

    def rows(self, kind: str, ids: Collection[str]) -> dict[str, Record]:
        """The rows with these ids."""

    def of_messages(self, kind: str, message_ids: Collection[str]) -> list[Record]:
        """The rows of these messages."""

    def who(self, message_ids: Collection[str], call_ids: Collection[str]) -> Mapping[str, Mapping[str, Any]]:
        """For whom these messages and calls were made."""

    def put(self, kind: str, rows: Sequence[Record]) -> list[Refused]:
        """Write whole rows, in place of those with the same id."""


def append(shelf: Shelf, records: Sequence[Record]) -> Appended:
    """Join records of any kind but calls with the rows there are."""
    told, refused = _fit(records)
    inserted = replaced = unchanged = 0
    for kind, members in by_kind(told).items():
        rows = shelf.rows(kind, {record["id"] for record in members})
        changed: dict[str, Record] = {}
        changes: list[tuple[str, bool]] = []
        for record in members:
            row = joined(rows.get(record["id"]), record)
            if row is None:
                unchanged += 1
            else:
                changes.append((record["id"], record["id"] not in rows))
                rows[record["id"]] = changed[record["id"]] = row
        unfit = shelf.put(kind, _with_context(shelf, kind, list(changed.values())))
        refused += unfit
        bad = {each.id for each in unfit}
        inserted += sum(new for row_id, new in changes if row_id not in bad)
        replaced += sum(not new for row_id, new in changes if row_id not in bad)
        if kind == MESSAGE:
            _hand_down(shelf, changed)
    return Appended(inserted, replaced, unchanged, tuple(refused))


def _fit(records: Sequence[Record]) -> tuple[list[Record], list[Refused]]:
    fit: list[Record] = []
    refused: list[Refused] = []
    for record in records:
        reason = _reason(record)
        if reason is None:
            fit.append(record)
        else:
            refused.append(Refused(str(record.get("id")), reason))
    return fit, refused


def _reason(record: Record) -> str | None:
    kind, rank = record["kind"], record.get("finality")
    if kind not in FIELDS_OF:
        return f"its kind, {kind!r:.40}, is not known"
    if not isinstance(rank, int) or rank < PROVISIONAL:
        return "it has not ended"
    return refusal(record, ("id", *_REQUIRED[kind]), FIELDS_OF[kind])


_REQUIRED: Final[Mapping[str, tuple[str, ...]]] = {
    TOOL_CALL: ("started_at", "status"),
    ERROR: ("started_at",),
    MESSAGE: ("told_at",),
    FEEDBACK: ("told_at", "feedback_id"),
    SESSION: ("told_at", "session_id"),
}


def _with_context(shelf: Shelf, kind: str, rows: list[Record]) -> list[Record]:
    """Rows that know for whom they are: what they do not say, their message or their call does."""
    call = CALL_OF.get(kind)
    if call is None:
        return rows
    messages = {row["message_id"] for row in rows if "message_id" in row}
    calls = {row[call] for row in rows if call in row}
    if not messages and not calls:
        return rows
    who = shelf.who(messages, calls)
    return [inherited(row, who.get(row.get("message_id", "")), who.get(row.get(call, ""))) for row in rows]


def _hand_down(shelf: Shelf, messages: Mapping[str, Record]) -> None:
    """A message that is told late: those that came before it learn for whom they were."""
    for kind in CALL_OF:
        rows = shelf.of_messages(kind, messages)
        filled = [inherited(row, messages[row["message_id"]]) for row in rows]
        shelf.put(kind, [new for new, old in zip(filled, rows, strict=True) if new != old])
