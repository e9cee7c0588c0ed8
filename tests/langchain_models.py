"""A LangChain model that says what it is told to: LangChain's machinery is real, only the provider is not."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from typing import Any, Final

import pytest
from langchain_core.language_models import BaseChatModel
from langchain_core.messages import AIMessage
from langchain_core.messages.ai import UsageMetadata
from langchain_core.outputs import ChatGeneration, ChatGenerationChunk, ChatResult
from pydantic import Field

needs_events: Final = pytest.mark.skipif(
    not hasattr(BaseChatModel, "stream_events"), reason="this LangChain has no `stream_events`"
)


def usage_of(given: Any, taken: Any, total: Any = None, **more: Any) -> UsageMetadata:
    """A usage in LangChain's form."""
    return {  # type: ignore[return-value]
        "input_tokens": given,
        "output_tokens": taken,
        "total_tokens": given + taken if total is None else total,
        **more,
    }


class Scripted(BaseChatModel):
    """Answers with `answers` in turn, streams `chunks`; its metadata are those of `provider`."""

    provider: str = "openai"
    model: str = "gpt-4o"
    answers: list[Any] = Field(default_factory=list)
    chunks: list[Any] = Field(default_factory=list)
    llm_output: dict[str, Any] | None = None
    asked: int = 0

    @property
    def _llm_type(self) -> str:
        return "scripted"

    @property
    def _identifying_params(self) -> dict[str, Any]:
        return {"model": self.model}

    def _get_ls_params(self, stop: Any = None, **kwargs: Any) -> Any:
        return {"ls_provider": self.provider, "ls_model_name": self.model, "ls_model_type": "chat"}

    def _answer(self) -> AIMessage:
        self.asked += 1
        answer = self.answers[(self.asked - 1) % len(self.answers)]
        if isinstance(answer, BaseException):
            raise answer
        return answer  # type: ignore[no-any-return]

    def _generate(
        self, messages: Any, stop: Any = None, run_manager: Any = None, **kwargs: Any
    ) -> ChatResult:
        return ChatResult(generations=[ChatGeneration(message=self._answer())], llm_output=self.llm_output)

    def _stream(self, messages: Any, stop: Any = None, **kwargs: Any) -> Iterator[ChatGenerationChunk]:
        for chunk in self.chunks:
            if isinstance(chunk, BaseException):
                raise chunk
            yield ChatGenerationChunk(message=chunk.model_copy(deep=True))

    async def _astream(
        self, messages: Any, stop: Any = None, **kwargs: Any
    ) -> AsyncIterator[ChatGenerationChunk]:
        for chunk in self._stream(messages):
            yield chunk
