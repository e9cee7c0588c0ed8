"""What LiteLLM's `model_call_details` say of a call: who, what and where, copied out as plain scalars."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from tokentrail._records import WHO
from tokentrail._redact import host_of

Details = dict[str, Any]

KINDS: Final[Mapping[str, str]] = {
    "completion": "chat",
    "text_completion": "completion",
    "responses": "responses",
    "compact_responses": "responses",
    "anthropic_messages": "chat",
    "generate_content": "chat",
    "generate_content_stream": "chat",
    "embedding": "embedding",
    "rerank": "rerank",
    "image_generation": "image",
    "image_edit": "image",
    "image_variation": "image",
    "speech": "audio",
    "transcription": "audio",
    "moderation": "moderation",
    "ocr": "ocr",
    "search": "search",
    "video_generation": "video",
    "llm_passthrough_route": "passthrough",
    "pass_through_endpoint": "passthrough",
}
"""LiteLLM's functions that ask a model something (without the `a` of their async twins) → `call_type`.

Files, batches, vector stores and the like use LiteLLM's decorator too; they are no calls of a model.
"""
_MODULES: Final[Mapping[str, str]] = {"search": "litellm.search"}
"""Where a function must live if others of its name are no calls (`vector_stores.search`)."""

PARAMS: Final = (
    "temperature", "top_p", "top_k", "max_tokens", "max_completion_tokens", "max_output_tokens", "n", "seed",
    "presence_penalty", "frequency_penalty", "reasoning_effort", "service_tier", "parallel_tool_calls",
    "dimensions", "encoding_format", "quality", "size", "voice", "top_n", "verbosity",
)  # fmt: skip
"""Parameters of a request worth a look later. A list of what is kept: the rest may be secret or content."""
_INTERNAL: Final = (
    "user_api_key",
    "litellm_",
    "_",
    "model_",
    "requester_",
    "previous_",
    "attempted_",
    "max_retries",
)
_NO_ATTRIBUTES: Final = frozenset((
    *WHO, "tags", "deployment", "api_base", "caching_groups", "hidden_params", "headers", "endpoint",
    "caller_hash", "global_max_parallel_requests", "request_retry_count", "file_checksum", "rpm_limit",
    "tpm_limit", "queue_time", "client_disconnected", "original_model_group", "deployment_model_name",
))  # fmt: skip
_LABEL: Final = 256
_LABELS: Final = 32


def kind_of(name: str, module: str = "") -> str | None:
    """The `call_type` of one of LiteLLM's functions, or `None` if it asks no model anything."""
    for candidate in (name, name.removeprefix("a")):
        kind = KINDS.get(candidate)
        if kind is not None:
            home = _MODULES.get(candidate)
            return kind if home is None or not module or module.startswith(home) else None
    return None


def describe(details: Details, kind: str, requested: str | None) -> dict[str, Any]:
    """The fields of a call that are known when it starts.

    Nothing of LiteLLM's dict is kept: it is alive, and holds keys, messages and the stream itself.
    """
    fields = _what(details, kind, requested)
    if not is_private(details):
        metadata = metadata_of(details)
        fields["request_id"] = _text(details.get("litellm_call_id"))
        fields["api_base"] = _host(details)
        params = _scalars(details.get("optional_params"))
        if params:
            fields["params"] = params
        fields.update(_who(details, metadata))
        fields.update(_sizes(details, kind))
        tags = metadata.get("tags")
        if isinstance(tags, (list, tuple)) and tags:
            fields["tags"] = [tag for tag in tags if isinstance(tag, str)]
        attributes = _labels(metadata)
        if attributes:
            fields["attributes"] = attributes
    return fields


def is_private(details: Details) -> bool:
    """Whether the caller said `no-log`: then a call keeps tokens, cost, model and times, and nothing else."""
    return _params(details).get("no-log") is True or details.get("no-log") is True


