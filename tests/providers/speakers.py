"""The chat models of LangChain's provider packages, each pointed at the loopback provider."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

HOWS: Final = ("invoke", "ainvoke", "stream", "astream")
"""The ways to ask a model."""
KEY: Final = "not-a-real-key"


@dataclass(frozen=True, kw_only=True)
class Speaker:
    """A chat model class and how it is made.

    Attributes:
        name: what tests and the page call it.
        package: what must be installed.
        class_name: the class in that package.
        provider: what the row says.
        asked: the model asked for.
        answered: the model that the provider says it answers with.
        place: where, without further word, the provider's stream says its usage.
        elsewhere: other places where a server that speaks this dialect may say it.
        names_asked: the ways of asking in which the class names the model asked for as the one that answered.
        parts: the parts of a usage that its wire has.
        settings: arguments of the class, given the provider's URL.
    """

    name: str
    package: str
    class_name: str
    provider: str
    asked: str
    answered: str
    settings: Callable[[str], Mapping[str, Any]]
    place: str = "last"
    elsewhere: tuple[str, ...] = ("every", "twice")
    names_asked: tuple[str, ...] = ()
    parts: frozenset[str] = field(default=frozenset(("cached_tokens", "reasoning_tokens")))

    def model(self, url: str, **more: Any) -> Any:
        """A model of this class that asks the provider at a URL."""
        made = getattr(importlib.import_module(self.package), self.class_name)
        return made(**{**self.settings(url), **more})


_ALL_PARTS: Final = frozenset(("cached_tokens", "cache_creation_tokens", "reasoning_tokens"))
_CACHED: Final = frozenset(("cached_tokens",))
_CACHES: Final = frozenset(("cached_tokens", "cache_creation_tokens"))
_AWS: Final = {"aws_access_key_id": KEY, "aws_secret_access_key": KEY, "region_name": "us-east-1"}

SPEAKERS: Final = (
    Speaker(
        name="ChatOpenAI",
        package="langchain_openai",
        class_name="ChatOpenAI",
        provider="openai",
        asked="gpt-4o",
        answered="gpt-4o-2024-08-06",
        settings=lambda url: {
            "model": "gpt-4o", "base_url": f"{url}/v1", "api_key": KEY, "max_retries": 0,
            "stream_usage": True,
        },
    ),
    Speaker(
        name="ChatOpenAI (Responses)",
        package="langchain_openai",
        class_name="ChatOpenAI",
        provider="openai",
        asked="gpt-4o",
        answered="gpt-4o-2024-08-06",
        elsewhere=(),
        settings=lambda url: {
            "model": "gpt-4o", "base_url": f"{url}/v1", "api_key": KEY, "max_retries": 0,
            "use_responses_api": True,
        },
    ),
    Speaker(
        name="AzureChatOpenAI",
        package="langchain_openai",
        class_name="AzureChatOpenAI",
        provider="azure",
        asked="loopback",
        answered="gpt-4o-2024-08-06",
        settings=lambda url: {
            "azure_deployment": "loopback", "azure_endpoint": url, "api_key": KEY, "max_retries": 0,
            "api_version": "2025-01-01-preview",
        },
    ),
    Speaker(
        name="ChatAnthropic",
        package="langchain_anthropic",
        class_name="ChatAnthropic",
        provider="anthropic",
        asked="claude-sonnet-4-5",
        answered="claude-sonnet-4-5-20250929",
        parts=_CACHES,
        elsewhere=("twice",),
        settings=lambda url: {
            "model": "claude-sonnet-4-5", "base_url": f"{url}/anthropic", "api_key": KEY, "max_retries": 0,
        },
    ),
    Speaker(
        name="ChatGoogleGenerativeAI",
        package="langchain_google_genai",
        class_name="ChatGoogleGenerativeAI",
        provider="google_genai",
        asked="gemini-2.0-flash",
        answered="gemini-2.0-flash-001",
        place="every",
        elsewhere=(),
        settings=lambda url: {
            "model": "gemini-2.0-flash", "base_url": url, "google_api_key": KEY, "max_retries": 1,
        },
    ),
    Speaker(
        name="ChatOllama",
        package="langchain_ollama",
        class_name="ChatOllama",
        provider="ollama",
        asked="llama3.2",
        answered="llama3.2:latest",
        parts=frozenset(),
        elsewhere=(),
        settings=lambda url: {"model": "llama3.2", "base_url": url},
    ),
    Speaker(
        name="ChatMistralAI",
        package="langchain_mistralai",
        class_name="ChatMistralAI",
        provider="mistral",
        asked="mistral-small-latest",
        answered="mistral-small-2506",
        place="finish",
        parts=_CACHED,
        names_asked=("invoke", "ainvoke"),
        settings=lambda url: {
            "model": "mistral-small-latest", "base_url": f"{url}/mistral", "api_key": KEY, "max_retries": 1,
        },
    ),
    Speaker(
        name="ChatCohere",
        package="langchain_cohere",
        class_name="ChatCohere",
        provider="cohere",
        asked="command-a-03-2025",
        answered="command-a-03-2025",
        parts=_CACHED,
        elsewhere=(),
        names_asked=HOWS,
        settings=lambda url: {"model": "command-a-03-2025", "base_url": url, "cohere_api_key": KEY},
    ),
    Speaker(
        name="ChatGroq",
        package="langchain_groq",
        class_name="ChatGroq",
        provider="groq",
        asked="openai/gpt-oss-20b",
        answered="openai/gpt-oss-20b-0925",
        place="finish",
        names_asked=HOWS,
        settings=lambda url: {
            "model": "openai/gpt-oss-20b", "base_url": f"{url}/groq", "api_key": KEY, "max_retries": 0,
        },
    ),
    Speaker(
        name="ChatBedrockConverse",
        package="langchain_aws",
        class_name="ChatBedrockConverse",
        provider="amazon_bedrock",
        asked="anthropic.claude-3-haiku-20240307-v1:0",
        answered="anthropic.claude-3-haiku-20240307-v1:0",
        parts=_CACHES,
        elsewhere=(),
        names_asked=HOWS,
        settings=lambda url: {
            "model": "anthropic.claude-3-haiku-20240307-v1:0", "endpoint_url": url, "max_retries": 1, **_AWS,
        },
    ),
    Speaker(
        name="ChatDeepSeek",
        package="langchain_deepseek",
        class_name="ChatDeepSeek",
        provider="deepseek",
        asked="deepseek-chat",
        answered="deepseek-chat-0324",
        place="finish",
        settings=lambda url: {
            "model": "deepseek-chat", "api_base": f"{url}/deepseek", "api_key": KEY, "max_retries": 0,
        },
    ),
    Speaker(
        name="ChatXAI",
        package="langchain_xai",
        class_name="ChatXAI",
        provider="xai",
        asked="grok-4",
        answered="grok-4-0709",
        place="finish",
        settings=lambda url: {
            "model": "grok-4", "xai_api_base": f"{url}/xai", "api_key": KEY, "max_retries": 0,
        },
    ),
    Speaker(
        name="ChatOpenRouter",
        package="langchain_openrouter",
        class_name="ChatOpenRouter",
        provider="openrouter",
        asked="anthropic/claude-sonnet-4.5",
        answered="anthropic/claude-sonnet-4.5-20250929",
        parts=_ALL_PARTS,
        settings=lambda url: {
            "model": "anthropic/claude-sonnet-4.5", "base_url": f"{url}/openrouter", "api_key": KEY,
            "max_retries": 0,
        },
    ),
    Speaker(
        name="ChatFireworks",
        package="langchain_fireworks",
        class_name="ChatFireworks",
        provider="fireworks",
        asked="accounts/fireworks/models/kimi-k2",
        answered="accounts/fireworks/models/kimi-k2-0905",
        place="finish",
        names_asked=HOWS,
        settings=lambda url: {
            "model": "accounts/fireworks/models/kimi-k2", "base_url": f"{url}/fireworks", "api_key": KEY,
            "max_retries": 1,
        },
    ),
    Speaker(
        name="ChatLiteLLM",
        package="langchain_litellm",
        class_name="ChatLiteLLM",
        provider="openai",
        asked="openai/gpt-4o",
        answered="gpt-4o-2024-08-06",
        names_asked=HOWS,
        settings=lambda url: {
            "model": "openai/gpt-4o", "api_base": f"{url}/v1", "api_key": KEY, "max_retries": 0,
            "stream_options": {"include_usage": True},
        },
    ),
)  # fmt: skip
