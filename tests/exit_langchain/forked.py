"""Forks with a stream half read: the child drops its copy and makes a call of its own."""

import os
import sys

from rig import CONFIG, model

stream = model("half").stream("hello", config=CONFIG)
next(stream)
child = os.fork()
if child == 0:
    del stream
    model("in-child").invoke("hello", config=CONFIG)
    sys.exit(0)
assert os.waitpid(child, 0)[1] == 0
list(stream)
