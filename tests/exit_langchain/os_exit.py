"""Ends without any clean-up, right after the last of its calls, with a stream half read."""

import os

from rig import CONFIG, model

for _ in range(20):
    model().invoke("hello", config=CONFIG)
stream = model("half").stream("hello", config=CONFIG)
next(stream)
os._exit(3)
