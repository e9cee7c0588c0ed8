"""Streams that reach their reader as bytes of server-sent events: `anthropic_messages`, Google's own API."""

from __future__ import annotations

import json
from typing import Any, Final

from tokentrail._normalize import StreamUsage
from tokentrail._usage import Usage

_LINE_LIMIT: Final = 1 << 20
_ENDS: Final = (b"message_stop", b'"finishReason"')


class SseReader:
    """Reads the usage out of the bytes that pass, however they were cut into chunks."""

    __slots__ = ("_rest", "_usage", "fields", "finished", "started")

    def __init__(self) -> None:
        self._rest = b""
        self._usage = StreamUsage()
        self.fields: dict[str, Any] = {}
        """Id, model and finish reason of the answer, as far as they were told."""
        self.started = False
        self.finished = False

    @property
    def usage(self) -> Usage:
        """The usage so far."""
        return self._usage.usage

    def feed(self, chunk: bytes) -> None:
        """Look at the next bytes; events are parsed only if they speak of usage or of the end."""
        lines, newline, rest = (self._rest + chunk).rpartition(b"\n")
        self._rest = rest if len(rest) < _LINE_LIMIT else b""
        if not newline:
            return
        self.started = True
        if any(end in lines for end in _ENDS):
            self.finished = True
        if b"usage" not in lines and b"stop_reason" not in lines:
            return
        for line in lines.splitlines():
            if line.startswith(b"data:") and (b"usage" in line or b"stop_reason" in line):
                self._event(line[5:])

    def _event(self, text: bytes) -> None:
        try:
            event = json.loads(text)
        except ValueError:
            return
        if not isinstance(event, dict):
            return
        self._usage.feed(event)
        message = event.get("message")
        if isinstance(message, dict):
            for name, key in (("response_id", "id"), ("model", "model")):
                if isinstance(message.get(key), str):
                    self.fields[name] = message[key]
        delta = event.get("delta")
        if isinstance(delta, dict) and isinstance(delta.get("stop_reason"), str):
            self.fields["finish_reason"] = delta["stop_reason"]
