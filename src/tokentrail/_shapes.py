"""Where each speaker hides its counts: the keys of every usage payload we know, as data."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from functools import lru_cache
from typing import Final, NamedTuple

INPUT, OUTPUT, TOTAL = "input_tokens", "output_tokens", "total_tokens"
CACHE_READ, CACHE_CREATION, REASONING = "cache_read_tokens", "cache_creation_tokens", "reasoning_tokens"
INPUT_AUDIO, OUTPUT_AUDIO = "input_audio_tokens", "output_audio_tokens"

# Counts that are no column of their own but change one. They never leave this package's readers.
TOOL_PROMPT = "tool_use_prompt_tokens"
"""Gemini's prompts of tools: input that its prompt count leaves out."""
WRITE_5M, WRITE_1H = "ephemeral_5m_input_tokens", "ephemeral_1h_input_tokens"
"""Anthropic's cache writes by time to live: they sum to the writes, which some libraries then set to 0."""
BILLED_INPUT, BILLED_OUTPUT = "billed_input_tokens", "billed_output_tokens"
"""Cohere's billed units: what is known when its token counts are absent."""

LARGEST: Final = 2**63 - 1
"""The largest count a database column holds; more is no count."""

WHOLES: Final = (INPUT, OUTPUT, TOTAL)
CACHE: Final = frozenset({CACHE_READ, CACHE_CREATION})
THOUGHTS: Final = frozenset({REASONING})


class Shape(NamedTuple):
    """How one speaker writes its usage.

    `keys` are its own names for the three wholes (in snake case; see `snake`). `outside` are the parts that
    its wholes leave out and that are therefore added. `total_has_outside` says that its total counts those
    parts, so that a total of just input + output proves them to be inside. `zero_unknown` marks speakers
    that write 0 for "not sent".
    """

    name: str
    keys: Mapping[str, str]
    outside: frozenset[str] = frozenset()
    total_has_outside: bool = False
    zero_unknown: bool = False


def _keys(inputs: str, outputs: str, totals: str = "total_tokens") -> dict[str, str]:
    names = ((INPUT, inputs), (OUTPUT, outputs), (TOTAL, totals))
    return {key: field for field, keys in names for key in keys.split()}


_INPUT_OUTPUT = _keys("input_tokens", "output_tokens")
_PROMPT_COMPLETION = _keys("prompt_tokens", "completion_tokens")

SHAPES: Final[Mapping[str, Shape]] = {
    shape.name: shape
    for shape in (
        # OpenAI's chat completions, and everyone who copies them: Azure, Groq, Fireworks, DeepSeek, Mistral,
        # OpenRouter, vLLM … Cache and reasoning are inside (xAI's reasoning is not: the total tells).
        Shape("openai", _PROMPT_COMPLETION),
        Shape("litellm", _PROMPT_COMPLETION),
        Shape("openai_responses", _INPUT_OUTPUT),
        # https://docs.anthropic.com/en/api/messages: input_tokens are those after the last cache breakpoint.
        Shape("anthropic", _INPUT_OUTPUT, outside=CACHE),
        # https://docs.aws.amazon.com/bedrock/latest/APIReference/API_runtime_TokenUsage.html
        Shape("bedrock_converse", _INPUT_OUTPUT, outside=CACHE),
        # Bodies, stream metrics and headers of InvokeModel: Anthropic, Nova, Titan and Llama write their own.
        Shape(
            "bedrock_invoke",
            _keys(
                "input_token_count prompt_tokens input_tokens input_text_token_count prompt_token_count",
                "output_token_count completion_tokens output_tokens generation_token_count",
            ),
            outside=CACHE,
        ),
        # LangChain's ChatBedrock in `llm_output`: OpenAI's names, Bedrock's meaning, a total with the cache.
        Shape("bedrock_langchain", _PROMPT_COMPLETION, outside=CACHE, total_has_outside=True),
        # https://ai.google.dev/api/generate-content#UsageMetadata: thoughts are beside candidates.
        Shape(
            "gemini",
            _keys(
                "prompt_token_count",
                "candidates_token_count response_token_count",
                "total_token_count",
            ),
            outside=THOUGHTS,
            total_has_outside=True,
        ),
        Shape("ollama", _keys("prompt_eval_count", "eval_count")),
        Shape("cohere", _INPUT_OUTPUT),
        # `AIMessage.usage_metadata`; libraries write 0 there for what the server did not send.
        Shape("langchain", _INPUT_OUTPUT, zero_unknown=True),
        Shape("watsonx", _keys("input_token_count", "generated_token_count")),
        Shape("hunyuan", _PROMPT_COMPLETION),
        Shape("oci", _PROMPT_COMPLETION),
        Shape("nova_sonic", _keys("total_input_tokens", "total_output_tokens")),
        Shape("coze", _keys("input_count", "output_count")),
        Shape("aleph_alpha", _keys("num_tokens_prompt_total", "num_tokens_generated")),
        Shape("huggingface", _keys("input_length prompt_length", "generated_tokens")),
        Shape("llama_cpp", _keys("tokens_evaluated", "tokens_predicted")),
    )
}
"""Shapes by name. A door names the shape where it knows it; else `detect` tells it by the keys."""

