"""How libraries spell providers and models, and what price lists call them."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Final


def _spellings(**names: str) -> dict[str, str]:
    return {spelling: name.replace("_", "-") for name, all_ in names.items() for spelling in all_.split()}


PROVIDERS: Final[Mapping[str, str]] = _spellings(
    anthropic="anthropic anthropic_text",
    aws="aws amazon bedrock bedrock_converse amazon_bedrock amazon.bedrock aws.bedrock aws_bedrock"
    " anthropic_bedrock amazon_nova",
    azure="azure azure_ai azure_openai azure-openai azureopenai azure.ai.openai azure.ai.inference azure_text"
    " az.ai.openai az.ai.inference",
    cerebras="cerebras",
    cloudflare="cloudflare",
    cohere="cohere cohere_chat",
    databricks="databricks",
    deepseek="deepseek",
    fireworks="fireworks fireworks_ai fireworks-ai",
    github_copilot="github_copilot github-copilot",
    google="google gemini google_genai google-genai google_ai google-gla gcp.gen_ai gcp.gemini"
    " vertexai vertex_ai vertex_ai_beta google_vertexai google-vertex google_anthropic_vertex gcp.vertex_ai",
    groq="groq",
    meta="meta meta_llama",
    minimax="minimax",
    mistral="mistral mistralai mistral_ai codestral text-completion-codestral",
    moonshotai="moonshot moonshotai",
    novita="novita",
    openai="openai openai_chat text-completion-openai openai_responses",
    openrouter="openrouter",
    ovhcloud="ovhcloud",
    perplexity="perplexity",
    together="together together_ai together-ai togetherai",
    voyageai="voyage voyageai",
    x_ai="xai x_ai x-ai",
    zai="zai",
    zhipuai="zhipuai",
)
"""Spelling of a provider (OpenTelemetry's, LiteLLM's, LangChain's) → genai-prices' id."""

ROUTERS: Final = frozenset({"litellm", "litellm-chat"})
"""Names that say only through whom a call went: the provider is in front of the model (`openai/gpt-4o`)."""

LOCAL: Final = frozenset(
    {
        "ollama",
        "ollama_chat",
        "llamafile",
        "lm_studio",
        "lmstudio",
        "llama_cpp",
        "llamacpp",
        "llama.cpp",
        "gpt4all",
        "localai",
        "mlx",
        "vllm",
    }
)
"""Providers that run on the caller's own machine: nothing is charged for a token."""

_DATED: Final = re.compile(r"(?:[-@](?:\d{4}-\d{2}-\d{2}|\d{8}|\d{6}|\d{4}|\d{3}))?(?:-v\d+)?(?::\d+)?")
_REGION: Final = re.compile(r"^(?:regional|global|us-gov|us|eu|apac|ap|jp|au|ca)\.")


def provider_of(spelling: str | None) -> str | None:
    """genai-prices' id of a provider; `None` if it is unknown or only a router."""
    return PROVIDERS.get(spelling.strip().lower()) if spelling else None


def is_local(provider: str | None, model: str) -> bool:
    """Whether the model runs on the caller's own machine (Ollama's `…-cloud` models do not)."""
    spelling = provider.strip().lower() if provider else model.partition("/")[0].lower()
    return spelling in LOCAL and not model.endswith(("-cloud", ":cloud"))


def spellings(provider: str | None, model: str) -> tuple[str | None, list[str]]:
    """The provider's id, and the names under which a price list may have the model, best first.

    LiteLLM writes the provider in front (`bedrock/us.anthropic.claude…`), Google a path (`models/gemini…`).
    An unknown provider stays unknown: a model of the same name at another one has another price.
    """
    found = provider_of(provider)
    names = [model]
    head, slash, tail = model.partition("/")
    if slash and (provider is None or provider.strip().lower() in ROUTERS) and provider_of(head):
        found, names = provider_of(head), [tail, model]
    elif slash and found is not None and provider_of(head) == found:
        names.append(tail)
    if found in ("google", "aws", "azure") and "/" in model:
        names.append(model.rsplit("/", 1)[1])
    return found, names


def is_same_model(asked: str, matched: str) -> bool:
    """Whether the name asked for is the matched one or a dated or regional form of it."""
    asked, matched = (_REGION.sub("", name.lower()) for name in (asked, matched))
    for name in (asked, asked.rsplit("/", 1)[-1], asked.replace(".", "-")):
        if name.startswith(matched) and _DATED.fullmatch(name, len(matched)):
            return True
    return False
