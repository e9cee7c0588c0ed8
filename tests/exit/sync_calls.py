"""Makes N calls, every other one streamed, and ends: python sync_calls.py URL N exit|os_exit|raise."""

from __future__ import annotations

import os
import sys

import litellm
import ready

from tokentrail._tracker import Tracker
from tokentrail.integrations.litellm import TokentrailLogger

assert ready

base, count, ending = sys.argv[1], int(sys.argv[2]), sys.argv[3]
mode = "hooks" if "hooks" in sys.argv else None
litellm.callbacks = [TokentrailLogger(Tracker(), mode=mode)]

for number in range(count):
    answer = litellm.completion(
        model="openai/gpt-4o",
        messages=[{"role": "user", "content": "hello"}],
        stream=number % 2 == 1,
        api_base=f"{base}/v1",
        api_key="none",
        max_retries=0,
    )
    if number % 2:
        list(answer)

if ending == "os_exit":
    os._exit(0)
if ending == "raise":
    raise SystemExit(7)
