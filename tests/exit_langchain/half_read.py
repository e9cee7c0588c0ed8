"""Ends with a stream half read, held by a global name."""

from rig import CONFIG, model

stream = model().stream("hello", config=CONFIG)
next(stream)
