"""tokentrail: the usage ledger for Python programs that call language models.

    import tokentrail

    tokentrail.install()          # every LiteLLM and LangChain call is now a row in a local database

Everything public is importable from here; submodules load on first touch.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tokentrail import errors, integrations, models, stats, testing
    from tokentrail._context import context
    from tokentrail._install import install, uninstall
    from tokentrail._normalize import StreamUsage, normalize_usage
    from tokentrail._query import Query
    from tokentrail._settings import Settings
    from tokentrail._stats import Stats
    from tokentrail._tracker import Tracker, get_tracker, set_tracker, track
    from tokentrail._usage import Usage
    from tokentrail._usage_info import UsageInfo
    from tokentrail.errors import BudgetExceeded
    from tokentrail.models import LLMCall

__version__ = "0.1.0"

_HOMES = {
    "BudgetExceeded": "errors",
    "LLMCall": "models",
    "Query": "_query",
    "Settings": "_settings",
    "Stats": "_stats",
    "StreamUsage": "_normalize",
    "Tracker": "_tracker",
    "Usage": "_usage",
    "UsageInfo": "_usage_info",
    "context": "_context",
    "get_tracker": "_tracker",
    "install": "_install",
    "normalize_usage": "_normalize",
    "set_tracker": "_tracker",
    "track": "_tracker",
    "uninstall": "_install",
}
_SUBMODULES = ("errors", "integrations", "models", "server", "stats", "testing")

__all__ = [
    "BudgetExceeded",
    "LLMCall",
    "Query",
    "Settings",
    "Stats",
    "StreamUsage",
    "Tracker",
    "Usage",
    "UsageInfo",
    "__version__",
    "context",
    "errors",
    "get_tracker",
    "install",
    "integrations",
    "models",
    "normalize_usage",
    "set_tracker",
    "stats",
    "testing",
    "track",
    "uninstall",
]


def __getattr__(name: str) -> Any:
    """Load a public name from its home when it is first touched, so that importing costs nothing."""
    if name in _HOMES:
        value = getattr(importlib.import_module(f"tokentrail.{_HOMES[name]}"), name)
    elif name in _SUBMODULES:
        value = importlib.import_module(f"tokentrail.{name}")
    else:
        raise AttributeError(f"module 'tokentrail' has no attribute {name!r}")
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return __all__
