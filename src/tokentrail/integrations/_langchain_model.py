"""A model as its calls begin: what they have in common is read and cleaned once."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Final

from tokentrail._fields import to_columns
from tokentrail._health import Health
from tokentrail._records import Record
from tokentrail.integrations._langchain_fields import (
    is_plain,
    model_in,
    params_of,
    start_fields,
    tells_who,
)
from tokentrail.integrations._langchain_links import LIBRARY

_INCOMPARABLE: Final = object()
_NO_PARAMS: Final[Mapping[str, Any]] = {}
_OLD_ROUTER: Final = "litellmrouter"
"""What langchain-litellm before 0.4 calls the provider of its `ChatLiteLLMRouter`."""
_LS_KEYS: Final = ("ls_model_name", "ls_temperature", "ls_max_tokens")


class Model:
    """What the calls of one model have in common, cleaned once."""

    __slots__ = ("columns", "invocation", "prepared", "provider", "serialized", "size", "told")

    def __init__(
        self, serialized: Any, metadata: Mapping[str, Any], invocation: Any, is_chat: bool, health: Health
    ) -> None:
        self.serialized = serialized
        provider, model = metadata.get("ls_provider"), metadata.get("ls_model_name")
        if provider == _OLD_ROUTER:  # the model it names is a default that nobody asked for
            provider, model = LIBRARY, None
        self.provider: str | None = provider
        params = params_of(metadata, invocation)
        # Only plain values are compared as they are: a list of tools may be long, or have an `==` of its own.
        self.invocation = invocation if is_plain(invocation) else _INCOMPARABLE
        given = invocation.values() if isinstance(invocation, dict) else ()
        self.told = [(key, metadata[key]) for key in _LS_KEYS if not _is_among(metadata.get(key), given)]
        """What the metadata say of the model and the settings do not."""
        self.size = -1 if tells_who(metadata) else len(metadata)
        """Keys in the metadata of a call that says nothing about whom it is for."""
        self.columns: Record = {}
        self.prepared: Record = self.columns
        """The same, as `Tracker.begin` takes it."""
        if type(model) is not str:
            model = model_in(invocation)
        to_columns(start_fields(serialized, self.provider, model, params, is_chat), self.columns, health)

    def fits(self, serialized: Any, metadata: Mapping[str, Any], invocation: Any) -> bool:
        """Whether a call of the model begins with the same columns.

        A model's description (`serialized`) is one object for the life of the model; settings and names may
        differ from call to call (`bind`, configurable fields).
        """
        if self.serialized is not serialized:
            return False
        for key, value in self.told:
            if metadata.get(key) != value:
                return False
        if self.invocation is not _INCOMPARABLE:
            return bool(self.invocation == invocation)
        model = metadata.get("ls_model_name") or model_in(invocation)
        return self.columns.get("requested_model") == model and self.columns.get(
            "params", _NO_PARAMS
        ) == params_of(metadata, invocation)


def _is_among(value: Any, given: Iterable[Any]) -> bool:
    return value is None or any(one is value for one in given)
