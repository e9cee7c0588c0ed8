"""`guarded`, where doors look for it."""

from __future__ import annotations

from tokentrail._guard import guarded

__all__ = ["guarded"]
