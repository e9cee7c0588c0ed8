"""The oldest optional libraries that `pyproject.toml` allows; `make test-floors` installs them."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Final

PYPROJECT: Final = Path(__file__).parent.parent / "pyproject.toml"


def floors() -> dict[str, str]:
    """Library → the oldest version that is allowed."""
    extras = tomllib.loads(PYPROJECT.read_text(encoding="utf-8"))["project"]["optional-dependencies"]
    wanted = [one.partition(">=") for extra in extras.values() for one in extra]
    return {name: rest.partition(",")[0] for name, _, rest in wanted if rest}
