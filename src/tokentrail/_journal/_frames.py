"""How a record lies on the disk: one frame, found again between any amount of damage.

A frame is `RS`, the CRC-32 of the payload as 8 hexadecimal digits, a space, the payload as compact JSON,
`LF`. The *leading* RS (as in RFC 7464) is what makes a torn write cost one record only: with newlines alone
the torn half and the whole record behind it would be one broken line. JSON never contains a raw RS or LF.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Final
from zlib import crc32

from tokentrail._records import Record

RS: Final = b"\x1e"
WINDOW: Final = 256 * 1024
"""Bytes read at a time; doubled for a record that is longer."""

_HEAD: Final = re.compile(rb"([0-9a-f]{8}) (?=\{)")
_TRIES: Final = 4


def _marker(value: object) -> str:
    return f"<{type(value).__name__}>"


_ENCODER: Final = json.JSONEncoder(
    ensure_ascii=False, separators=(",", ":"), skipkeys=True, check_circular=True, default=_marker
)


def encode_with_json(record: Mapping[str, Any]) -> bytes:
    """A record as compact JSON, by the standard library, which takes what orjson refuses.

    Lone surrogates become `?`: neither UTF-8 nor a database can hold them.
    """
    return _ENCODER.encode(record).encode("utf-8", "replace")


def _pick_encoder() -> Callable[[Mapping[str, Any]], bytes]:
    try:
        import orjson
    except ImportError:
        return encode_with_json
    return orjson.dumps


dumps: Final = _pick_encoder()
"""The fastest encoder there is (orjson, by 10 times). What it refuses, `encode_with_json` takes."""


def encode(record: Mapping[str, Any]) -> bytes:
    """A record as compact JSON in UTF-8."""
    try:
        return dumps(record)
    except TypeError:  # lone surrogates, integers beyond 64 bits, keys that are no strings
        return encode_with_json(record)


def frame(payload: bytes) -> bytes:
    """A payload made ready for the disk."""
    return b"\x1e%08x %b\n" % (crc32(payload), payload)


class Scanner:
    """Reads the records of a segment, and knows afterwards what it met.

    Args:
        descriptor: the open segment.
        start: offset of a frame's first byte.
        dead: whether nobody writes any more; a half record at the end is then damage, else it is left alone.
        stop: offset behind which nothing need be read; who writes faster than we read would keep us for ever.

    Attributes:
        end: offset behind the last frame that was read.
        header: the payload that opens a segment, `{}` until it is met.
        damaged: places where bytes were not a record.
        torn: whether the last record is cut short, as by a kill in the middle of its write.
    """

    def __init__(self, descriptor: int, start: int = 0, *, dead: bool, stop: int | None = None) -> None:
        self._descriptor = descriptor
        self._stop = stop
        self._dead = dead
        self.end = start
        self.header: Record = {}
        self.damaged = 0
        self.torn = False

    def __iter__(self) -> Iterator[tuple[Record, int]]:
        """Records in the order they were written, each with the offset behind its frame."""
        buffer, window = b"", WINDOW
        while data := os.pread(self._descriptor, window, self.end + len(buffer)):
            buffer += data
            if self._stop is not None and self.end >= self._stop:
                return
            pieces = buffer.split(RS)
            window = WINDOW if len(pieces) > 2 else window * 2
            for index, piece in enumerate(pieces[:-1]):
                lead = 1 if index else 0
                yield from self._read(piece, lead + len(piece))
            buffer = RS + pieces[-1] if len(pieces) > 1 else buffer
        if buffer:
            yield from self._read_last(buffer)

    def _read(self, piece: bytes, length: int) -> Iterator[tuple[Record, int]]:
        self.end += length
        payload = _payload(piece)
        if payload is not None:
            yield from self._accept(payload)
        elif piece:
            yield from self._salvage(piece)

    def _read_last(self, buffer: bytes) -> Iterator[tuple[Record, int]]:
        piece = buffer.removeprefix(RS)
        payload = _payload(piece)
        if payload is not None:
            self.end += len(buffer)
            yield from self._accept(payload)
        elif self._dead:
            self.end += len(buffer)
            whole = list(self._salvage(piece))
            if not whole and b"\n" not in piece and b"\0" not in piece:
                self.torn = True
                self.damaged -= 1
            yield from whole

    def _accept(self, payload: bytes) -> Iterator[tuple[Record, int]]:
        record = _decode(payload)
        if record is None:
            self.damaged += 1
        elif "id" in record:
            yield record, self.end
        elif not self.header:
            self.header = record

    def _salvage(self, piece: bytes) -> Iterator[tuple[Record, int]]:
        """Whole records inside a damaged piece: a neighbour whose RS was hit, one whose LF is missing."""
        self.damaged += 1
        for line in piece.split(b"\n"):
            payload = _salvaged(line)
            if payload is not None:
                yield from self._accept(payload)


def _payload(piece: bytes) -> bytes | None:
    """The payload of an undamaged frame (without its RS)."""
    payload = piece[9:-1]
    try:
        told = int(piece[:8], 16)
    except ValueError:
        return None
    return payload if told == crc32(payload) and piece[-1:] == b"\n" and piece[8:9] == b" " else None


def _salvaged(line: bytes) -> bytes | None:
    for _, head in zip(range(_TRIES), _HEAD.finditer(line), strict=False):
        told, payload = int(head[1], 16), line[head.end() :]
        for whole in (payload, payload[:-1]):  # its LF was cut off, or hit
            if crc32(whole) == told:
                return whole
    return None


def _decode(payload: bytes) -> Record | None:
    try:
        record = json.loads(payload)
    except ValueError:
        return None
    return record if isinstance(record, dict) else None
