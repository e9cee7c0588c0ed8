"""Reads N streams inside `asyncio.run` and ends at once: python async_streams.py URL N [hooks]."""

from __future__ import annotations

import asyncio
import sys

import litellm
import ready

from tokentrail._tracker import Tracker
from tokentrail.integrations.litellm import TokentrailLogger

assert ready

base, count = sys.argv[1], int(sys.argv[2])
mode = "hooks" if "hooks" in sys.argv else None
litellm.callbacks = [TokentrailLogger(Tracker(), mode=mode)]


async def read() -> None:
    """One stream, to its end."""
    stream = await litellm.acompletion(
        model="openai/gpt-4o",
        messages=[{"role": "user", "content": "hello"}],
        stream=True,
        api_base=f"{base}/v1",
        api_key="none",
        max_retries=0,
    )
    async for _ in stream:
        pass


async def main() -> None:
    """All of them at once."""
    await asyncio.gather(*(read() for _ in range(count)))


asyncio.run(main())
