"""Ends with a stream half read and another call's task running: python half_read.py URL."""

from __future__ import annotations

import sys

import litellm
import ready

from tokentrail._tracker import Tracker
from tokentrail.integrations.litellm import TokentrailLogger

assert ready

mode = "hooks" if "hooks" in sys.argv else None
litellm.callbacks = [TokentrailLogger(Tracker(), mode=mode)]
stream = litellm.completion(
    model="openai/gpt-4o",
    messages=[{"role": "user", "content": "hello"}],
    stream=True,
    api_base=f"{sys.argv[1]}/v1",
    api_key="none",
    max_retries=0,
)
next(stream)
