"""Scenarios: the same call heard of more than once; embeddings, which are heard of never."""

from __future__ import annotations

from typing import Any
from uuid import uuid4

import litellm
from langchain_core.runnables import RunnableLambda
from langchain_litellm import ChatLiteLLM, ChatLiteLLMRouter
from langchain_openai import OpenAIEmbeddings
from litellm import Router

from langchain_scenarios.scenario import scenario
from langchain_scenarios.stage import HOWS, Stage, usage
from tokentrail.demo.provider import Reply
from tokentrail.integrations.langchain import TokentrailCallbackHandler, TokentrailEmbeddings
from tokentrail.integrations.litellm import TokentrailLogger


def through_litellm(stage: Stage, **more: Any) -> ChatLiteLLM:
    # Its own `max_retries` are LangChain's; these are of the OpenAI SDK beneath LiteLLM.
    settings = {"stream_options": {"include_usage": True}, "model_kwargs": {"max_retries": 0}}
    settings |= {"model": "openai/gpt-4o", **more}
    return ChatLiteLLM(api_base=f"{stage.provider.url}/v1", api_key="none", **settings)


def through_router(stage: Stage, **more: Any) -> ChatLiteLLMRouter:
    base = {"api_base": f"{stage.provider.url}/v1", "api_key": "none", "max_retries": 0}
    models = [
        {"model_name": group, "litellm_params": {"model": f"openai/{name}", **base}}
        for group, name in (("chat", "gpt-4o"), ("small", "gpt-4o-mini"))
    ]
    router = Router(model_list=models, **{"num_retries": 0, **more})
    return ChatLiteLLMRouter(
        router=router, model_name="chat", stream_options={"include_usage": True}, max_retries=0
    )


# --- the same handler, the same event -------------------------------------------------------------


@scenario("the same handler three times, and its twin", 38, hows=HOWS)
def twins(stage: Stage, how: str) -> None:
    twin = TokentrailCallbackHandler(stage.tracker)
    model = stage.model(callbacks=[stage.handler]).with_config(callbacks=[stage.handler])
    stage.ask(model, how, callbacks=[stage.handler, stage.handler, twin])


@scenario("`install()`, and a handler in the config", 38, 42, door="install", hows=HOWS)
def installed_twice(stage: Stage, how: str) -> None:
    stage.ask(stage.model(), how, callbacks=[stage.handler])


@scenario("one config with a `run_id` for two calls", 16, ends="success sent, success sent", hows=HOWS)
def run_id_again(stage: Stage, how: str) -> None:
    run_id = uuid4()
    stage.ask(stage.model(), how, run_id=run_id)
    stage.ask(stage.model(), how, run_id=run_id)


# --- both doors ----------------------------------------------------------------------------------


@scenario("`ChatLiteLLM`, seen by both doors", 38, 47, door="install", hows=HOWS)
def both(stage: Stage, how: str) -> None:
    stage.ask(through_litellm(stage), how)


@scenario("`ChatLiteLLMRouter`, seen by both doors", 47, door="install", hows=HOWS)
def router(stage: Stage, how: str) -> None:
    stage.ask(through_router(stage), how)


@scenario(
    "`ChatLiteLLMRouter`, whose Router tries again",
    47,
    door="install",
    ends="error unknown, success sent",
    hows=HOWS,
)
def router_retries(stage: Stage, how: str) -> None:
    stage.script(Reply(status=500), Reply(usage=usage(1)))
    stage.ask(through_router(stage, num_retries=1, retry_after=0), how)


@scenario(
    "`ChatLiteLLMRouter`, whose Router falls back",
    47,
    door="install",
    ends="error unknown, success sent",
    hows=HOWS,
)
def router_falls_back(stage: Stage, how: str) -> None:
    stage.script(Reply(status=500))
    stage.script(Reply(usage=usage(1)), model="gpt-4o-mini")
    stage.ask(through_router(stage, fallbacks=[{"chat": ["small"]}]), how)


@scenario("`ChatLiteLLM` that asks a LiteLLM proxy, seen by both doors", 47, door="install", hows=HOWS)
def through_proxy(stage: Stage, how: str) -> None:
    stage.ask(through_litellm(stage, model="litellm_proxy/gpt-4o"), how)


@scenario(
    "`ChatLiteLLM` that asks a LiteLLM proxy, refused", 47, door="install", ends="error unknown", hows=HOWS
)
def through_proxy_refused(stage: Stage, how: str) -> None:
    stage.script(Reply(status=429))
    stage.fails(through_litellm(stage, model="litellm_proxy/gpt-4o"), how)


@scenario("`ChatLiteLLM` with three handlers and two doors", 38, 47, door="install", hows=HOWS)
def three_handlers(stage: Stage, how: str) -> None:
    litellm.callbacks = [TokentrailLogger(stage.tracker), *litellm.callbacks]
    twin = TokentrailCallbackHandler(stage.tracker)
    stage.ask(through_litellm(stage), how, callbacks=[stage.handler, twin, stage.handler])


@scenario("`ChatLiteLLM` in a chain, refused", 47, door="install", ends="error unknown", hows=HOWS)
def both_refused(stage: Stage, how: str) -> None:
    stage.script(Reply(status=429))
    stage.fails(RunnableLambda(lambda text: text) | through_litellm(stage), how)


@scenario(
    "`ChatLiteLLM` that reports nothing: LiteLLM's estimate is no report",
    47,
    door="install",
    ends="success unknown",
    hows=HOWS,
)
def both_nothing(stage: Stage, how: str) -> None:
    stage.script(Reply(usage_in="none", usage=None))
    stage.ask(through_litellm(stage), how)


# --- embeddings ----------------------------------------------------------------------------------


@scenario(
    "`TokentrailEmbeddings` around `OpenAIEmbeddings`",
    12,
    ends="success unknown",
    hows=("sync", "async"),
    limit="`OpenAIEmbeddings` throws away the usage that comes with an answer.",
)
def embeddings(stage: Stage, how: str) -> None:
    inner = OpenAIEmbeddings(
        model="text-embedding-3-small", base_url=f"{stage.provider.url}/v1", api_key="key",
        check_embedding_ctx_length=False,
    )  # fmt: skip
    outer = TokentrailEmbeddings(inner, stage.tracker)
    if how == "sync":
        outer.embed_documents(["a", "b"])
    else:
        stage.run(outer.aembed_documents(["a", "b"]))


@scenario(
    "`OpenAIEmbeddings` without the wrapper",
    12,
    ends="",
    limit="LangChain has no callbacks for embeddings; `TokentrailEmbeddings` is for them.",
)
def bare_embeddings(stage: Stage, how: str) -> None:
    inner = OpenAIEmbeddings(
        model="text-embedding-3-small", base_url=f"{stage.provider.url}/v1", api_key="key",
        check_embedding_ctx_length=False,
    )  # fmt: skip
    stage.ask(RunnableLambda(inner.embed_query), "invoke")
