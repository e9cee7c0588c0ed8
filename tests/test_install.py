"""`install()` and `uninstall()`: one line, both libraries, and nothing left behind."""

from __future__ import annotations

import importlib
import subprocess
import sys
import threading
from collections.abc import Iterator
from types import FunctionType
from typing import Any

import litellm
import pytest
from langchain_litellm import ChatLiteLLM
from langchain_openai import ChatOpenAI

import tokentrail
from litellm_rig import HI, QUIET, Rig, agrees, provider, rig
from tokentrail.demo.provider import FakeProvider
from tokentrail.errors import MissingExtraError
from tokentrail.integrations import langchain as langchain_door
from tokentrail.integrations.litellm import LISTS, TokentrailLogger
from tokentrail.testing import CapturedCalls, capture_calls

__all__ = ["provider", "rig"]
pytestmark = QUIET


@pytest.fixture
def captured() -> Iterator[CapturedCalls]:
    """Both doors open on a default tracker in memory."""
    with capture_calls(summary_interval=0) as calls:
        assert tokentrail.install() == ("litellm", "langchain")
        yield calls
        tokentrail.uninstall()
        assert calls.tracker.health()["faults"] == {}


def reach(provider: FakeProvider) -> dict[str, Any]:
    """How to reach the provider as OpenAI."""
    return {"api_base": f"{provider.url}/v1", "api_key": "none", "max_retries": 0}


def test_both_libraries(provider: FakeProvider, captured: CapturedCalls) -> None:
    """After one line, a call of either library is a row."""
    litellm.completion(model="openai/gpt-4o", messages=HI, **reach(provider))
    ChatOpenAI(model="gpt-4o", base_url=f"{provider.url}/v1", api_key="none").invoke("hello")
    calls = list(captured)
    assert [call.source for call in calls] == ["litellm", "langchain"]
    for call, sent in zip(calls, provider.sent, strict=True):
        agrees(call, sent)


def test_twice_is_once(provider: FakeProvider, captured: CapturedCalls) -> None:
    """Saying it again adds nothing."""
    tokentrail.install()
    tokentrail.install()
    litellm.completion(model="openai/gpt-4o", messages=HI, **reach(provider))
    ChatOpenAI(model="gpt-4o", base_url=f"{provider.url}/v1", api_key="none").invoke("hello")
    assert len(captured) == 2


def test_beside_a_logger_of_ones_own(provider: FakeProvider, captured: CapturedCalls) -> None:
    """A logger of the same tracker that was registered by hand makes no second row."""
    litellm.callbacks = [TokentrailLogger(captured.tracker)]
    litellm.completion(model="openai/gpt-4o", messages=HI, **reach(provider))
    assert len(captured) == 1


def test_callbacks_set_anew(provider: FakeProvider, captured: CapturedCalls) -> None:
    """A program that sets or resets LiteLLM's callbacks later is recorded all the same."""
    litellm.callbacks = []
    litellm.completion(model="openai/gpt-4o", messages=HI, **reach(provider))
    litellm.logging_callback_manager._reset_all_callbacks()
    litellm.completion(model="openai/gpt-4o", messages=HI, **reach(provider))
    assert [call.total_tokens for call in captured] == [1588, 1588]


def test_the_default_tracker_may_change(provider: FakeProvider, captured: CapturedCalls) -> None:
    """`set_tracker` after `install()` sends the next call elsewhere."""
    litellm.completion(model="openai/gpt-4o", messages=HI, **reach(provider))
    with capture_calls(summary_interval=0) as others:
        litellm.completion(model="openai/gpt-4o", messages=HI, **reach(provider))
    assert (len(captured), len(others)) == (1, 1)


def test_langchain_in_any_thread(provider: FakeProvider, captured: CapturedCalls) -> None:
    """The handler is there in threads that were started without any context."""
    model = ChatOpenAI(model="gpt-4o", base_url=f"{provider.url}/v1", api_key="none")
    thread = threading.Thread(target=model.invoke, args=("hello",))
    thread.start()
    thread.join()
    assert len(captured) == 1


def test_uninstall_leaves_nothing(provider: FakeProvider, captured: CapturedCalls) -> None:
    """Afterwards no function, class or list of LiteLLM's holds anything of ours, and no call is seen."""
    litellm.completion(model="openai/gpt-4o", messages=HI, **reach(provider))
    list(litellm.completion(model="openai/gpt-4o", messages=HI, stream=True, **reach(provider)))
    list(litellm.responses(model="openai/gpt-4o", input="x", stream=True, **reach(provider)))
    tokentrail.uninstall()
    assert places_of_ours() == []
    litellm.completion(model="openai/gpt-4o", messages=HI, **reach(provider))
    ChatOpenAI(model="gpt-4o", base_url=f"{provider.url}/v1", api_key="none").invoke("hello")
    assert len(captured) == 3
    tokentrail.install()
    litellm.completion(model="openai/gpt-4o", messages=HI, **reach(provider))
    assert len(captured) == 4


