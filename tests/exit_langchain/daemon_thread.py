"""Ends while a daemon thread waits for an answer."""

import sys
import threading

from rig import CONFIG, model

threading.Thread(
    target=model("stalls").invoke, args=("hello",), kwargs={"config": CONFIG}, daemon=True
).start()
sys.stdin.readline()  # the test says when the request has reached the provider
