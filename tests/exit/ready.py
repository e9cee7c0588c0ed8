"""Imported first by every script here: what LiteLLM's threads would race to import."""

from __future__ import annotations

import importlib
import importlib.util

# The OpenAI SDK looks into `httpx2` while a thread of LiteLLM's is still importing it, and fails.
if importlib.util.find_spec("httpx2") is not None:
    importlib.import_module("httpx2")
