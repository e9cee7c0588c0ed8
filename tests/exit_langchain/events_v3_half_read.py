"""Ends with a stream of events half read, of which LangChain never says anything again."""

import warnings

from rig import CONFIG, model

warnings.simplefilter("ignore")
stream = model().stream_events("hello", config=CONFIG, version="v3")
events = iter(stream)
next(events)