def places_of_ours() -> list[str]:
    """Every place in LiteLLM and LangChain that leads to code of ours."""
    from langchain_core.tracers.context import _configure_hooks

    found = [f"list {name}" for name in LISTS for one in getattr(litellm, name) if is_ours(one)]
    found += ["hook" for hook in _configure_hooks if is_ours(hook[0].get())]
    for name, module in list(sys.modules.items()):
        if name.partition(".")[0] != "litellm":
            continue
        for attribute, value in list(vars(module).items()):
            if isinstance(value, FunctionType):
                cells = [cell.cell_contents for cell in value.__closure__ or () if cell_is_full(cell)]
                found += [f"{name}.{attribute}" for one in (value, *cells) if is_ours(one)]
            elif isinstance(value, type) and value.__module__.startswith("litellm"):
                found += [f"{name}.{attribute}.{key}" for key, one in vars(value).items() if is_ours(one)]
    return found


def cell_is_full(cell: Any) -> bool:
    """Whether a closure cell holds anything yet."""
    try:
        cell.cell_contents  # noqa: B018
    except ValueError:
        return False
    return True


def is_ours(thing: object) -> bool:
    """Whether code of ours stands behind something."""
    if isinstance(thing, FunctionType):
        return "tokentrail" in thing.__code__.co_filename
    return type(thing).__module__.startswith("tokentrail")


def test_a_rival_keeps_its_place(provider: FakeProvider, captured: CapturedCalls) -> None:
    """Another library that wraps LiteLLM's functions after us keeps its wraps, and costs no row."""
    heard: list[str] = []
    completion = litellm.completion

    def rival(*args: Any, **kwargs: Any) -> Any:
        heard.append("call")
        return completion(*args, **kwargs)

    litellm.completion = rival
    try:
        litellm.completion(model="openai/gpt-4o", messages=HI, **reach(provider))
        tokentrail.uninstall()
        assert litellm.completion is rival
        litellm.completion(model="openai/gpt-4o", messages=HI, **reach(provider))
    finally:
        litellm.completion = completion
    assert (len(captured), heard) == (1, ["call", "call"])


# --- one call through both doors -----------------------------------------------------------------


@pytest.fixture
def model(provider: FakeProvider) -> ChatLiteLLM:
    """LangChain over LiteLLM: both doors see its calls."""
    return ChatLiteLLM(model="openai/gpt-4o", api_base=f"{provider.url}/v1", api_key="none", max_retries=0)


def test_langchain_over_litellm(provider: FakeProvider, captured: CapturedCalls, model: ChatLiteLLM) -> None:
    """`invoke` and `stream` are one row each, seen by both."""
    model.invoke("hello")
    list(model.stream("hello"))
    assert len(captured) == 2
    for call, sent in zip(captured, provider.sent, strict=True):
        agrees(call, sent)
        assert (sorted(call.seen_by), call.status) == (["langchain", "litellm"], "success")
        assert (call.provider, call.model) == ("openai", "gpt-4o")


async def test_langchain_over_litellm_async(
    provider: FakeProvider, captured: CapturedCalls, model: ChatLiteLLM
) -> None:
    """`ainvoke` and `astream` too."""
    await model.ainvoke("hello")
    async for _ in model.astream("hello"):
        pass
    assert len(captured) == 2
    for call, sent in zip(captured, provider.sent, strict=True):
        agrees(call, sent)
        assert (sorted(call.seen_by), call.status) == (["langchain", "litellm"], "success")


def test_langchain_over_litellm_with_two_trackers(
    rig: Rig, provider: FakeProvider, model: ChatLiteLLM
) -> None:
    """Doors on different ledgers do not mix: each has its own row."""
    with capture_calls(summary_interval=0) as others:
        handler = langchain_door.TokentrailCallbackHandler(others.tracker)
        model.invoke("hello", config={"callbacks": [handler]})
        assert [call.seen_by for call in others] == [["langchain"]]
    assert rig.row().seen_by == ["litellm"]


# --- light ---------------------------------------------------------------------------------------


def test_importing_tokentrail_imports_neither() -> None:
    """`import tokentrail` loads no model library, and a process that only imports starts no thread."""
    code = (
        "import sys, threading, tokentrail;"
        "assert not {'litellm', 'langchain_core', 'sqlalchemy'} & set(sys.modules);"
        "import tokentrail.integrations.litellm as door; door.TokentrailLogger();"
        "assert threading.active_count() == 1, threading.enumerate()"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=120)


def test_without_either_library_it_says_so(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """With neither library there, `install()` says what to install, and raises nothing."""
    from tokentrail import _install

    monkeypatch.setattr(_install, "_is_there", lambda library: False)
    assert tokentrail.install() == ()
    assert "pip install 'tokentrail[litellm]'" in caplog.text


@pytest.mark.parametrize(
    ("door", "library", "extra"),
    [
        ("litellm", "litellm", "litellm"),
        ("langchain", "langchain_core.callbacks", "langchain"),
        ("_langchain_embeddings", "langchain_core.embeddings", "langchain"),
    ],
)
def test_a_door_without_its_library_says_what_to_install(
    monkeypatch: pytest.MonkeyPatch, door: str, library: str, extra: str
) -> None:
    monkeypatch.delitem(sys.modules, f"tokentrail.integrations.{door}", raising=False)
    monkeypatch.setitem(sys.modules, library, None)
    with pytest.raises(MissingExtraError, match=rf"pip install 'tokentrail\[{extra}\]'"):
        importlib.import_module(f"tokentrail.integrations.{door}")
