"""Embeddings, of which LangChain tells its callbacks nothing: a wrapper that records what goes through it."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Final

from tokentrail._guard import guarded
from tokentrail._redact import host_of
from tokentrail._tracker import Tracker, get_tracker
from tokentrail._usage import Usage
from tokentrail.errors import needs
from tokentrail.integrations._langchain_fields import who_fields
from tokentrail.integrations._langchain_links import LIBRARY, close_link, open_link

with needs("langchain_core", extra="langchain"):
    from langchain_core.embeddings import Embeddings

_MODEL_KEYS: Final = ("model", "model_name", "model_id", "deployment")
_ADDRESS_KEYS: Final = (
    "openai_api_base",
    "azure_endpoint",
    "base_url",
    "api_base",
    "endpoint_url",
    "endpoint",
)
_PROVIDERS: Final = {
    "AzureOpenAIEmbeddings": "azure",
    "langchain_aws": "amazon_bedrock",
    "langchain_mistralai": "mistral",
}
"""Class, or package, → provider as the chat models of the same package call it, where it is not its name."""
_NO_PROVIDERS: Final = frozenset(("core", "classic", "community", "experimental", "tests"))
"""Packages called `langchain_…` that hold many providers' classes, or none's."""


class TokentrailEmbeddings(Embeddings):
    """Records what is asked of a LangChain `Embeddings` through it: each method called is one row.

    LangChain has no callbacks for embeddings, and most of its classes drop the usage that their provider
    reports; it is `missing` then, never made up. What the wrapper cannot see: that a class sends a long list
    in several requests, that it tries again, that a cache around or inside it answers. Wrap what asks the
    provider: `CacheBackedEmbeddings(TokentrailEmbeddings(…), …)`. Calls that go through LiteLLM have
    their usage where LiteLLM's door is open too (`tokentrail.install()`), and are one row.

    Args:
        embeddings: any `Embeddings`; its other attributes can be read through the wrapper.
        tracker: where calls are recorded; the shared default (`tokentrail.get_tracker()`) if none is given.

    With the setting `estimate_missing` the input is counted by OpenAI's own tokeniser, if `tiktoken` is
    loaded and knows the model; such a row is marked `estimated`.

    Example:
        >>> embeddings = TokentrailEmbeddings(OpenAIEmbeddings(model="text-embedding-3-small"), tracker)
        >>> store = InMemoryVectorStore(embeddings)
    """

    def __init__(self, embeddings: Embeddings, tracker: Tracker | None = None) -> None:
        self.embeddings = embeddings
        self._given = tracker

    @property
    def tracker(self) -> Tracker:
        """Where calls are recorded."""
        return self._given if self._given is not None else get_tracker()

    def embed_documents(self, texts: list[str], **settings: Any) -> list[list[float]]:
        """Embed a list of texts; settings are those that the class takes beside them."""
        with self._call(texts):
            return self.embeddings.embed_documents(texts, **settings)

    def embed_query(self, text: str, **settings: Any) -> list[float]:
        """Embed one text that is searched for."""
        with self._call([text]):
            return self.embeddings.embed_query(text, **settings)

    async def aembed_documents(self, texts: list[str], **settings: Any) -> list[list[float]]:
        """Embed a list of texts."""
        with self._call(texts):
            return await self.embeddings.aembed_documents(texts, **settings)

    async def aembed_query(self, text: str, **settings: Any) -> list[float]:
        """Embed one text that is searched for."""
        with self._call([text]):
            return await self.embeddings.aembed_query(text, **settings)

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__") or name == "embeddings":  # a copy asks before it has anything
            raise AttributeError(name)
        return getattr(self.embeddings, name)

    @contextmanager
    def _call(self, texts: list[str]) -> Iterator[None]:
        if not texts:
            yield  # nothing is asked of anybody
            return
        tracker, fields = self.tracker, _UNKNOWN
        with guarded(tracker.health_counters, "langchain.embed"):
            fields = _fields(self.embeddings, texts, captures=tracker.settings.capture != "none")
        with tracker.track(call_type="embedding", source="langchain", **fields) as call:
            link = None
            if _provider_of(self.embeddings) == LIBRARY:
                link = open_link(call.id, None, _surroundings())
            try:
                yield
            finally:
                taken = link is not None and close_link(link, call.id)
            if tracker.settings.estimate_missing and not taken:
                with guarded(tracker.health_counters, "langchain.estimate"):
                    call.usage(_estimate(fields["model"], texts))
                    call.set(usage_source="estimated")


# --- what is asked, and of whom ------------------------------------------------------------------

_UNKNOWN: Final[Mapping[str, Any]] = {"model": None}


def _fields(embeddings: Embeddings, texts: list[str], *, captures: bool) -> Mapping[str, Any]:
    provider, model = _provider_of(embeddings), _first(embeddings, _MODEL_KEYS)
    address, dimensions = _first(embeddings, _ADDRESS_KEYS), getattr(embeddings, "dimensions", None)
    return {
        **_surroundings(),
        **_names(provider, model),
        "requested_model": model,
        "api_base": None if address is None else host_of(address),
        "input_count": len(texts),
        "params": {"dimensions": dimensions} if type(dimensions) is int else None,
        "request": list(texts) if captures else None,
    }


def _first(embeddings: Embeddings, names: tuple[str, ...]) -> str | None:
    for name in names:
        value = getattr(embeddings, name, None)
        if type(value) is str and value:
            return value
    return None


def _provider_of(embeddings: Embeddings) -> str | None:
    """The provider that a class is named for, if it is one of a provider's package."""
    for kind in type(embeddings).__mro__:  # a subclass of the user's is still its parent's
        package = kind.__module__.partition(".")[0]
        known = _PROVIDERS.get(kind.__name__) or _PROVIDERS.get(package)
        if known is not None:
            return known
        prefix, _, name = package.partition("langchain_")
        if name and not prefix:
            return None if name in _NO_PROVIDERS else name
    return None


def _names(provider: str | None, model: str | None) -> dict[str, str | None]:
    """LiteLLM is not the provider: it stands before the model, `openai/text-embedding-3-small`."""
    if provider != LIBRARY or model is None:
        return {"provider": provider, "model": model}
    before, slash, after = model.partition("/")
    return {"provider": before, "model": after} if slash else {"provider": None, "model": model}


def _surroundings() -> dict[str, Any]:
    """What the chain or node around says: whom it is for, and its run, which is the parent."""
    config = sys.modules.get("langchain_core.runnables.config")
    if config is None:
        return {}  # nothing runs
    around: Mapping[str, Any] = config.ensure_config()
    fields = who_fields(around.get("metadata") or {}, around.get("tags"))
    parent = getattr(around.get("callbacks"), "parent_run_id", None)
    if parent is not None:
        fields["parent_id"] = fields["run_id"] = str(parent)
    return fields


# --- how much it was ------------------------------------------------------------------------------


def _estimate(model: str | None, texts: list[str]) -> Usage | None:
    """What OpenAI's tokeniser makes of the texts; `None` where it is not loaded, or not the model's.

    Loading one may ask the network, which is nobody's business here.
    """
    tiktoken = sys.modules.get("tiktoken")
    registry: Any = sys.modules.get("tiktoken.registry")
    if tiktoken is None or registry is None or model is None:
        return None
    try:
        name = sys.modules["tiktoken.model"].encoding_name_for_model(model)
    except KeyError:
        return None
    encoding = registry.ENCODINGS.get(name)
    if encoding is None:
        return None
    count = sum(len(encoding.encode_ordinary(text)) for text in texts)
    return Usage(input_tokens=count, total_tokens=count)
