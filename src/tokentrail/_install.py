"""`install()` and `uninstall()`: the default tracker on every door, in one line."""

from __future__ import annotations

import importlib.util
import sys
import threading
from collections.abc import Callable
from contextvars import ContextVar
from typing import Any, Final

from tokentrail._health import logger

_lock: Final = threading.RLock()
_handler_var: ContextVar[Any] | None = None
"""LangChain's way in: a context variable whose default is the handler, so that every thread has it."""


def install() -> tuple[str, ...]:
    """Record every call of LiteLLM and of LangChain with the default tracker. Saying it twice is harmless.

    Imports whichever of the two is installed. The default tracker is asked for at each call, so
    `set_tracker()` works before and after.

    Returns:
        The libraries that are recorded now.

    Example:
        >>> import tokentrail
        >>> tokentrail.install()
        ('litellm', 'langchain')
    """
    with _lock:
        done = tuple(name for name, (needs, door, _) in _DOORS.items() if _is_there(needs) and door())
    if not done:
        logger.warning(
            "tokentrail.install() found neither LiteLLM nor LangChain. Install one with:"
            "  pip install 'tokentrail[litellm]'  or  pip install 'tokentrail[langchain]'"
        )
    return done


def uninstall() -> None:
    """Take everything of tokentrail out of both libraries, doors that were registered by hand included.

    Calls that run now still end in the ledger.
    """
    with _lock:
        for _, _, undo in _DOORS.values():
            undo()


def _is_there(library: str) -> bool:
    return importlib.util.find_spec(library) is not None


def _install_litellm() -> bool:
    from tokentrail.integrations import litellm as door

    door.register_everywhere()
    return True


def _uninstall_litellm() -> None:
    door = _loaded("tokentrail.integrations.litellm")
    left = 0 if door is None else door.disarm()
    if left:
        logger.warning(
            "tokentrail.uninstall(): %d places in LiteLLM are still in use, by streams that are being read"
            " or below somebody else's wraps",
            left,
        )


def _install_langchain() -> bool:
    from langchain_core.tracers.context import register_configure_hook

    from tokentrail.integrations.langchain import TokentrailCallbackHandler

    global _handler_var
    if _handler_var is None:
        handler = TokentrailCallbackHandler()
        _handler_var = ContextVar("tokentrail_langchain_handler", default=handler)
        register_configure_hook(_handler_var, inheritable=True)
    return True


def _uninstall_langchain() -> None:
    """LangChain has no way to take a hook back; we look for ours where it keeps them."""
    global _handler_var
    context = _loaded("langchain_core.tracers.context")
    hooks = getattr(context, "_configure_hooks", None)
    if _handler_var is None:
        return
    if isinstance(hooks, list):
        hooks[:] = [hook for hook in hooks if hook[0] is not _handler_var]
        _handler_var = None
    else:
        _handler_var.set(None)


def _loaded(module: str) -> Any:
    return sys.modules.get(module)


_DOORS: Final[dict[str, tuple[str, Callable[[], bool], Callable[[], None]]]] = {
    "litellm": ("litellm", _install_litellm, _uninstall_litellm),
    "langchain": ("langchain_core", _install_langchain, _uninstall_langchain),
}
"""Name → the module it needs, how to open the door, how to shut it."""
