"""All that is kept about one user: handed out, or deleted."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any, BinaryIO, Unpack

from tokentrail._neighbours import ERROR, FEEDBACK, MESSAGE, SESSION, TOOL_CALL
from tokentrail._query import Exact, Filters
from tokentrail._records import from_us, to_us
from tokentrail._stats._answers import Answer
from tokentrail._stats._arguments import FilterArguments
from tokentrail._stats._asking import Asking
from tokentrail.errors import QueryError
from tokentrail.models._neighbours import NEIGHBOURS

_PAGE = 1_000
_TABLES = {
    "messages": NEIGHBOURS[MESSAGE],
    "tool_calls": NEIGHBOURS[TOOL_CALL],
    "feedback": NEIGHBOURS[FEEDBACK],
    "sessions": NEIGHBOURS[SESSION],
    "errors": NEIGHBOURS[ERROR],
}


class UserData(Answer):
    """How much of a user was handed out or deleted."""

    user_id: str
    rows: dict[str, int]
    """By what they are: `calls` (with their requests and answers), `messages`, `tool_calls`, …"""
    total: int


class UserQuestions(Asking):
    """`Stats`, the part about the data of one user."""

    def export_user(  # type: ignore[misc]  # its own `user_id` stands before the filter of that name
        self, user_id: str, path: str | Path | BinaryIO, **where: Unpack[FilterArguments]
    ) -> UserData:
        """Write all that is kept about a user to a file of JSON lines, which only its owner may read.

        Args:
            user_id: exactly this user; no patterns.
            path: a file, which appears whole or not at all; `-` for the standard output; or an open file.
            where: filters, such as `organization_id` where several have users of one name.

        Raises:
            ConfigurationError: the path cannot be written to.
        """
        from tokentrail._export._files import target

        asked = self._of_user(user_id, where)
        rows: dict[str, int] = {}
        with target(path) as file:
            head = {"kind": "user", "user_id": user_id, "exported_at": from_us(self._now()).isoformat()}
            file.write(_line({**head, "schema_version": 1}))
            for kind, row in self._rows(asked):
                rows[kind] = rows.get(kind, 0) + 1
                file.write(_line({"kind": kind, **row}))
        return _counted(user_id, rows)

    def delete_user(  # type: ignore[misc]  # see `export_user`
        self, user_id: str, **where: Unpack[FilterArguments]
    ) -> UserData:
        """Delete all that is kept about a user, from every table and every sum.

        What waits in journals is imported first. What other processes are about to deliver comes later, and
        what was delivered lies in the journals of living processes until these are rotated (8 MiB, or the
        end of the process): ask once more when they have ended.

        Args:
            user_id: exactly this user; no patterns.
            where: filters, such as `organization_id`; only what passes them is deleted.
        """
        asked = self._of_user(user_id, where)
        store = self._opened()
        rows = {"calls": store.erase(asked)}
        rows.update((name, store.erase_beside(table, asked)) for name, table in _TABLES.items())
        return _counted(user_id, rows)

    def _of_user(self, user_id: str, where: Any) -> Filters:
        if not user_id:
            raise QueryError("user_id: it is empty. Give the id of one user.")
        return self._begin(**where, user_id=Exact(user_id))

    def _rows(self, asked: Filters) -> Iterator[tuple[str, dict[str, Any]]]:
        store = self._opened()
        for call in _paged(partial(store.scan, asked, limit=_PAGE)):
            yield "calls", {**call.model_dump(mode="json"), **store.payload(call.id)}
        for name, table in _TABLES.items():
            for row in _paged(partial(store.beside, table, asked, limit=_PAGE)):
                yield name, row.model_dump(mode="json")


def _paged(page: Callable[..., list[Any]]) -> Iterator[Any]:
    after = None
    while rows := page(after=after):
        yield from rows
        after = to_us(rows[-1].started_at), rows[-1].id


def _line(row: dict[str, Any]) -> bytes:
    return json.dumps(row, ensure_ascii=False, separators=(",", ":")).encode("utf-8", "replace") + b"\n"


def _counted(user_id: str, rows: dict[str, int]) -> UserData:
    return UserData(
        user_id=user_id, rows={"calls": 0, **dict.fromkeys(_TABLES, 0), **rows}, total=sum(rows.values())
    )
