"""The neighbours of a call as data: tool calls, messages, feedback, sessions, errors; how tellings join.

They walk the same street as calls, as records with a `kind`. Tool calls and errors are rows as calls are:
the stronger replaces the weaker. Messages, feedback and sessions are told piece by piece, by several
processes and in any order; so each of their columns remembers when it was told, and of two tellings the
later one counts. That is commutative, associative and idempotent: all that a journal which delivers at least
once, and in whatever order, needs.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from typing import Any, Final

from tokentrail._records import (
    COLUMN_OF,
    DURATION,
    INTEGER,
    LIST,
    LONG_TEXT,
    MAPPING,
    TEXT,
    TIME,
    Record,
)

TOOL_CALL: Final = "tool_call"
MESSAGE: Final = "message"
FEEDBACK: Final = "feedback"
SESSION: Final = "session_activity"
ERROR: Final = "error"

MESSAGE_STATUSES: Final = ("pending", "success", "error", "discarded")
RATINGS: Final[Mapping[object, str]] = {
    "like": "like", "dislike": "dislike", "cancel": "cancel", 1: "like", 2: "dislike", 3: "cancel",
    "1": "like", "2": "dislike", "3": "cancel",
}  # fmt: skip
"""What feedback says, in every spelling."""

_WHO: Final[Mapping[str, int]] = {
    "organization_id": TEXT, "project_id": TEXT, "client_id": TEXT, "user_id": TEXT, "agent_id": TEXT,
    "session_id": TEXT, "run_id": TEXT, "step_id": TEXT, "trace_id": TEXT, "tags": LIST,
    "attributes": MAPPING,
}  # fmt: skip
_NAMES: Final[Mapping[str, int]] = {
    "client_name": TEXT, "agent_name": TEXT, "user_name": TEXT, "platform": TEXT,
}  # fmt: skip
_WHERE: Final[Mapping[str, int]] = {"process_id": TEXT, "host": TEXT}
_FAULT: Final[Mapping[str, int]] = {
    "error_type": TEXT, "error_message": LONG_TEXT, "stack_trace": LONG_TEXT,
}  # fmt: skip

FIELDS_OF: Final[Mapping[str, Mapping[str, int]]] = {
    TOOL_CALL: {
        "id": TEXT, "finality": INTEGER, "parent_id": TEXT, "message_id": TEXT, "tool_call_id": TEXT, **_WHO,
        "source": TEXT, "tool_name": TEXT, "tool_source": TEXT, "arguments": LONG_TEXT, "result": LONG_TEXT,
        "started_at": TIME, "ended_at": TIME, "created_at": TIME, "duration_ms": DURATION,
        "status": TEXT, **_FAULT, **_WHERE,
    },
    MESSAGE: {
        "id": TEXT, "parent_id": TEXT, **_WHO, **_NAMES, "source": TEXT, "role": TEXT, "status": TEXT,
        "level": TEXT, "message_content": LONG_TEXT, "content_bytes": INTEGER, "variables": MAPPING,
        "started_at": TIME, "updated_at": TIME, "stamps": MAPPING, **_WHERE,
    },
    FEEDBACK: {
        "id": TEXT, "feedback_id": TEXT, "message_id": TEXT, "call_id": TEXT, "stream_id": TEXT, **_WHO,
        **_NAMES, "source": TEXT, "feedback_type": TEXT, "feedback_content": LONG_TEXT,
        "inaccurate_reasons": LIST, "started_at": TIME, "updated_at": TIME, "cancelled_at": TIME,
        "stamps": MAPPING, **_WHERE,
    },
    SESSION: {
        "id": TEXT, **_WHO, **_NAMES, "source": TEXT, "started_at": TIME, "last_activity": TIME,
        "updated_at": TIME, "stamps": MAPPING, **_WHERE,
    },
    ERROR: {
        "id": TEXT, "finality": INTEGER, "call_id": TEXT, "message_id": TEXT, **_WHO, "source": TEXT,
        "level": TEXT, "started_at": TIME, **_FAULT, **_WHERE,
    },
}  # fmt: skip
"""Every public field of each kind, in the order of its table, which has the name of the kind."""

COLUMNS_OF: Final[Mapping[str, frozenset[str]]] = {
    kind: frozenset(COLUMN_OF.get(name, name) for name in fields) for kind, fields in FIELDS_OF.items()
}
TOLD: Final = frozenset((MESSAGE, FEEDBACK, SESSION))
"""Kinds that are told piece by piece."""

_FIXED: Final[Mapping[str, frozenset[str]]] = {
    MESSAGE: frozenset(("id",)),
    FEEDBACK: frozenset(("id", "feedback_id", "organization_id", "client_id")),
    SESSION: frozenset(("id", "session_id", "organization_id", "client_id")),
}
"""Columns that make a row the one it is, and never change."""
_DERIVED: Final = frozenset(("stamps", "updated_at", "cancelled_at", "last_activity"))


# --- how tellings join ---------------------------------------------------------------------------


def joined(old: Record | None, told: Record) -> Record | None:
    """The row after one more telling, or `None` if that changes nothing.

    Args:
        old: the row so far, or `None`.
        told: a record of the same kind and id: of a tool call or an error the whole row, of the other kinds
            what is told now, with `told_at`, the moment of telling in microseconds.
    """
    kind = told["kind"]
    if kind not in TOLD:
        if old is not None and old["finality"] >= told["finality"]:
            return None
        return {name: value for name, value in told.items() if name in COLUMNS_OF[kind]}
    new = _telling(kind, told)
    if not new.get("stamps") and kind != SESSION:
        return None
    row = new if old is None else _join(kind, old, new)
    row = _settled(kind, row)
    return None if row == old else row


def _telling(kind: str, told: Record) -> Record:
    row = {
        name: value
        for name, value in told.items()
        if name in COLUMNS_OF[kind] and name not in _DERIVED and value is not None
    }
    if "told_at" not in told:
        return row
    moment: int = told["told_at"]
    row["stamps"] = {name: moment for name in row if name not in _FIXED[kind]}
    if kind == SESSION:
        row["last_activity"] = told.get("last_activity", moment)
        row.setdefault("started_at", row["last_activity"])
        row["stamps"].pop("started_at", None)
    if row.get("feedback_type") == "cancel":
        row["cancelled_at"] = moment
    return row


_EMPTY: Final[Mapping[int, Any]] = {LIST: [], MAPPING: {}}


def _join(kind: str, one: Record, other: Record) -> Record:
    row = {name: one.get(name, other.get(name)) for name in _FIXED[kind] if name in one or name in other}
    stamps: dict[str, int] = {}
    for name in {*one.get("stamps", ()), *other.get("stamps", ())}:
        # A list that was told empty comes back from a store as nothing.
        nothing = _EMPTY.get(FIELDS_OF[kind].get(name, TEXT))
        row[name], stamps[name] = max(
            (
                (side.get(name, nothing), side["stamps"][name])
                for side in (one, other)
                if name in side.get("stamps", ())
            ),
            key=lambda told: _strength(kind, name, *told),
        )
    row["stamps"] = stamps
    if kind == SESSION:
        row["started_at"] = min(side["started_at"] for side in (one, other))
    row.update((name, one[name]) for name in INHERITED if name in one and name not in row)
    for name in ("cancelled_at", "last_activity"):
        moments = [side[name] for side in (one, other) if side.get(name) is not None]
        if moments:
            row[name] = max(moments)
    return row


def _strength(kind: str, name: str, value: Any, stamp: int) -> tuple[bool, int, str]:
    """The later telling counts; but a message that has an outcome pends no more, whoever said so when."""
    settled = kind == MESSAGE and name == "status" and value != "pending"
    return settled, stamp, json.dumps(value, sort_keys=True)


def _settled(kind: str, row: Record) -> Record:
    """What follows from what was told: a cancellation forgets all before it; every row has its times."""
    cancelled = row.get("cancelled_at")
    stamps: dict[str, int] = row.get("stamps", {})
    if cancelled is not None:
        stamps = {name: moment for name, moment in stamps.items() if moment > cancelled}
        row = {
            name: value
            for name, value in row.items()
            if name in stamps or name in _FIXED[kind] or name in ("cancelled_at", "updated_at")
        }
    moments = [*stamps.values(), *(() if cancelled is None else (cancelled,))]
    moments += [row["last_activity"]] if kind == SESSION else []
    row = {**row, "updated_at": max(moments)}
    row.update({"stamps": stamps} if stamps else {})
    if "started_at" not in stamps and kind != SESSION:
        row["started_at"] = min(moments)
    if kind == MESSAGE and "status" not in stamps:
        row["status"] = "pending"
    return row


def by_kind(records: Iterable[Record]) -> dict[str, list[Record]]:
    """Records apart by kind; messages first, because the others look for theirs."""
    found: dict[str, list[Record]] = {kind: [] for kind in (MESSAGE, *FIELDS_OF)}
    for record in records:
        found[record["kind"]].append(record)
    return {kind: members for kind, members in found.items() if members}


# --- what is taken over from a message or a call -------------------------------------------------

INHERITED: Final = tuple(name for name, kind in _WHO.items() if kind == TEXT)
"""What a tool call, feedback or an error takes over where it says nothing itself."""
CALL_OF: Final[Mapping[str, str]] = {TOOL_CALL: "parent_id", FEEDBACK: "call_id", ERROR: "call_id"}
"""Where a neighbour names its call; these are the kinds that inherit."""


def inherited(row: Record, *sources: Mapping[str, Any] | None) -> Record:
    """A row with its blanks filled from the first source that knows."""
    filled = {
        name: source[name]
        for source in reversed(sources)
        if source is not None
        for name in (*INHERITED, "message_id")
        if source.get(name) is not None
    }
    return {**filled, **row}
