"""Ends with an exception in the loop over a stream."""

from rig import CONFIG, model

for _ in model().stream("hello", config=CONFIG):
    raise SystemExit(7)
