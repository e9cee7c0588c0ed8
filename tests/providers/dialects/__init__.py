"""Further dialects for the loopback provider: how other providers write an answer and its usage down."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from tokentrail.demo._wire import Dialect

from . import openai_like
from .anthropic import ANTHROPIC
from .bedrock import CONVERSE
from .cohere import COHERE
from .gemini import GEMINI
from .ollama import OLLAMA

DIALECTS: Final[Mapping[str, Dialect]] = {
    "/anthropic/v1/messages": ANTHROPIC,
    "/deepseek/chat/completions": openai_like.DEEPSEEK,
    "/fireworks/chat/completions": openai_like.FIREWORKS,
    "/groq/openai/v1/chat/completions": openai_like.GROQ,
    "/mistral/chat/completions": openai_like.MISTRAL,
    "/openai/deployments/loopback/chat/completions": openai_like.AZURE,
    "/openrouter/chat/completions": openai_like.OPENROUTER,
    "/xai/chat/completions": openai_like.XAI,
    ":generateContent": GEMINI,
    ":streamGenerateContent": GEMINI,
    "/api/chat": OLLAMA,
    "/v2/chat": COHERE,
    "/converse": CONVERSE,
    "/converse-stream": CONVERSE,
}
"""The end of a path → its dialect; what OpenAI's copies have before theirs tells them apart."""
