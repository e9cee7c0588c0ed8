"""The small soak; `make soak` is the large one."""

from __future__ import annotations

from pathlib import Path

from litellm_rig import QUIET
from soak.soak import soak

pytestmark = QUIET


def test_small_soak(tmp_path: Path) -> None:
    """Some hundred calls of every kind, fifty at a time: rows are requests, tokens are what was sent."""
    seen = soak(250, 50, tmp_path)
    assert seen.requests >= 250
