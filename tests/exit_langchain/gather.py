"""Ends right after many calls at once."""

import asyncio
import sys

from rig import CONFIG, model


async def main() -> None:
    asked = model()
    await asyncio.gather(*(asked.ainvoke("hello", config=CONFIG) for _ in range(int(sys.argv[2]))))


asyncio.run(main())
