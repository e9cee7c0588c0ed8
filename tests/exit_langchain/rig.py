"""What the scripts here begin with: a ledger in the data directory, and models of the provider at argv[1]."""

from __future__ import annotations

import sys
from typing import Any

from langchain_openai import ChatOpenAI

from tokentrail import Tracker
from tokentrail.integrations.langchain import TokentrailCallbackHandler

TRACKER = Tracker()
CONFIG: Any = {"callbacks": [TokentrailCallbackHandler(TRACKER)]}


def model(name: str = "gpt-4o") -> ChatOpenAI:
    """A model that streams its usage; the model `stalls` never answers."""
    base = f"{sys.argv[1]}/v1"
    return ChatOpenAI(model=name, base_url=base, api_key="none", max_retries=0, stream_usage=True)
