"""Conversations: the half of a tracker that takes messages, feedback, sessions and errors of one's own."""

from __future__ import annotations

import hashlib
from datetime import datetime
from typing import Any, Final

from tokentrail._context import current_context
from tokentrail._fields import NEIGHBOURS, to_columns
from tokentrail._neighbours import ERROR, FEEDBACK, MESSAGE, MESSAGE_STATUSES, RATINGS, SESSION
from tokentrail._records import FINAL, Record, new_id, now_us
from tokentrail._redact import clean_json, safe_str
from tokentrail._tool_calls import ToolRecorder

_DIGITS: Final = 32


class ConversationRecorder(ToolRecorder):
    """A recorder that takes what stands around calls. No method raises, or waits for a database.

    Messages, feedback and sessions may be told piece by piece, from any process: of each column the latest
    telling counts, in whatever order they arrive, and what is not told leaves what is known.
    """

    _last_told = 0

    def record_message(
        self,
        content: object = None,
        *,
        role: str = "user",
        status: str | None = None,
        level: str = "info",
        started_at: datetime | None = None,
        **fields: Any,
    ) -> str:
        """Record a message of a conversation.

        Its text is prompt or answer text, so it is stored only while `capture` is on (at most 20,000
        characters, secrets blanked), and so are its `variables`; `content_bytes` is known without.

        Args:
            content: the text, or parts that become JSON text.
            role: `user`, `assistant`, `system`, `tool` or a word of your own. A message of the user begins a
                turn; inside `context(message_id=…)` any other one is taken for an answer to that message.
            status: `pending`, `success`, `error` or `discarded`; default `pending` for the user's, which
                waits for an answer, and `success` for all others.
            level: `debug`, `info`, `warning` or `error`.
            started_at: default now; a naive time is UTC.
            fields: further columns of `Message`, such as `session_id`, `user_id`, `user_name`, `platform`,
                `parent_id` and `variables`; a name that is none is kept under `attributes`. `id=` makes a
                repetition harmless.

        Returns:
            The id of the message, for `context(message_id=…)`, `update_message` and `record_feedback`.
        """
        now = now_us()
        message_id = str(fields.pop("id", None) or new_id(now))
        if not self._enabled:
            return message_id
        with self._guard_tool:
            answers = fields.pop("message_id", None) or self._context_message()
            if role != "user" and answers != message_id:
                fields.setdefault("parent_id", answers)
            status = status or ("pending" if role == "user" else "success")
            variables = fields.pop("variables", None)
            record = self._beside(MESSAGE, {"started_at": started_at, **fields, "role": role, "level": level})
            record.setdefault("started_at", now)
            self._put_message(record, content, variables, status)
            self._tell(record, message_id)
        return message_id

    def update_message(
        self, message_id: str, status: str | None = None, *, content: object = None, **fields: Any
    ) -> None:
        """Tell more about a message, e.g. how it ended. What pends never replaces an outcome.

        Args:
            message_id: what `record_message` returned, here or in another process.
            status: `success`, `error` or `discarded`.
            content: see `record_message`.
            fields: columns of `Message`.
        """
        if not self._enabled:
            return
        with self._guard_tool:
            record: Record = {"kind": MESSAGE}
            variables = fields.pop("variables", None)
            to_columns(fields, record, self.health_counters, NEIGHBOURS[MESSAGE])
            self._put_message(record, content, variables, status)
            self._tell(record, message_id)

    def record_feedback(
        self,
        feedback_id: str | None = None,
        kind: object = None,
        *,
        content: object = None,
        reasons: object = None,
        started_at: datetime | None = None,
        **fields: Any,
    ) -> str:
        """Record what a user thinks of an answer; told again under the same id, the later counts.

        Args:
            feedback_id: the caller's own name for it, unique within organisation and client; default a new
                one.
            kind: `like` or 1, `dislike` or 2, `cancel` or 3, which removes it. Also as `feedback_type=`.
            content: what the user wrote. It is meant for you and so is stored, capture or not (secrets
                blanked, at most 4,096 characters). Also as `feedback_content=`.
            reasons: a list of what was wrong. Also as `inaccurate_reasons=`.
            started_at: default now; a naive time is UTC.
            fields: columns of `Feedback`: `message_id` or `call_id`, from which it takes over who and where,
                `session_id`, `user_id`, `stream_id`, `agent_name`, …

        Returns:
            The feedback id. A kind that is none is not recorded, and counted in `health()`.
        """
        feedback_id = str(feedback_id or new_id(now_us()))
        if not self._enabled:
            return feedback_id
        with self._guard_tool:
            rating = rating_of(fields.pop("feedback_type", None) if kind is None else kind)
            if rating is None:
                self.health_counters.note("invalid_field:feedback_type")
                return feedback_id
            given = {"feedback_content": content, "inaccurate_reasons": reasons, "started_at": started_at}
            fields.update({name: value for name, value in given.items() if value is not None})
            record = self._beside(FEEDBACK, {**fields, "feedback_id": feedback_id})
            record["feedback_type"] = rating
            record.setdefault("started_at", now_us())
            self._tell(record, self._key(record, record["feedback_id"]))
        return feedback_id

    def session(
        self, session_id: str | None = None, *, started_at: datetime | None = None, **fields: Any
    ) -> str:
        """Say that a conversation begins or goes on; any number of times, from anywhere.

        Calls and messages with a `session_id` make a session known by themselves. This adds what they do not
        say, such as `platform` or `user_name`, and that it is active although nothing was asked.

        Args:
            session_id: default that of the context, or a new one.
            started_at: when it began or was active; default now, a naive time is UTC.
            fields: columns of `SessionActivity`.

        Returns:
            The session id.
        """
        now = now_us()
        if not self._enabled:
            return session_id or new_id(now)
        found = session_id
        with self._guard_tool:
            record = self._beside(SESSION, {**fields, "session_id": session_id, "started_at": started_at})
            found = record.setdefault("session_id", new_id(now))
            record["last_activity"] = record.setdefault("started_at", now)
            self._tell(record, self._key(record, found))
        return found or new_id(now)

    def record_error(
        self, error: BaseException | str, *, level: str = "error", call_id: str | None = None, **fields: Any
    ) -> str:
        """Record an error that is neither a call's nor a tool call's, with its stack trace if it has one.

        Args:
            error: an exception or a text.
            level: `warning`, `error` or a word of your own.
            call_id: id of the call that it has to do with.
            fields: columns of `ErrorRecord`, such as `message_id`, `session_id`, `error_type`; `id=` makes a
                repetition harmless.

        Returns:
            The id of the error.
        """
        now = now_us()
        error_id = str(fields.pop("id", None) or new_id(now))
        if not self._enabled:
            return error_id
        with self._guard_tool:
            described = self._described(error)
            record = self._beside(ERROR, {**described, "level": level, "call_id": call_id, **fields})
            record.setdefault("started_at", now)
            record.update(id=error_id, finality=FINAL)
            self._writer.submit(record)
        return error_id

    # --- pieces ----------------------------------------------------------------------------------

    def _context_message(self) -> str | None:
        found: str | None = current_context().get("message_id")
        return found

    def _put_message(self, record: Record, content: object, variables: object, status: str | None) -> None:
        if status is not None:
            if status in MESSAGE_STATUSES:
                record["status"] = status
            else:
                self.health_counters.note("invalid_field:status")
        if content is not None:
            self._keep_content(record, "message_content", content)
            if isinstance(content, (str, bytes)):
                data = content if isinstance(content, bytes) else content.encode("utf-8", "replace")
                record["content_bytes"] = len(data)
        if isinstance(variables, dict) and self._capture:
            record["variables"] = clean_json(variables)

    def _tell(self, record: Record, row_id: str) -> None:
        """Hand on what is told now; in one process later tellings are later, whatever the clock does."""
        self._last_told = max(now_us(), self._last_told + 1)
        record.update(id=row_id, finality=FINAL, told_at=self._last_told)
        self._writer.submit(record)

    @staticmethod
    def _key(record: Record, name: str) -> str:
        """The same id for the same name of the same organisation and client: a UUIDv8 (RFC 9562)."""
        parts = (record.get("organization_id", ""), record.get("client_id", ""), name)
        digits = hashlib.sha256("\0".join(parts).encode()).hexdigest()[:_DIGITS]
        variant = f"{8 + int(digits[16], 16) % 4:x}"
        return f"{digits[:8]}-{digits[8:12]}-8{digits[13:16]}-{variant}{digits[17:20]}-{digits[20:]}"


def rating_of(kind: object) -> str | None:
    """`like`, `dislike` or `cancel`, from any of their spellings; `None` from anything else."""
    text = kind if isinstance(kind, int) and not isinstance(kind, bool) else safe_str(kind).strip().lower()
    return RATINGS.get(text)
