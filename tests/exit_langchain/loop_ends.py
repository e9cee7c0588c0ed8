"""Ends its event loop with a call that is not answered and a stream that is half read."""

import asyncio

from rig import CONFIG, model


async def main() -> None:
    task = asyncio.create_task(model("stalls").ainvoke("hello", config=CONFIG))
    stream = model().astream("hello", config=CONFIG)
    await anext(stream)
    assert not task.done()


asyncio.run(main())
