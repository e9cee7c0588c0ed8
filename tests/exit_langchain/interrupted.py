"""Waits for an answer until somebody presses Ctrl-C; an earlier call is in the store already."""

from rig import CONFIG, TRACKER, model

model().invoke("hello", config=CONFIG)
assert TRACKER.flush(30)
model("stalls").invoke("hello", config=CONFIG)