def metadata_of(details: Details) -> Mapping[str, Any]:
    """The caller's metadata, to which Router and proxy have added theirs."""
    params = _params(details)
    for name in ("litellm_metadata", "metadata"):
        metadata = params.get(name)
        if isinstance(metadata, Mapping) and metadata:
            return metadata
    return {}


def is_mock(details: Details) -> bool:
    """Whether LiteLLM answers by itself and nothing is sent."""
    return details.get("mock_response") is not None or _params(details).get("mock_response") is not None


def _params(details: Details) -> Mapping[str, Any]:
    params = details.get("litellm_params")
    return params if isinstance(params, Mapping) else {}


def _what(details: Details, kind: str, requested: str | None) -> dict[str, Any]:
    provider = _text(details.get("custom_llm_provider")) or _text(_params(details).get("custom_llm_provider"))
    group = metadata_of(details).get("model_group")
    model = _text(details.get("model")) or requested
    fields: dict[str, Any] = {
        "model": bare_model(model, provider),
        "provider": provider,
        "requested_model": _text(group) or requested or model,
        "call_type": kind,
        "is_streaming": details.get("stream") is True,
    }
    return fields


def bare_model(model: str | None, provider: str | None) -> str | None:
    """A model's name without LiteLLM's `provider/` in front."""
    return model.removeprefix(f"{provider}/") if model and provider else model


def _host(details: Details) -> str | None:
    base: object = _params(details).get("api_base")
    if not base:
        extra = details.get("additional_args")
        base = extra.get("api_base") if isinstance(extra, Mapping) else None
    if isinstance(base, str):
        return host_of(base) if base else None
    host, port = getattr(base, "host", None), getattr(base, "port", None)
    if not isinstance(host, str) or not host:
        return None
    return f"{host}:{port}" if isinstance(port, int) else host


def _scalars(params: object) -> dict[str, Any]:
    if not isinstance(params, Mapping):
        return {}
    found = {name: params[name] for name in PARAMS if params.get(name) is not None}
    return {name: value for name, value in found.items() if isinstance(value, (bool, int, float, str))}


def _who(details: Details, metadata: Mapping[str, Any]) -> dict[str, Any]:
    """The caller's own names first; then what the proxy knows of the key that was used."""
    fields = {name: metadata.get(name) for name in WHO}
    params = _params(details)
    optional = details.get("optional_params")
    user = details.get("user") or (optional.get("user") if isinstance(optional, Mapping) else None)
    fields["session_id"] = params.get("litellm_session_id") or metadata.get("session_id")
    for name, candidates in {
        "user_id": (user, metadata.get("user_api_key_end_user_id"), metadata.get("user_api_key_user_id")),
        "organization_id": (metadata.get("user_api_key_org_id"),),
        "project_id": (metadata.get("user_api_key_project_id"), metadata.get("user_api_key_team_id")),
        "client_id": (metadata.get("user_api_key_alias"),),
    }.items():
        if fields.get(name) is None:
            fields[name] = next((value for value in candidates if value), None)
    return {name: value for name, value in fields.items() if type(value) in (str, int) and value != ""}


def _sizes(details: Details, kind: str) -> dict[str, int]:
    messages = details.get("messages")
    if kind == "embedding":
        inputs = details.get("input", messages)
        return {"input_count": len(inputs) if isinstance(inputs, list) else 1}
    if isinstance(messages, list) and kind in ("chat", "responses"):
        return {"message_count": len(messages)}
    return {"message_count": 1} if kind == "responses" and isinstance(messages, str) else {}


def _labels(metadata: Mapping[str, Any]) -> dict[str, Any]:
    """The caller's own labels: short scalars, nothing that Router or proxy put there."""
    labels: dict[str, Any] = {}
    for name, value in metadata.items():
        if not isinstance(name, str) or name in _NO_ATTRIBUTES or name.startswith(_INTERNAL):
            continue
        if isinstance(value, (bool, int, float)) or (isinstance(value, str) and len(value) <= _LABEL):
            labels[name] = value
        if len(labels) == _LABELS:
            break
    return labels


def _text(value: object) -> str | None:
    return value if isinstance(value, str) and value else None
