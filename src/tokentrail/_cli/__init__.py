"""The command `tokentrail`: shows what the ledger answers, and computes nothing itself."""

from __future__ import annotations

import os
import sys

from tokentrail.errors import TokentrailError, needs

INTERRUPTED = 130
"""128 + SIGINT, as shells count."""


def main() -> int:
    """Run the command line.

    Returns:
        0; 1 where the demo or the doctor found something, or nobody reads the output any more; 2 for a
        wrong option, setting or database, said in one sentence on stderr; 130 after Ctrl-C.
    """
    try:
        code = _run()
        sys.stdout.flush()
    except TokentrailError as error:
        print(f"tokentrail: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        return INTERRUPTED
    except BrokenPipeError:
        # The interpreter flushes once more when it ends, and would complain.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    return code


def _run() -> int:
    with needs("typer", "rich", extra="cli"):
        from tokentrail._cli.app import app
    try:
        app()
    except SystemExit as stop:
        return stop.code if isinstance(stop.code, int) else int(stop.code is not None)
    return 0
