"""What LangChain tells about a call, at its start and at its end, as fields of ours."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import Any, Final

from tokentrail._context import current_context
from tokentrail._records import MONEY, SCALES
from tokentrail._redact import clean_name, host_of

Fields = dict[str, Any]

# --- start ---------------------------------------------------------------------------------------

_WHO: Final = (
    # The plainer name wins, so it comes later.
    ("thread_id", "session_id"),
    ("conversation_id", "session_id"),
    ("langfuse_session_id", "session_id"),
    ("session_id", "session_id"),
    ("langfuse_user_id", "user_id"),
    ("user_id", "user_id"),
    ("client_id", "client_id"),
    ("organization_id", "organization_id"),
    ("project_id", "project_id"),
    ("lc_agent_name", "agent_id"),
    ("agent_id", "agent_id"),
    ("langgraph_node", "step_id"),
    ("step_id", "step_id"),
    ("message_id", "message_id"),
    ("trace_id", "trace_id"),
    ("operation_id", "operation_id"),
    ("call_type", "call_type"),
    ("billing_plan_type", "billing_plan_type"),
    ("billing_customer_id", "billing_customer_id"),
    ("attributes", "attributes"),
)
"""Key of a run's metadata → field. Everything else in there is the user's, or a framework's, own affair."""
_BY_THE_WAY: Final = frozenset(("thread_id", "lc_agent_name", "langgraph_node"))
"""What LangGraph puts there by itself: good where nobody said anything."""
_TAG_KEYS: Final = ("langfuse_tags", "tags")
_TELLING: Final = frozenset((*(key for key, _ in _WHO), *_TAG_KEYS))

_OF_LANGCHAIN: Final = (
    "seq:step:", "graph:step:", "map:key:", "retry:attempt:", "condition:", "branch:", "langsmith:",
)  # fmt: skip
"""How tags begin that LangChain itself puts on its runs."""

_PARAMS: Final = {
    **{
        name: name
        for name in (
            "temperature", "max_tokens", "top_p", "top_k", "seed", "n", "frequency_penalty",
            "presence_penalty", "reasoning_effort", "service_tier", "num_ctx",
        )
    },
    "max_completion_tokens": "max_tokens",
    "max_output_tokens": "max_tokens",
    "num_predict": "max_tokens",
}  # fmt: skip
"""Settings of a request that are kept, and the one name of those that have several."""
_NUMBERS: Final = frozenset((int, float))
_SCALARS: Final = frozenset((int, float, str, bool))

_MODEL_KEYS: Final = ("model", "model_name", "model_id", "deployment_name", "azure_deployment")
_ADDRESS_KEYS: Final = (
    "openai_api_base", "azure_endpoint", "base_url", "api_base", "endpoint_url", "anthropic_api_url",
)  # fmt: skip


def tells_who(metadata: Mapping[str, Any]) -> bool:
    """Whether there is something in a run's metadata for `who_fields`."""
    return not _TELLING.isdisjoint(metadata)


def is_plain(invocation: Mapping[str, Any] | None) -> bool:
    """Whether the settings of a request are values that compare in no time."""
    return invocation is None or all(
        value is None or type(value) in _SCALARS for value in invocation.values()
    )


def who_fields(metadata: Mapping[str, Any], tags: Iterable[str] | None) -> Fields:
    """What a run's metadata and tags say about whom the call is for."""
    into: Fields = {}
    told: list[Any] = []
    if tells_who(metadata):
        said = current_context()
        for key, field in _WHO:
            value = metadata.get(key)
            if value is not None and not (field in said and key in _BY_THE_WAY):
                into[field] = value
        for key in _TAG_KEYS:
            value = metadata.get(key)
            if isinstance(value, (list, tuple, set, frozenset)):
                told += value
            elif isinstance(value, str):
                told.append(value)
    if tags:
        told += [tag for tag in tags if not tag.startswith(_OF_LANGCHAIN)]
    if told:
        into["tags"] = told
    return into


