"""What every test stands on: an own data directory, our own faults raised, no network but loopback."""

from __future__ import annotations

import os

# Before anything imports litellm: its price map comes from the wheel, not from the network.
os.environ["LITELLM_LOCAL_MODEL_COST_MAP"] = "True"
os.environ["LANGCHAIN_TRACING_V2"] = "false"

from pathlib import Path

import pytest

from tokentrail import _guard

pytest_plugins = ["postgres"]


@pytest.fixture(autouse=True)
def _alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Keep every test away from the user's own ledger, and make our own faults loud."""
    for name in list(os.environ):
        if name.startswith("TOKENTRAIL_"):
            monkeypatch.delenv(name)
    monkeypatch.setenv("TOKENTRAIL_DATA_DIR", str(tmp_path / "data"))
    monkeypatch.setattr(_guard, "STRICT", True)
