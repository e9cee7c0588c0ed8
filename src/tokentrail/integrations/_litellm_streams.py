"""Streams: classes are wrapped, objects never: a stream stays its own iterator.

Each watched stream carries a `Token` in its `__dict__`, which hears what its reader does and dies with it.
"""

from __future__ import annotations

import functools
import inspect
import weakref
from collections.abc import Callable
from functools import lru_cache
from typing import Any, Final

from tokentrail._guard import guarded
from tokentrail.integrations._litellm_calls import Attempt
from tokentrail.integrations._litellm_details import Details
from tokentrail.integrations._litellm_patches import is_replaced, replace, restore
from tokentrail.integrations._litellm_tokens import Token, call_when_idle, lend_chunks

_KEY: Final = "_tokentrail_token"
_FOREIGN: Final = frozenset({"builtins", "abc", "collections.abc", "_collections_abc", "typing"})
_armed = False


def is_stream(result: object) -> bool:
    """Whether a result is read piece by piece."""
    kind: Any = type(result)
    return _is_iterator(kind)


@lru_cache(maxsize=1024)
def _is_iterator(kind: Any) -> bool:
    return hasattr(kind, "__next__") or hasattr(kind, "__anext__")


def is_opaque(result: object) -> bool:
    """Whether a result is a stream that cannot be watched while it is read, as generators cannot."""
    return is_stream(result) and not (hasattr(result, "__dict__") and wrap_class(type(result)))


def watch(stream: Any, attempt: Attempt, details: Details) -> None:
    """End an attempt when its stream ends, whichever way."""
    if is_opaque(stream):
        # Only its death is visible, and its usage only to LiteLLM's own events.
        attempt.watched = False
        weakref.finalize(stream, _died_unseen, attempt).atexit = False
        return
    token = vars(stream).get(_KEY)
    if token is None:
        token = vars(stream)[_KEY] = Token(stream, details)
    token.attempts.append(attempt)


@guarded(lambda attempt: attempt.health, "litellm.stream_died")
def _died_unseen(attempt: Attempt) -> None:
    attempt.end("abandoned", provisional=True)


# --- classes -------------------------------------------------------------------------------------


def arm(kind: type | None) -> bool:
    """Begin to wrap stream classes as they are met, with the one that is known; False if that cannot be."""
    global _armed
    _armed = kind is not None
    call_when_idle(None)
    _armed = kind is not None and wrap_class(kind)
    return _armed


def retire() -> int:
    """Take the wraps off, now or when nobody reads a watched stream any more; the number of those left."""
    global _armed
    _armed = False
    return restore() if call_when_idle(restore) else 1


def wrap_class(kind: type) -> bool:
    """Wrap what a stream class reads and closes with; False if it is not made of Python functions."""
    found = False
    for name, wrapper in _WRAPPERS.items():
        home = next((each for each in kind.__mro__ if name in vars(each)), None)
        if home is None or home.__module__ in _FOREIGN:
            continue
        original = vars(home)[name]
        if inspect.isfunction(original):
            if _armed and not is_replaced(home, name):
                replace(home, name, wrapper(original))
            found = found or (name in _READS and is_replaced(home, name))
        elif name in _READS:
            return False
    return found


def _token_of(stream: Any) -> Token | None:
    token: Token | None = vars(stream).get(_KEY)
    if token is None:
        lend_chunks(stream)
        return None
    return None if token.busy else token


def _next(original: Callable[[Any], Any]) -> Callable[[Any], Any]:
    @functools.wraps(original)
    def __next__(self: Any) -> Any:  # noqa: N807
        token = _token_of(self)
        if token is None:
            return original(self)
        token.busy = True
        try:
            chunk = original(self)
        except StopIteration:
            _tell(token, token.over, self)
            raise
        except BaseException as error:
            _tell(token, token.broke, self, error)
            raise
        finally:
            token.busy = False
        _tell(token, token.saw, chunk)
        return chunk

    return __next__


def _anext(original: Callable[[Any], Any]) -> Callable[[Any], Any]:
    @functools.wraps(original)
    async def __anext__(self: Any) -> Any:  # noqa: N807
        token = _token_of(self)
        if token is None:
            return await original(self)
        token.busy = True
        try:
            chunk = await original(self)
        except StopAsyncIteration:
            _tell(token, token.over, self)
            raise
        except BaseException as error:
            _tell(token, token.broke, self, error)
            raise
        finally:
            token.busy = False
        _tell(token, token.saw, chunk)
        return chunk

    return __anext__


def _close(original: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(original)
    def close(self: Any, *args: Any, **kwargs: Any) -> Any:
        token = _token_of(self)
        if token is not None:
            _tell(token, token.closed, self)
        return original(self, *args, **kwargs)

    return close


def _tell(token: Token, witness: Callable[..., None], *args: Any) -> None:
    try:
        witness(*args)
    except Exception as error:
        with guarded(token.health, "litellm.stream"):
            raise error


_READS: Final = ("__next__", "__anext__")
_WRAPPERS: Final[dict[str, Callable[..., Any]]] = {
    "__next__": _next,
    "__anext__": _anext,
    "close": _close,
    "aclose": _close,
}
