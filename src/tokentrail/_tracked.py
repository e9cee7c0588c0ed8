"""`with tracker.track(…)`: a call of one's own code, sync and async."""

from __future__ import annotations

import asyncio
from types import TracebackType
from typing import Any, Protocol


class _Calls(Protocol):
    """What a tracked call needs of a tracker."""

    def start(self, *, model: str | None, **fields: Any) -> str: ...
    def progress(self, call_id: str, *, usage: object = None, first_token: bool = False) -> None: ...
    def finish(self, call_id: str, **fields: Any) -> None: ...
    def fail(self, call_id: str, error: BaseException | str, **fields: Any) -> None: ...
    def cancel(self, call_id: str, **fields: Any) -> None: ...


class Tracked:
    """One call inside `with tracker.track(…) as call`."""

    def __init__(self, tracker: _Calls, fields: dict[str, Any]) -> None:
        self._tracker = tracker
        self._fields = fields
        self._end: dict[str, Any] = {}
        self.id = ""

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
