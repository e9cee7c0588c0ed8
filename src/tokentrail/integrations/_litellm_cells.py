"""The cells: one wrapped function behind each function that LiteLLM's decorator `client` has made.

`litellm.utils.client` decorates by closing over `original_function`. That closure cell is the one place that
is passed inline by every attempt LiteLLM makes, also by those whose events it loses, and also in programs
that said `from litellm import completion` long before us: what they hold stays, its cell is filled anew.

Nothing is assumed that is not looked at first; where the looks fail, `arm` says 0 and nothing was touched.
"""

from __future__ import annotations

import functools
import inspect
import sys
import threading
from collections.abc import Callable, Iterator
from types import CellType, CodeType, FunctionType
from typing import Any, Final

from tokentrail.integrations._litellm_details import kind_of
from tokentrail.integrations._litellm_frames import Doors, enter

_CELL: Final = "original_function"
_WRAPPERS: Final = frozenset({"wrapper", "wrapper_async"})


class Cells:
    """The wraps of one process; global, as what they wrap is."""

    def __init__(self, doors: Doors) -> None:
        self._doors = doors
        self._lock = threading.RLock()
        self._filled: dict[int, tuple[CellType, Any, Any]] = {}
        """By identity: cell, what we put there, what was there."""
        self._decorators: list[tuple[Any, Any, Any]] = []
        """Module, our `client`, its `client`."""

    def arm(self, litellm: Any) -> int:
        """Fill the cells; how many hold something of ours now. May be said again at any time."""
        with self._lock:
            codes = _codes_of(litellm)
            for function in _functions_with(codes) if codes else ():
                self._fill(function)
            if self._filled and not self._decorators:
                self._wrap_decorator(litellm, codes)
            return len(self._filled)

    def disarm(self) -> int:
        """Put back what was there; the number of places that somebody else has changed since."""
        with self._lock:
            left = 0
            while self._filled:
                _, (cell, ours, original) = self._filled.popitem()
                if cell.cell_contents is ours:
                    cell.cell_contents = original
                else:
                    left += 1
            while self._decorators:
                module, ours, original = self._decorators.pop()
                if vars(module).get("client") is ours:
                    module.client = original
                else:
                    left += 1
            return left

    def _fill(self, function: FunctionType) -> None:
        cell = _cell_of(function)
        original = None if cell is None else cell.cell_contents
        if cell is None or not callable(original) or id(cell) in self._filled:
            return
        kind = kind_of(getattr(original, "__name__", ""), getattr(original, "__module__", ""))
        if kind is not None:
            make = _async if inspect.iscoroutinefunction(original) else _sync
            ours = make(original, kind, self._doors)
            cell.cell_contents = ours
            self._filled[id(cell)] = (cell, ours, original)

    def _wrap_decorator(self, litellm: Any, codes: frozenset[CodeType]) -> None:
        """Modules of LiteLLM that are imported later decorate with what they find then."""
        original = litellm.utils.client

        @functools.wraps(original)
        def client(original_function: Any) -> Any:
            function = original(original_function)
            if isinstance(function, FunctionType) and function.__code__ in codes:
                with self._lock:
                    if self._decorators:
                        self._fill(function)
            return function

        for module in (litellm.utils, litellm):
            if vars(module).get("client") is original:
                module.client = client
                self._decorators.append((module, client, original))


def _codes_of(litellm: Any) -> frozenset[CodeType]:
    """The code of the two functions that `client` makes; empty if it is not the decorator we know."""
    client = getattr(getattr(litellm, "utils", None), "client", None)
    client = inspect.unwrap(client) if callable(client) else None
    if not isinstance(client, FunctionType):
        return frozenset()
    codes = [
        const
        for const in client.__code__.co_consts
        if isinstance(const, CodeType) and const.co_name in _WRAPPERS and _CELL in const.co_freevars
    ]
    return frozenset(codes) if {code.co_name for code in codes} == _WRAPPERS else frozenset()


def _functions_with(codes: frozenset[CodeType]) -> Iterator[FunctionType]:
    """The decorated functions of all modules of LiteLLM that are loaded."""
    for name, module in list(sys.modules.items()):
        if name.partition(".")[0] == "litellm":
            for value in list(vars(module).values()):
                if isinstance(value, FunctionType) and value.__code__ in codes:
                    yield value


def _cell_of(function: FunctionType) -> CellType | None:
    index = function.__code__.co_freevars.index(_CELL)
    return function.__closure__[index] if function.__closure__ else None


def _sync(original: Callable[..., Any], kind: str, doors: Doors) -> Callable[..., Any]:
    @functools.wraps(original)
    def attempt(*args: Any, **kwargs: Any) -> Any:
        frame = enter(doors, kind, args, kwargs)
        if frame is None:
            return original(*args, **kwargs)
        try:
            result = original(*args, **kwargs)
        except BaseException as error:
            frame.raised(error)
            raise
        frame.returned(result)
        return result

    return attempt


def _async(original: Callable[..., Any], kind: str, doors: Doors) -> Callable[..., Any]:
    @functools.wraps(original)
    async def attempt(*args: Any, **kwargs: Any) -> Any:
        frame = enter(doors, kind, args, kwargs)
        if frame is None:
            return await original(*args, **kwargs)
        try:
            result = await original(*args, **kwargs)
        except BaseException as error:
            frame.raised(error)
            raise
        frame.returned(result)
        return result

    return attempt
