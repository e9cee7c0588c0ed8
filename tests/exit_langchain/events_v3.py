"""Ends its event loop right after the last event of an answer was read."""

import asyncio
import warnings

from rig import CONFIG, model

warnings.simplefilter("ignore")


async def main() -> None:
    stream = await model().astream_events("hello", config=CONFIG, version="v3")
    async for event in stream:
        if event["event"] == "message-finish":
            break


asyncio.run(main())
