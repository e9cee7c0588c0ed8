"""Prints the oldest libraries that `pyproject.toml` allows behind our doors, as pip's requirements.

`make test-floors` installs these; `python tests/floors.py litellm` prints one.
"""

from __future__ import annotations

import sys
import tomllib
from pathlib import Path
from typing import Final

PYPROJECT: Final = Path(__file__).parent.parent / "pyproject.toml"
LIBRARIES: Final = ("litellm", "langchain-core", "langchain", "langchain-openai", "langchain-litellm")

BELOW: Final = ("langgraph-checkpoint<4",)
"""What the oldest langchain-core can live with; pip thinks that it can do with 4.x too."""


def floors() -> dict[str, str]:
    """Library → the oldest version that is allowed."""
    extras = tomllib.loads(PYPROJECT.read_text(encoding="utf-8"))["project"]["optional-dependencies"]
    wanted = [one.partition(">=") for extra in extras.values() for one in extra]
    known = {name: rest.partition(",")[0] for name, _, rest in wanted if rest}
    return {name: known[name] for name in LIBRARIES}


if __name__ == "__main__":
    asked = sys.argv[1:] or LIBRARIES
    lines = [f"{name}=={version}" for name, version in floors().items() if name in asked]
    sys.stdout.write("\n".join([*lines, *(() if sys.argv[1:] else BELOW), ""]))
