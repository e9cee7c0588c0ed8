"""What the documentation says is so."""

from __future__ import annotations

import re
from pathlib import Path

from tokentrail._settings import Settings
from tokentrail._stats._catalog import STATS

ROOT = Path(__file__).parent.parent


def test_settings_page_is_complete() -> None:
    """The page lists every setting, in order, and nothing else."""
    page = (ROOT / "docs" / "settings.md").read_text(encoding="utf-8")
    assert re.findall(r"^\| `(\w+)`", page, re.MULTILINE) == list(Settings.model_fields)


def test_every_statistic_has_its_row() -> None:
    """The page of statistics lists the table: names, addresses and parameters, in order, and nothing else."""
    page = (ROOT / "docs" / "stats.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| `(\w+)` \| `([^`]+)` \| (.+) \| (.+) \|$", page, re.MULTILINE)
    told = [(name, path, re.findall(r"`(\w+)`", own)) for name, path, _, own in rows]
    assert told == [
        (entry.name, entry.path, [each.name for each in entry.parameters]) for entry in STATS.values()
    ]


def test_every_capability_is_listed_and_its_test_exists() -> None:
    """142 capabilities, each once; what is done names a test, and that test is there."""
    page = (ROOT / "docs" / "capabilities.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| ([A-Z]+\d+) \| .* \| (done|open) \| (.*) \|$", page, re.MULTILINE)
    assert len({name for name, _, _ in rows}) == len(rows) == 142
    for name, status, shown in rows:
        links = re.findall(r"`([^`]+)`", shown)
        assert (status == "done") == bool(links), name
        for link in links:
            path, _, test = link.partition("::")
            assert (ROOT / path).is_file(), f"{name}: {path}"
            found = re.search(rf"^(async )?def {test}\(", (ROOT / path).read_text("utf-8"), re.MULTILINE)
            assert not test or found, f"{name}: {link}"
