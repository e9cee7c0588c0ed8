"""What every scene of the demo plays with: the provider, the ledger, both libraries with their doors."""

from __future__ import annotations

import asyncio
import contextvars
import importlib
import importlib.util
import logging
import os
import warnings
from collections.abc import Coroutine
from types import TracebackType
from typing import TYPE_CHECKING, Any, Final, Self

from tokentrail.demo.provider import FakeProvider
from tokentrail.errors import ConfigurationError

if TYPE_CHECKING:
    from tokentrail._tracker import Tracker

NEEDED: Final = ("litellm", "langchain", "langchain_core", "langchain_openai", "langchain_litellm")
_QUIET: Final = {
    "LITELLM_LOCAL_MODEL_COST_MAP": "True",
    "LITELLM_LOG": "CRITICAL",
    "LANGCHAIN_TRACING_V2": "false",
    "LANGSMITH_TRACING": "false",
    # A proxy of this machine must not be asked for 127.0.0.1.
    "NO_PROXY": "*",
    "no_proxy": "*",
}


def require_libraries() -> None:
    """See that everything the demo drives is installed.

    Raises:
        ConfigurationError: something is missing; the message has the line that installs it.
    """
    missing = [name for name in NEEDED if importlib.util.find_spec(name) is None]
    if missing:
        names = ", ".join(name.replace("_", "-") for name in missing)
        raise ConfigurationError(
            f"The demo drives LiteLLM and LangChain, and {names} is not installed. "
            "Install what it needs with:  pip install 'tokentrail[demo]'"
        )


class Stage:
    """The two libraries, wired to one tracker and to nothing but the loopback provider.

    Meant for a process of its own: environment variables and loggers of the libraries are changed for good.
    """

    def __init__(self, tracker: Tracker) -> None:
        require_libraries()
        _hush()
        self.tracker = tracker
        self.provider = FakeProvider()
        self._runner = asyncio.Runner()
        self.litellm = _load("litellm")
        self.litellm.suppress_debug_info = True
        self.litellm.telemetry = False
        door = _load("tokentrail.integrations.litellm")
        self.litellm.callbacks = [door.TokentrailLogger(tracker)]
        self.handler = _load("tokentrail.integrations.langchain").TokentrailCallbackHandler(tracker)

    def run(self, work: Coroutine[Any, Any, Any]) -> Any:
        """Run a coroutine on the one event loop of the demo, in the context of this moment."""
        return self._runner.run(work, context=contextvars.copy_context())

    # --- for LiteLLM -----------------------------------------------------------------------------

    def openai(self, model: str, **arguments: Any) -> dict[str, Any]:
        """Arguments of a LiteLLM call to an OpenAI model."""
        return self._call(f"openai/{model}", self.provider.url + "/v1", arguments)

    def anthropic(self, model: str, **arguments: Any) -> dict[str, Any]:
        """Arguments of a LiteLLM call to an Anthropic model."""
        return self._call(f"anthropic/{model}", self.provider.url, arguments)

    @staticmethod
    def _call(model: str, base: str, arguments: dict[str, Any]) -> dict[str, Any]:
        messages = [{"role": "user", "content": "Where did my tokens go?"}]
        whole = {"model": model, "api_base": base, "api_key": "not-a-key", "max_retries": 0, **arguments}
        return whole if "input" in whole else {"messages": messages, **whole}

    # --- for LangChain ---------------------------------------------------------------------------

    def chat_openai(self, model: str, **arguments: Any) -> Any:
        """A LangChain `ChatOpenAI`."""
        made = _load("langchain_openai").ChatOpenAI
        base = self.provider.url + "/v1"
        return made(model=model, base_url=base, api_key="not-a-key", max_retries=0, **arguments)

    def chat_litellm(self, model: str, **arguments: Any) -> Any:
        """A LangChain `ChatLiteLLM`, which both doors see."""
        made = _load("langchain_litellm").ChatLiteLLM
        base = self.provider.url + "/v1"
        return made(model=f"openai/{model}", api_base=base, api_key="not-a-key", max_retries=0, **arguments)

    @property
    def config(self) -> dict[str, Any]:
        """The config that gives a LangChain call our callback handler."""
        return {"callbacks": [self.handler]}

    def close(self) -> None:
        """Stop provider and event loop."""
        self._runner.close()
        self.provider.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def _load(name: str) -> Any:
    return importlib.import_module(name)


def _hush() -> None:
    os.environ.update(_QUIET)
    warnings.simplefilter("ignore")
    for name in ("LiteLLM", "LiteLLM Proxy", "LiteLLM Router", "httpx", "openai", "asyncio"):
        logging.getLogger(name).setLevel(logging.CRITICAL)
