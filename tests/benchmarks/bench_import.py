"""What `import tokentrail` costs a program that never makes a call: CPU ms, and which libraries it loads.

python tests/benchmarks/bench_import.py [--runs 15]
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys

LIMIT_MS = 50.0
HEAVY = (
    "litellm", "langchain_core", "sqlalchemy", "sqlmodel", "pydantic", "alembic", "genai_prices", "fastapi",
    "typer", "rich", "psycopg",
)  # fmt: skip
"""Libraries that come when they are needed, and not before."""
STATEMENTS = ("pass", "import json, logging, sqlite3", "import tokentrail", "from tokentrail import Tracker")
CODE = """
import json, sys, time
before, began = set(sys.modules), time.process_time()
{statement}
spent = time.process_time() - began
print(json.dumps([spent * 1000, sorted({{name.partition(".")[0] for name in set(sys.modules) - before}})]))
"""


def measure(statement: str, runs: int) -> tuple[list[float], list[str]]:
    """CPU ms of a statement in fresh interpreters, and the packages it loads."""
    spent, loaded = [], []
    for _ in range(runs):
        command = [sys.executable, "-c", CODE.format(statement=statement)]
        ms, loaded = json.loads(subprocess.run(command, capture_output=True, check=True).stdout)
        spent.append(ms)
    return sorted(spent), loaded


def main() -> int:
    """Print the figures; the exit status says whether a heavy library came along."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--runs", type=int, default=15)
    runs = parser.parse_args().runs
    failed = 0
    print(f"{'':44}{'best':>8}{'median':>8}   CPU ms; heavy libraries")
    for statement in (
        "pass",
        "import json, logging, sqlite3",
        "import tokentrail",
        "from tokentrail import Tracker",
    ):
        spent, loaded = measure(statement, runs)
        heavy = [name for name in HEAVY if name in loaded]
        print(f"{statement:44}{spent[0]:8.1f}{statistics.median(spent):8.1f}   {', '.join(heavy) or 'none'}")
        failed |= statement == "import tokentrail" and (bool(heavy) or spent[0] > LIMIT_MS)
    return int(failed)


if __name__ == "__main__":
    raise SystemExit(main())