WHOLE_KEYS: Final[Mapping[str, str]] = {
    key: field for shape in SHAPES.values() for key, field in shape.keys.items()
}
"""Every known name of a whole, whoever writes it."""


def _parts(**fields: str) -> dict[str, str]:
    return {key: field for field, keys in fields.items() for key in keys.split()}


PART_KEYS: Final[Mapping[str, str]] = _parts(
    cache_read_tokens=(
        "cache_read_tokens cache_read_input_tokens cached_tokens cached_input_tokens"
        " prompt_cache_hit_tokens cached_content_token_count cache_read_input_token_count"
        " cached_prompt_tokens prompt_cached_tokens cached_prompt_text_tokens input_cached_tokens"
        " total_cached_tokens"
    ),
    cache_creation_tokens=(
        "cache_creation_tokens cache_creation_input_tokens cache_write_tokens cache_write_input_tokens"
        " cache_write_input_token_count cache_creation_input_token_count"
    ),
    reasoning_tokens=(
        "reasoning_tokens thoughts_token_count thinking_tokens reasoning_output_tokens"
        " output_reasoning_tokens completion_reasoning_tokens reasoning_token_count total_reasoning_tokens"
        " total_thought_tokens"
    ),
    input_audio_tokens="input_audio_tokens prompt_audio_tokens audio_input_tokens",
    output_audio_tokens="output_audio_tokens completion_audio_tokens audio_output_tokens",
    tool_use_prompt_tokens="tool_use_prompt_token_count",
    ephemeral_5m_input_tokens="ephemeral_5m_input_tokens",
    ephemeral_1h_input_tokens="ephemeral_1h_input_tokens",
)
"""Every known name of a part, at the top of a usage payload or inside its details."""

DETAIL_KEYS: Final[Mapping[str, str]] = {
    **PART_KEYS,
    **_parts(
        cache_read_tokens="cache_read",
        cache_creation_tokens="cache_creation cache_write",
        reasoning_tokens="reasoning thinking",
    ),
}
"""The same inside details, where LangChain writes bare words (elsewhere `thinking` is a text)."""

DETAILS: Final[Mapping[str, str]] = {
    "prompt_tokens_details": "input",
    "prompt_token_details": "input",
    "input_tokens_details": "input",
    "input_token_details": "input",
    "tool_use_prompt_tokens_details": "tool_use_prompt",
    "cache_tokens_details": "cached",
    "cached_tokens_details": "cached",
    "completion_tokens_details": "output",
    "completion_token_details": "output",
    "output_tokens_details": "output",
    "output_token_details": "output",
    "candidates_tokens_details": "output",
    "response_tokens_details": "output",
}
"""Objects (or Gemini's lists of modalities) inside a usage payload that split one of its wholes."""

INPUT_DETAILS: Final = frozenset(key for key, side in DETAILS.items() if side == "input")
LANGCHAIN_DETAILS: Final = ("input_token_details", "output_token_details")
COUNTERS: Final = frozenset({"cache_creation", "server_tool_use"})
"""Objects beside the wholes that hold further counts: Anthropic's writes by time to live, its tools."""
WRITES_BY_LIFE: Final = "cache_creation_token_details"
"""The same writes inside the input's details, as LiteLLM puts them there."""
UNITS: Final[Mapping[str, Mapping[str, str]]] = {
    "tokens": {"input_tokens": INPUT, "output_tokens": OUTPUT},
    "billed_units": {"input_tokens": BILLED_INPUT, "output_tokens": BILLED_OUTPUT},
}
"""Cohere's two counts of the same call."""

AUDIO: Final[Mapping[str, str]] = {"input": INPUT_AUDIO, "output": OUTPUT_AUDIO}
TIER_NAMES: Final = frozenset({"flex", "priority"})
"""Service tiers. langchain-openai writes the tier before every detail (`flex_cache_read`), and under its
bare name the remainder (whole minus parts), which is no further part."""