def params_of(metadata: Mapping[str, Any], invocation: Mapping[str, Any] | None) -> dict[str, Any]:
    """The settings of a request that are plain values."""
    params: dict[str, Any] = {}
    if invocation:
        for name, value in invocation.items():
            if name in _PARAMS and type(value) in _SCALARS:
                params[_PARAMS[name]] = value
    if "temperature" not in params and type(metadata.get("ls_temperature")) in _SCALARS:
        params["temperature"] = metadata["ls_temperature"]
    if "max_tokens" not in params and type(metadata.get("ls_max_tokens")) in _SCALARS:
        params["max_tokens"] = metadata["ls_max_tokens"]
    return params


def start_fields(
    serialized: Any, provider: Any, model: str | None, params: dict[str, Any], is_chat: bool
) -> Fields:
    """What all calls of a model, with these settings, begin with."""
    fields: Fields = {
        "call_type": "chat" if is_chat else "completion",
        "is_streaming": False,
        "source": "langchain",
        "provider": provider,
        "model": model,
        "requested_model": model,
        "params": params or None,
        "api_base": _api_base(serialized),
    }
    if provider == "litellm" and model is not None:
        # LiteLLM is not the provider: it stands before the model, `openai/gpt-4o`, if it is there at all.
        before, slash, after = model.partition("/")
        fields["provider"], fields["model"] = (before, after) if slash else (None, model)
    return fields


def model_in(invocation: Mapping[str, Any] | None) -> str | None:
    """The model that the settings of a request name."""
    for key in _MODEL_KEYS if invocation else ():
        model = invocation.get(key)  # type: ignore[union-attr]
        if type(model) is str:
            return model
    return None


def _api_base(serialized: Any) -> str | None:
    """The host that a model object talks to, where its description says so."""
    arguments = serialized.get("kwargs") if isinstance(serialized, Mapping) else None
    if isinstance(arguments, Mapping):
        for key in _ADDRESS_KEYS:
            address = arguments.get(key)
            if type(address) is str:
                return host_of(address)
    return None


def count_tools(messages: list[Any], into: Fields) -> None:
    """Add how many tools the model had called in a conversation, and how many results it was given."""
    results = calls = 0
    for message in messages:
        kind = getattr(message, "type", None)
        if kind == "tool":
            results += 1
        elif kind == "ai":
            calls += len(getattr(message, "tool_calls", None) or ())
    if results:
        into["tool_result_count"] = results
    if calls:
        into["tool_use_count"] = calls


# --- chunks --------------------------------------------------------------------------------------

_SPEAKING: Final = (
    "text", "thinking", "reasoning", "reasoning_content", "partial_json", "input", "args", "arguments",
    "refusal", "data", "base64", "url", "summary",
)  # fmt: skip


def speaks(token: Any, message: Any) -> bool:
    """Whether a chunk has a part of the answer in it: text, reasoning or a piece of a tool call."""
    if token and (type(token) is str or any(_block_speaks(block) for block in token)):
        return True
    if getattr(message, "tool_call_chunks", None):
        return True
    return bool((getattr(message, "additional_kwargs", None) or {}).get("reasoning_content"))


def _block_speaks(block: Any) -> bool:
    return any(block.get(key) for key in _SPEAKING) if isinstance(block, Mapping) else bool(block)


# --- end -----------------------------------------------------------------------------------------

_ANSWERED_KEYS: Final = ("model_name", "model", "model_id")
_FINISH_KEYS: Final = ("finish_reason", "stop_reason", "stopReason", "done_reason", "status")
FIRST_KEYS: Final = (*_ANSWERED_KEYS, *_FINISH_KEYS, "id")
"""Metadata that LangChain joins when several chunks have it (`gpt-4ogpt-4o`): the first one counts."""
_NAMES_KEPT: Final = 1024
_OURS: Final = ("lc_run-", "run-", "lc_")
"""How ids begin that LangChain made."""


