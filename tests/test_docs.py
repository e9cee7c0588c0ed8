"""What the documentation says is so."""

from __future__ import annotations

import re
from pathlib import Path

from tokentrail._settings import Settings

ROOT = Path(__file__).parent.parent


def test_settings_page_is_complete() -> None:
    """The page lists every setting, in order, and nothing else."""
    page = (ROOT / "docs" / "settings.md").read_text(encoding="utf-8")
    assert re.findall(r"^\| `(\w+)`", page, re.MULTILINE) == list(Settings.model_fields)
