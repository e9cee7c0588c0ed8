"""What LiteLLM's `model_call_details` say of a call: who, what and where, copied out as plain scalars."""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
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

PARAMS: Final = frozenset((
    "temperature", "top_p", "top_k", "max_tokens", "max_completion_tokens", "max_output_tokens", "n", "seed",
    "presence_penalty", "frequency_penalty", "reasoning_effort", "service_tier", "parallel_tool_calls",
    "dimensions", "encoding_format", "quality", "size", "voice", "top_n", "verbosity",
))  # fmt: skip
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
    "queue_time_seconds", "used_client_oauth_token", "user_agent",
))  # fmt: skip
_PROXY: Final = (
    ("user_id", "user_api_key_end_user_id"), ("user_id", "user_api_key_user_id"),
    ("organization_id", "user_api_key_org_id"), ("project_id", "user_api_key_project_id"),
    ("project_id", "user_api_key_team_id"), ("client_id", "user_api_key_alias"),
    ("client_id", "user_api_key_hash"),
)  # fmt: skip
"""What the proxy knows of the key that was used, the better name first."""
_PROXY_LABELS: Final = (
    ("key_hash", "user_api_key_hash"), ("key_user_id", "user_api_key_user_id"),
    ("team_id", "user_api_key_team_id"), ("team_alias", "user_api_key_team_alias"),
)  # fmt: skip
"""What it knows besides, kept as attributes: an end user hides the key's own, a project its team."""
_WAYS: Final = frozenset({"converse", "converse_like", "invoke", "responses"})
"""Ways to ask a model that has several, as in `bedrock/converse/…` and `openai/responses/…`."""
_SCALAR: Final = frozenset({bool, int, float, str})
_MOCK_KEY: Final = "mock-key"
"""What LiteLLM announces a request with that it answers itself."""
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
    params = _dict(details.get("litellm_params"))
    metadata = _metadata(params)
    model = text_of(details.get("model")) or requested
    provider = text_of(details.get("custom_llm_provider")) or text_of(params.get("custom_llm_provider"))
    provider = provider or _provider_in(model)
    fields: dict[str, Any] = {
        "model": bare_model(model, provider),
        "provider": provider,
        "requested_model": text_of(metadata.get("model_group")) or requested or model,
        "call_type": kind,
        "is_streaming": details.get("stream") is True,
    }
    if not is_private(details):
        fields["request_id"] = text_of(details.get("litellm_call_id"))
        fields["api_base"] = _host(details, params)
        optional = _dict(details.get("optional_params"))
        scalars = {
            name: value for name, value in optional.items() if type(value) in _SCALAR and name in PARAMS
        }
        if scalars:
            fields["params"] = scalars
        user = details.get("user") or optional.get("user")
        if user:
            fields["user_id"] = user
        if params.get("litellm_session_id"):
            fields["session_id"] = params["litellm_session_id"]
        _put_size(fields, details, kind)
        if metadata:
            _put_metadata(fields, metadata)
    return fields


def is_private(details: Details) -> bool:
    """Whether the caller said `no-log`: then a call keeps tokens, cost, model and times, and nothing else."""
    return _dict(details.get("litellm_params")).get("no-log") is True or details.get("no-log") is True


def metadata_of(details: Details) -> dict[str, Any]:
    """The caller's metadata, to which Router and proxy have added theirs."""
    return _metadata(_dict(details.get("litellm_params")))


def is_mock(details: Details) -> bool:
    """Whether LiteLLM answers by itself and nothing is sent."""
    params = _dict(details.get("litellm_params"))
    if details.get("mock_response") is not None or params.get("mock_response") is not None:
        return True
    return details.get("api_key") == _MOCK_KEY


def _provider_in(model: str | None) -> str | None:
    """The provider at the front of a model's name: all that an older LiteLLM tells of its cache."""
    front, slash, _ = (model or "").partition("/")
    return front if slash and front in _providers() else None


@lru_cache(maxsize=1)
def _providers() -> frozenset[str]:
    import litellm

    return frozenset(str(getattr(one, "value", one)) for one in litellm.provider_list)


def _dict(value: object) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def _metadata(params: dict[str, Any]) -> dict[str, Any]:
    return _dict(params.get("litellm_metadata")) or _dict(params.get("metadata"))


def bare_model(model: str | None, provider: str | None) -> str | None:
    """A model's name without what LiteLLM reads off its front: `provider/`, and the way to ask it."""
    if not model or not provider:
        return model
    model = model.removeprefix(f"{provider}/")
    way, slash, rest = model.partition("/")
    return rest if slash and way in _WAYS else model


def _host(details: Details, params: dict[str, Any]) -> str | None:
    base: object = params.get("api_base") or _dict(details.get("additional_args")).get("api_base")
    if isinstance(base, str):
        return _host_of(base) if base else None
    host, port = getattr(base, "host", None), getattr(base, "port", None)
    if not isinstance(host, str) or not host:
        return None
    return f"{host}:{port}" if isinstance(port, int) else host


_host_of = lru_cache(maxsize=256)(host_of)


def _put_size(fields: dict[str, Any], details: Details, kind: str) -> None:
    messages = details.get("messages")
    if kind == "embedding":
        inputs = details.get("input", messages)
        fields["input_count"] = len(inputs) if isinstance(inputs, list) else 1
    elif kind in ("chat", "responses"):
        if isinstance(messages, list):
            fields["message_count"] = len(messages)
        elif isinstance(messages, str):
            fields["message_count"] = 1


def _put_metadata(fields: dict[str, Any], metadata: dict[str, Any]) -> None:
    """The caller's own words first; then what the proxy knows of the key that was used."""
    for name in WHO:
        value = metadata.get(name)
        if type(value) in (str, int) and value != "":
            fields.setdefault(name, value)
    for name, key in _PROXY:
        value = metadata.get(key)
        if value and isinstance(value, str):
            fields.setdefault(name, value)
    tags = metadata.get("tags")
    if isinstance(tags, (list, tuple)) and tags:
        fields["tags"] = [tag for tag in tags if isinstance(tag, str)]
    labels = _labels(metadata)
    for name, key in _PROXY_LABELS:
        if metadata.get(key) and isinstance(metadata[key], str):
            labels.setdefault(name, metadata[key])
    if labels:
        fields["attributes"] = labels


def add_metadata(fields: dict[str, Any], details: Details, metadata: object) -> None:
    """What the caller's metadata say and LiteLLM has lost on the way."""
    known = metadata_of(details)
    if not isinstance(metadata, dict) or metadata.keys() <= known.keys() or is_private(details):
        return
    told: dict[str, Any] = {}
    _put_metadata(told, metadata)
    for name, value in told.items():
        fields.setdefault(name, value)


def _labels(metadata: dict[str, Any]) -> dict[str, Any]:
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


def text_of(value: object) -> str | None:
    """A text that says something, or `None`."""
    return value if isinstance(value, str) and value else None
