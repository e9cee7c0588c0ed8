"""Questions and answers: `Stats`, and the models its answers come in."""

from __future__ import annotations

from tokentrail._stats import Stats

__all__ = ["Stats"]
