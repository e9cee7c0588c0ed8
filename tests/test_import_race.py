"""Libraries that load in the writer's thread must not be met half-loaded by the host."""

from __future__ import annotations

import subprocess
import sys


def test_httpx2_is_whole_before_there_is_a_second_thread() -> None:
    """openai looks for `httpx2` in `sys.modules` at every request, and genai-prices brings it along.

    Loaded by the writer while the host calls, it made requests fail with "partially initialized module".
    """
    code = (
        "import sys, threading\n"
        "from tokentrail import Tracker\n"
        "tracker = Tracker('memory://')\n"
        "assert threading.active_count() == 1\n"
        "before = set(sys.modules)\n"
        "call_id = tracker.start(model='gpt-4o', provider='openai')\n"
        "tracker.finish(call_id, usage={'prompt_tokens': 1, 'completion_tokens': 1})\n"
        "assert tracker.flush(60)\n"
        "assert 'genai_prices' in sys.modules\n"
        "late = {name for name in set(sys.modules) - before if name.startswith(('httpx2', 'httpcore2'))}\n"
        "assert not late, sorted(late)[:5]\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
