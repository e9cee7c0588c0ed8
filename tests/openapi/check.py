"""Holds the app against its own OpenAPI document, with schemathesis: `make test-openapi`.

Not collected by pytest: it takes a minute, and a tool of its own.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
from pathlib import Path

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE.parent))

from server_rig import TOKEN, Serving, fill  # noqa: E402
from tokentrail import Tracker  # noqa: E402
from tokentrail.server import create_app  # noqa: E402


def main() -> int:
    """Run it against a server of our own; its exit code."""
    with (
        tempfile.TemporaryDirectory() as folder,
        Tracker(f"sqlite:///{folder}/usage.db", data_dir=folder) as tracker,
    ):
        fill(tracker)
        with Serving(create_app(tracker, token=TOKEN)) as serving:
            return subprocess.call(
                [
                    str(Path(sys.executable).parent / "schemathesis"),
                    f"--config-file={HERE / 'schemathesis.toml'}",
                    "run",
                    f"{serving.url}/api/v1/openapi.json",
                    f"--header=Authorization: Bearer {TOKEN}",
                    "--phases=coverage,fuzzing",
                    *sys.argv[1:],
                ],
                cwd=folder,
            )


if __name__ == "__main__":
    sys.exit(main())
