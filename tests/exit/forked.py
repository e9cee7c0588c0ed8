"""Calls, forks, and calls in both: python forked.py URL."""

from __future__ import annotations

import os
import sys

import litellm
import ready

from tokentrail._tracker import Tracker
from tokentrail.integrations.litellm import TokentrailLogger

assert ready

tracker = Tracker()
litellm.callbacks = [TokentrailLogger(tracker)]


def call(model: str, *, stream: bool = False) -> object:
    """One call of the provider."""
    return litellm.completion(
        model=f"openai/{model}",
        messages=[{"role": "user", "content": "hello"}],
        stream=stream,
        api_base=f"{sys.argv[1]}/v1",
        api_key="none",
        max_retries=0,
    )


call("before")
half = call("half", stream=True)
next(half)  # type: ignore[call-overload]
child = os.fork()
if child == 0:
    del half  # the parent's to end
    call("in-child")
    tracker.flush(10)
    os._exit(0)
os.waitpid(child, 0)
list(half)  # type: ignore[call-overload]
call("after")
