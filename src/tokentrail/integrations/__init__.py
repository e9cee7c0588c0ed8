"""The doors in, and the way out to OpenTelemetry: one file per library, imported when it is first touched."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tokentrail.integrations import langchain, litellm, otel

__all__ = ["langchain", "litellm", "otel"]


def __getattr__(name: str) -> Any:
    if name in __all__:
        return importlib.import_module(f"tokentrail.integrations.{name}")
    raise AttributeError(f"module 'tokentrail.integrations' has no attribute {name!r}")
