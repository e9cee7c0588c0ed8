"""What may reach the disk: text cut to size, secrets blanked, strangers' objects made harmless."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping
from typing import Any, Final

REDACTED: Final = "[redacted]"
SHORT: Final = 512
"""Characters kept of names and ids."""
LONG: Final = 4096
"""Characters kept of messages and stack traces."""
_DEPTH: Final = 6
_WIDTH: Final = 64

_SECRET_NAME: Final = re.compile(
    r"(?i)(api[-_]?key|apikey|authorization|password|passwd|secret|credential|private[-_]?key|cookie"
    r"|access[-_]?key|session[-_]?token|(?:^|[-_])(?:auth|access|refresh|id|bearer|api)?[-_]?token$|x-api-key)"
)
_SECRET_TEXT: Final = re.compile(
    r"(?i)\bbearer\s+[\w.~+/=-]{6,}"
    r"|\b(?:sk|pk|rk|gsk|xai|hf|pplx|r8|ghp|gho|glpat|xox[abp])[-_][\w-]{8,}"
    r"|\bAKIA[0-9A-Z]{12,}|\bASIA[0-9A-Z]{12,}|\bAIza[\w-]{20,}|\beyJ[\w-]{8,}\.[\w-]{8,}\.[\w-]*"
    r"|-----BEGIN [A-Z ]*PRIVATE KEY-----[\s\S]*?(?:-----END [A-Z ]*PRIVATE KEY-----|$)"
    r"|(?<=://)[^/\s:@]+:[^/\s@]+(?=@)"
    r"|(?:(?<=api_key=)|(?<=api-key=)|(?<=apikey=)|(?<=password=)|(?<=token=)|(?<=secret=)|(?<=[?&]key=))[^\s&'\",]{4,}"
)


class Clean(dict[str, Any]):
    """A mapping that was cleaned already, for a door that gives the same one with every call."""


def clean_name(value: str) -> str:
    """A name or id as it may be stored: no lone surrogates, no NUL, cut at `SHORT` characters."""
    if len(value) <= SHORT and value.isascii() and "\0" not in value:
        return value
    return _storable(value[:SHORT])


def clean_text(value: object, limit: int = LONG) -> str:
    """A message as it may be stored: cut first (so that size costs nothing), then secrets blanked."""
    text = value if isinstance(value, str) else safe_str(value)
    # Cut with a margin: a secret that straddles the limit must still be recognised as one.
    text = _SECRET_TEXT.sub(REDACTED, text[: limit + 256])
    return _storable(text[:limit])


def safe_str(value: object) -> str:
    """`str(value)`, or the type's name where the object's own code fails."""
    try:
        return str(value)
    except Exception:  # noqa: BLE001  a stranger's __str__ may do anything; its type is all we know then
        return f"<{type(value).__name__}>"


def clean_json(value: object, *, limit: int = LONG, depth: int = _DEPTH) -> Any:
    """Any object as plain JSON data: bounded depth and width, secrets blanked by name and by pattern.

    Objects of unknown types become a marker with the type's name; their `repr` is never called.
    """
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, int):
        return value if -(2**63) <= value < 2**63 else str(value)[:SHORT]
    if isinstance(value, float):
        return value if math.isfinite(value) else str(value)
    if isinstance(value, str):
        return clean_text(value, limit)
    if depth <= 0:
        return f"<{type(value).__name__}>"
    if isinstance(value, Mapping):
        return _clean_mapping(value, limit, depth)
    if isinstance(value, (list, tuple, set, frozenset)):
        items = [
            clean_json(item, limit=limit, depth=depth - 1)
            for _, item in zip(range(_WIDTH), value, strict=False)
        ]
        return items if len(value) <= _WIDTH else [*items, f"<{len(value) - _WIDTH} more>"]
    return f"<{type(value).__name__}>"


def _clean_mapping(value: Mapping[Any, Any], limit: int, depth: int) -> dict[str, Any]:
    cleaned: dict[str, Any] = {}
    for count, (key, item) in enumerate(value.items()):
        if count >= _WIDTH:
            cleaned["…"] = f"<{len(value) - _WIDTH} more>"
            break
        name = clean_name(key) if isinstance(key, str) else clean_name(safe_str(key))
        secret = isinstance(item, (str, bytes)) and _SECRET_NAME.search(name)
        cleaned[name] = REDACTED if secret else clean_json(item, limit=limit, depth=depth - 1)
    return cleaned


def clean_payload(value: object, limit: int) -> str:
    """A captured request or response as JSON text of at most about `limit` characters."""
    dump = getattr(value, "model_dump", None)
    data = dump() if callable(dump) else value
    text = json.dumps(clean_json(data, limit=limit, depth=16), ensure_ascii=False, separators=(",", ":"))
    return text if len(text) <= limit else text[:limit]


def clean_content(value: object, limit: int) -> str:
    """What a tool was given or gave back, or a message said: text as it is, anything else as JSON text.

    Text that is itself JSON is cleaned as what it says, so that secrets in it are found by their names. What
    is longer than `limit` characters ends with a note of how much there was.
    """
    data = value
    if isinstance(value, str):
        data = _parsed(value)
        if data is None:
            text = clean_text(value, limit)
            return text if len(value) <= limit else f"{text}{_CUT.format(len(value))}"
    elif isinstance(value, (bytes, bytearray)):
        return f"<{len(value)} bytes>"
    dump = getattr(data, "model_dump", None)
    data = dump() if callable(dump) else data
    text = json.dumps(clean_json(data, limit=limit, depth=16), ensure_ascii=False, separators=(",", ":"))
    return text if len(text) <= limit else f"{text[:limit]}{_CUT.format(len(text))}"


_CUT: Final = "… [cut: {} characters in all]"
_PARSED: Final = 1 << 20
"""Longer texts are not looked into: it would hold up the caller."""


def _parsed(text: str) -> Any:
    if text[:64].lstrip()[:1] not in ("{", "[") or len(text) > _PARSED:
        return None
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return None


def host_of(url: str) -> str:
    """The host (and port) of a URL: all of an address that is stored."""
    rest = url.split("://", 1)[-1]
    return clean_name(rest.split("/", 1)[0].split("?", 1)[0].rsplit("@", 1)[-1])


def _storable(text: str) -> str:
    """Text that every store takes: SQLite and orjson refuse lone surrogates, PostgreSQL refuses NUL."""
    return text.replace("\0", "�").encode("utf-8", "replace").decode("utf-8")
