"""`with tracker.track(…)` and `@tracker.track(…)`: calls of one's own code, sync and async."""

from __future__ import annotations

import asyncio
import functools
import inspect
from collections.abc import Callable
from contextlib import aclosing, closing
from types import TracebackType
from typing import Any, Protocol, TypeVar

from tokentrail._normalize import StreamUsage, normalize_usage


class _Calls(Protocol):
    """What a tracked call needs of a tracker."""

    def start(self, *, model: str | None, **fields: Any) -> str: ...
    def progress(self, call_id: str, *, usage: object = None, first_token: bool = False) -> None: ...
    def finish(self, call_id: str, **fields: Any) -> None: ...
    def fail(self, call_id: str, error: BaseException | str, **fields: Any) -> None: ...
    def cancel(self, call_id: str, **fields: Any) -> None: ...


_Function = TypeVar("_Function", bound=Callable[..., Any])


class Tracked:
    """One call inside `with tracker.track(…) as call`; or, as a decorator, every call of a function.

    A decorated function's answer is looked at for a usage, and so is every item that a decorated generator
    yields; neither is changed or kept. A generator makes a streaming call.
    """

    def __init__(self, tracker: Callable[[], _Calls], fields: dict[str, Any]) -> None:
        self._find_tracker = tracker
        self._fields = fields
        self._end: dict[str, Any] = {}
        self.id = ""

    def __call__(self, function: _Function) -> _Function:
        """Decorate a function, a coroutine function or a generator function, sync or async."""
        if inspect.isasyncgenfunction(function):
            made = self._async_stream(function)
        elif inspect.isgeneratorfunction(function):
            made = self._stream(function)
        elif inspect.iscoroutinefunction(function):
            made = self._coroutine(function)
        else:
            made = self._function(function)
        return functools.wraps(function)(made)  # type: ignore[return-value]

    def usage(self, payload: object) -> None:
        """Give the usage; the last one given counts."""
        self._end["usage"] = payload

    def response(self, response: object) -> None:
        """Give the answer, stored only if `capture` says so."""
        self._end["response"] = response

    def first_token(self) -> None:
        """Say that the answer begins to arrive."""
        self._tracker.progress(self.id, first_token=True)

    def set(self, **fields: Any) -> None:
        """Give further columns of the call."""
        self._end.update(fields)

    def __enter__(self) -> Tracked:
        self._tracker = self._find_tracker()
        self.id = self._tracker.start(**self._fields)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if error is None:
            self._tracker.finish(self.id, **self._end)
        elif isinstance(error, (asyncio.CancelledError, GeneratorExit, KeyboardInterrupt)):
            self._tracker.cancel(self.id, **self._end)
        else:
            self._tracker.fail(self.id, error, **self._end)

    async def __aenter__(self) -> Tracked:
        return self.__enter__()

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.__exit__(kind, error, trace)

    # --- as a decorator --------------------------------------------------------------------------

    def _again(self, **fields: Any) -> Tracked:
        return Tracked(self._find_tracker, {**self._fields, **fields})

    def _answered(self, answer: object) -> None:
        usage = normalize_usage(answer)
        if usage.reported:
            self.usage(usage)
        self.response(answer)

    def _function(self, function: Callable[..., Any]) -> Callable[..., Any]:
        def call(*args: Any, **kwargs: Any) -> Any:
            with self._again() as tracked:
                answer = function(*args, **kwargs)
                tracked._answered(answer)
            return answer

        return call

    def _coroutine(self, function: Callable[..., Any]) -> Callable[..., Any]:
        async def call(*args: Any, **kwargs: Any) -> Any:
            async with self._again() as tracked:
                answer = await function(*args, **kwargs)
                tracked._answered(answer)
            return answer

        return call

    def _came(self, item: object, usage: StreamUsage, *, first: bool) -> None:
        if first:
            self.first_token()
        if usage.feed(item):
            self.usage(usage.usage)

    def _stream(self, function: Callable[..., Any]) -> Callable[..., Any]:
        def call(*args: Any, **kwargs: Any) -> Any:
            usage = StreamUsage()
            with self._again(is_streaming=True) as tracked, closing(function(*args, **kwargs)) as items:
                for number, item in enumerate(items):
                    tracked._came(item, usage, first=number == 0)
                    yield item

        return call

    def _async_stream(self, function: Callable[..., Any]) -> Callable[..., Any]:
        async def call(*args: Any, **kwargs: Any) -> Any:
            usage, first = StreamUsage(), True
            async with (
                self._again(is_streaming=True) as tracked,
                aclosing(function(*args, **kwargs)) as items,
            ):
                async for item in items:
                    tracked._came(item, usage, first=first)
                    first = False
                    yield item

        return call