USAGE_WRAPPERS: Final = ("usage", "usage_metadata", "usageMetadata", "token_usage", "tokenUsage")
"""Names under which a response holds its usage: what is there and cannot be read is worth a flag."""
WRAPPERS: Final = (
    *USAGE_WRAPPERS,
    "x_groq",
    "token_count",
    "amazon-bedrock-invocationMetrics",
    "invocationMetrics",
    "message",
    "response",
    "metadata",
    "delta",
    "meta",
    "response_metadata",
    "generation_info",
    "llm_output",
    "body",
    "completion",
    "result",
    "results",
    "choices",
    "metrics",
)
"""Where a whole response, chunk or event may hold its usage, best first."""
LISTS: Final = frozenset({"results", "choices"})
"""Those of them that are lists; the first entry may hold it (watsonx; Moonshot's last chunk)."""

_NO_COUNT: Final = re.compile(
    r"time|latency|duration|second|cost|price|(^|_)(ms|ns|us|created|at|max|min|limit|budget|remaining|avg|rate)(_|$)"
)
_COUNT: Final = re.compile(
    r"(^num_|(tokens?|counts?|requests|quer(y|ies)|units|characters|images|searches|calls)$)"
)
_MODALITY: Final = frozenset({"text", "image", "video", "document", "audio"})
_HUMP: Final = re.compile(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])")


@lru_cache(maxsize=1024)
def snake(key: str) -> str:
    """A key in snake case: `promptTokenCount`, `PromptTokens` and `prompt-tokens` meet their brothers."""
    if len(key) > 64:
        return ""
    return _HUMP.sub("_", key).replace("-", "_").lower().removeprefix("x_amzn_bedrock_")


@lru_cache(maxsize=1024)
def detail_name(key: str, side: str | None) -> str | None:
    """The name under which a further count is kept, or `None` if the key does not look like a count.

    Args:
        key: the key in snake case.
        side: `input`, `output` … inside details, where every number is a count; `None` at the top, where
            latencies, limits and prices stand beside the counts.
    """
    if not key or _NO_COUNT.search(key):
        return None
    if side is None:
        return key if _COUNT.search(key) else None
    if key in TIER_NAMES:
        return f"{key}_{side}_tokens"
    bare = key.removesuffix("_tokens")
    if bare in _MODALITY:
        return f"{side}_{bare}_tokens"
    return key if "_" in key else f"{side}_{key}_tokens"


def detect(keys: Iterable[str], details: Iterable[str] = (), *, camel: bool = False) -> Shape:
    """The shape that a payload's keys tell.

    Args:
        keys: its keys in snake case, those with a value.
        details: the keys found inside its details.
        camel: whether `inputTokens` was written so, as Bedrock does.
    """
    present = frozenset(keys)
    for name, signs in _SIGNS:
        if not signs.isdisjoint(present):
            return SHAPES[name]
    if not present.isdisjoint(_PROMPT_COMPLETION_SIGNS):
        return SHAPES["bedrock_langchain" if "cache_write_input_tokens" in present else "openai"]
    if "prompt_tokens_details" in present or "input_tokens_details" in present:
        return SHAPES["openai_responses"]
    if "input_token_details" in present or "output_token_details" in present:
        inner = frozenset(details)
        return SHAPES["langchain" if inner.isdisjoint(_OPENAI_DETAILS) else "openai_responses"]
    if "cached_input_tokens" in present:
        return SHAPES["openai_responses"]
    if camel:
        return SHAPES["bedrock_converse"]
    if not present.isdisjoint(ANTHROPIC_SIGNS):
        return SHAPES["anthropic"]
    return SHAPES["langchain" if "total_tokens" in present else "openai_responses"]


_SIGNS: Final = (
    ("bedrock_invoke", frozenset({"generation_token_count", "input_text_token_count", "output_token_count"})),
    ("gemini", frozenset(SHAPES["gemini"].keys) | {"thoughts_token_count"}),
    ("ollama", frozenset({"prompt_eval_count", "eval_count"})),
    ("watsonx", frozenset({"generated_token_count"})),
    ("bedrock_invoke", frozenset({"input_token_count"})),
    ("nova_sonic", frozenset({"total_input_tokens", "total_output_tokens"})),
    ("cohere", frozenset({"tokens", "billed_units"})),
    ("coze", frozenset({"input_count", "output_count"})),
    ("aleph_alpha", frozenset({"num_tokens_prompt_total", "num_tokens_generated"})),
    ("huggingface", frozenset({"generated_tokens"})),
    ("llama_cpp", frozenset({"tokens_evaluated", "tokens_predicted"})),
)
_PROMPT_COMPLETION_SIGNS: Final = frozenset({"prompt_tokens", "completion_tokens"})
_OPENAI_DETAILS: Final = frozenset(
    {"text_tokens", "audio_tokens", "image_tokens", "cached_tokens", "reasoning_tokens"}
)
ANTHROPIC_SIGNS: Final = frozenset(
    {"cache_read_input_tokens", "cache_creation_input_tokens", "cache_creation", "server_tool_use"}
)