def note_first(metadata: Mapping[str, Any], first: dict[str, Any]) -> None:
    """Keep the first value of each name that a stream may repeat."""
    for key in FIRST_KEYS:
        if key not in first:
            value = metadata.get(key)
            if value is not None:
                first[key] = value


def has_finish(first: Mapping[str, Any]) -> bool:
    """Whether a stream's chunks have told why they end."""
    return any(key in first for key in _FINISH_KEYS)


def answer_fields(output: Mapping[str, Any] | None, metadata: Mapping[str, Any], message: Any) -> Fields:
    """What an answer says, as columns: the model that gave it, why it ended, its id, tool calls and cost."""
    told = metadata.get("model_name"), metadata.get("finish_reason")
    try:
        into = _KNOWN[told].copy()
    except (KeyError, TypeError):
        into = _learn(told, output, metadata)
    answer_id = metadata.get("id")
    if answer_id is None:
        answer_id = (output and output.get("id")) or getattr(message, "id", None)
    if type(answer_id) is str and not answer_id.startswith(_OURS):
        is_clean = len(answer_id) < 256 and answer_id.isprintable()
        into["response_id"] = answer_id if is_clean else clean_name(answer_id)
        if answer_id.startswith("resp_"):
            into["call_type"] = "responses"
    calls = getattr(message, "tool_calls", None)
    if calls:
        into["tool_call_count"] = len(calls)
    if "cost" in metadata:
        _add_cost(metadata["cost"], into)
    elif output:
        usage = output.get("token_usage")
        if type(usage) is dict and "cost" in usage:
            _add_cost(usage["cost"], into)
    return into


def _add_cost(cost: Any, into: Fields) -> None:
    """What the provider itself says a call costs, in dollars (OpenRouter, and servers that follow it).

    LiteLLM's `response_cost` is not that: it comes from LiteLLM's own price table.
    """
    if type(cost) in _NUMBERS and math.isfinite(cost):
        into["cost_nanos"], into["cost_source"] = round(cost * SCALES[MONEY]), "provider"


_KNOWN: Final[dict[tuple[Any, Any], Fields]] = {}
"""Columns by model name and finish reason, where both are told and clean: few, and they come often."""


def _learn(told: tuple[Any, Any], output: Mapping[str, Any] | None, metadata: Mapping[str, Any]) -> Fields:
    model = told[0] or _first(_ANSWERED_KEYS, metadata) or _first(_ANSWERED_KEYS, output)
    finish = told[1] or _first(_FINISH_KEYS, metadata)
    named = {"model": model, "finish_reason": finish}
    into = {name: clean_name(value) for name, value in named.items() if type(value) is str}
    if (*into.values(),) == told and len(_KNOWN) < _NAMES_KEPT:
        _KNOWN[told] = into.copy()
    return into


def _first(keys: tuple[str, ...], metadata: Mapping[str, Any] | None) -> str | None:
    for key in keys if metadata else ():
        value = metadata.get(key)  # type: ignore[union-attr]
        if type(value) is str and value:
            return value
    return None


# --- what was said, only where capture asks for it -----------------------------------------------


def plain_messages(messages: Iterable[Any]) -> list[dict[str, Any]]:
    """Messages as plain data."""
    return [_plain(message) for message in messages]


def _plain(message: Any) -> dict[str, Any]:
    if isinstance(message, str):
        return {"content": message}
    plain = {"role": getattr(message, "type", None), "content": getattr(message, "content", None)}
    calls = getattr(message, "tool_calls", None)
    if calls:
        plain["tool_calls"] = [dict(call) for call in calls]
    return plain


def plain_answer(response: Any) -> list[dict[str, Any]]:
    """Every generation of an `LLMResult` as plain data."""
    generations = [one for prompt in getattr(response, "generations", None) or () for one in prompt]
    return [
        _plain(one.message) if hasattr(one, "message") else {"content": getattr(one, "text", None)}
        for one in generations
    ]
