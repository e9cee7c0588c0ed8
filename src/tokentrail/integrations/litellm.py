"""LiteLLM's door: `litellm.callbacks = [TokentrailLogger(tracker)]` makes every call of LiteLLM a row.

`_litellm_cells.py` tells where it hooks in, `_litellm_frames.py` how calls are seen, `_litellm_streams.py`
how streams are, and `_litellm_events.py` what LiteLLM's own events add.
"""

from __future__ import annotations

import functools
import os
import threading
from typing import Any, Final, Literal

from tokentrail._guard import guarded
from tokentrail._health import Health
from tokentrail._tracker import Tracker, get_tracker
from tokentrail.errors import needs
from tokentrail.integrations import _litellm_events as events
from tokentrail.integrations import _litellm_streams as streams
from tokentrail.integrations._litellm_cache import watch_cache
from tokentrail.integrations._litellm_cells import Cells
from tokentrail.integrations._litellm_frames import answered, opened
from tokentrail.integrations._litellm_patches import replace

with needs("litellm", extra="litellm"):
    import litellm
    from litellm.integrations.custom_logger import CustomLogger

__all__ = ["TokentrailLogger", "disarm"]

Mode = Literal["inline", "hooks"]
MODE_VARIABLE: Final = "TOKENTRAIL_LITELLM_MODE"
"""Environment variable that forces a mode; for finding faults, nothing a user should need."""
LISTS: Final = (
    "callbacks", "input_callback", "success_callback", "failure_callback", "_async_success_callback",
    "_async_failure_callback", "_async_input_callback",
)  # fmt: skip
"""Where LiteLLM keeps callbacks: it copies those of `callbacks` into all others, and never takes them out."""


class TokentrailLogger(CustomLogger):
    """Records every call that LiteLLM makes: sync, async, streamed, retried, cancelled, abandoned.

    Put it into `litellm.callbacks`; in how many lists or how often does not matter.

    Args:
        tracker: where calls go; default the shared one (`tokentrail.get_tracker()`), asked for at each call.
        mode: `inline` watches LiteLLM's functions and streams from inside, and is the default; `hooks`, the
            fallback for a LiteLLM that it does not recognise, hears LiteLLM's own events only. These are
            lost at exit, at cancellation, after some retries and in forked children.

    Example:
        >>> litellm.callbacks = [TokentrailLogger(tracker)]
    """

    def __init__(self, tracker: Tracker | None = None, *, mode: Mode | None = None) -> None:
        super().__init__()
        self._tracker = tracker
        # LiteLLM takes two loggers of one class for the same unless a public text differs.
        self.tracker_name = "default" if tracker is None else f"tracker {id(tracker):x}"
        self._mode: Mode = "hooks"
        with guarded(self.health, "litellm.arm"):
            self._mode = _arm(mode or os.environ.get(MODE_VARIABLE))
        self._told: int | None = None

    @property
    def tracker(self) -> Tracker:
        """Where calls go."""
        return get_tracker() if self._tracker is None else self._tracker

    @property
    def mode(self) -> Mode:
        """How calls are seen: `inline`, or `hooks` if this LiteLLM was not recognised."""
        return self._mode

    @property
    def health(self) -> Health:
        """The counters of the tracker; strangers' until a default tracker is needed."""
        return _doors.spare if self._tracker is None else self._tracker.health_counters

    # --- LiteLLM's hooks: LiteLLM passes exactly these names, used or not --------------------------
    # ruff: noqa: ARG002

    @guarded(lambda self: self.health, "litellm.log_pre_api_call")
    def log_pre_api_call(self, model: Any, messages: Any, kwargs: Any) -> None:
        """A request is about to be made; runs inline, once an attempt."""
        tracker = self.tracker
        if self._told != id(tracker):
            self._told = id(tracker)
            tracker.health_counters.note(f"litellm_mode:{self._mode}")
        if self._mode == "hooks" or not opened(kwargs, tracker):
            events.started(kwargs, tracker)

    @guarded(lambda self: self.health, "litellm.log_post_api_call")
    def log_post_api_call(self, kwargs: Any, response_obj: Any, start_time: Any, end_time: Any) -> None:
        """Something has come back, perhaps an answer; runs inline. All that is told of some retries."""
        (events.answered if self._mode == "hooks" else answered)(kwargs)

    @guarded(lambda self: self.health, "litellm.log_success_event")
    def log_success_event(self, kwargs: Any, response_obj: Any, start_time: Any, end_time: Any) -> None:
        """A call has succeeded; runs in a thread of LiteLLM's."""
        self._succeeded(kwargs, response_obj, start_time=start_time, end_time=end_time)

    @guarded(lambda self: self.health, "litellm.log_failure_event")
    def log_failure_event(self, kwargs: Any, response_obj: Any, start_time: Any, end_time: Any) -> None:
        """A call has failed; runs inline."""
        events.failed(kwargs, self.tracker, hooks=self._mode == "hooks", start_time=start_time)

    async def async_log_success_event(
        self, kwargs: Any, response_obj: Any, start_time: Any, end_time: Any
    ) -> None:
        """A call has succeeded; runs in a task of LiteLLM's, which may be cancelled wherever it awaits."""
        self.log_success_event(kwargs, response_obj, start_time, end_time)

    async def async_log_failure_event(
        self, kwargs: Any, response_obj: Any, start_time: Any, end_time: Any
    ) -> None:
        """A call has failed; runs inline."""
        self.log_failure_event(kwargs, response_obj, start_time, end_time)

    async def async_post_call_success_deployment_hook(
        self, request_data: Any, response: Any, call_type: Any
    ) -> None:
        """An async call that is not streamed has succeeded; runs inline, and is not lost at exit."""
        if self._mode == "hooks":
            self._deployed(request_data, response)

    @guarded(lambda self: self.health, "litellm.deployment_hook")
    def _deployed(self, request_data: Any, response: Any) -> None:
        details = getattr(request_data.get("litellm_logging_obj"), "model_call_details", None)
        if isinstance(details, dict) and not streams.is_stream(response):
            self._succeeded(details, response)

    def _succeeded(self, details: Any, response: Any, **timing: Any) -> None:
        events.succeeded(details, response, self.tracker, hooks=self._mode == "hooks", **timing)

    # --- a logger is one: copies would be other doors to the same tracker --------------------------

    def __copy__(self) -> TokentrailLogger:
        return self

    def __deepcopy__(self, memo: dict[int, Any]) -> TokentrailLogger:
        return self


class _Doors:
    """The loggers that LiteLLM knows, as frames see them."""

    def __init__(self) -> None:
        self.spare = Health()
        """Faults that no tracker is known for."""

    @property
    def health(self) -> Health:
        for logger in _registered():
            return logger.tracker.health_counters
        return self.spare

    @property
    def ask_for_usage(self) -> bool:
        return any(logger.tracker.settings.ask_for_usage for logger in _registered())

    def trackers(self) -> list[Tracker]:
        return list(dict.fromkeys(logger.tracker for logger in _registered()))

    def takes_stream_options(self, model: str, provider: str | None) -> bool:
        try:
            known = litellm.get_supported_openai_params(model=model, custom_llm_provider=provider)
        except litellm.exceptions.BadRequestError:  # a model that LiteLLM cannot place
            return False
        return "stream_options" in (known or ())


def _registered() -> list[TokentrailLogger]:
    listed = [one for name in LISTS for one in getattr(litellm, name, None) or ()]
    return list(dict.fromkeys(one for one in (*listed, _installed) if isinstance(one, TokentrailLogger)))


_doors: Final = _Doors()
_installed: TokentrailLogger | None = None
"""The logger of `tokentrail.install()`."""
_cells: Final = Cells(_doors)
_lock: Final = threading.RLock()


def _arm(mode: str | None) -> Mode:
    """Hook in, as far as this LiteLLM lets us."""
    with _lock:
        stream_class = _stream_class()
        watched = streams.arm(stream_class)
        if mode != "hooks" and watched and _cells.arm(litellm):
            watch_cache(_caching_handler(), _doors)
            return "inline"
        if watched:
            _watch_new_streams(stream_class)
        return "hooks"


def register_everywhere() -> TokentrailLogger:
    """Register a logger of the default tracker; it stays when the program sets `litellm.callbacks` anew."""
    global _installed
    with _lock:
        if _installed is None:
            _installed = TokentrailLogger()
        else:
            _arm(None)
        for name in LISTS[:-1]:  # what is async for inputs is not for loggers
            callbacks = getattr(litellm, name, None)
            if isinstance(callbacks, list) and _installed not in callbacks:
                callbacks.append(_installed)
        return _installed


def disarm() -> int:
    """Take everything of ours out of LiteLLM; the number of places that somebody else has changed since.

    Streams that are still being read then end when they die.
    """
    global _installed
    with _lock:
        _installed = None
        for name in LISTS:
            callbacks = getattr(litellm, name, None)
            if isinstance(callbacks, list):
                callbacks[:] = [one for one in callbacks if not _is_ours(one)]
        return _cells.disarm() + streams.retire()


def _is_ours(callback: object) -> bool:
    return isinstance(getattr(callback, "__self__", callback), TokentrailLogger)


def _stream_class() -> type | None:
    found = getattr(litellm, "CustomStreamWrapper", None)
    return found if isinstance(found, type) else None


def _caching_handler() -> Any:
    try:
        from litellm.caching.caching_handler import LLMCachingHandler
    except ImportError:
        return None
    return LLMCachingHandler


def _watch_new_streams(stream_class: Any) -> None:
    """In mode `hooks` no frame hands us its stream, so streams are met when they are made."""
    original = stream_class.__init__

    @functools.wraps(original)
    def __init__(self: Any, *args: Any, **kwargs: Any) -> None:  # noqa: N807
        original(self, *args, **kwargs)
        with guarded(_doors.spare, "litellm.new_stream"):
            details = getattr(getattr(self, "logging_obj", None), "model_call_details", None)
            if isinstance(details, dict):
                events.adopt_stream(self, details)

    replace(stream_class, "__init__", __init__)


def __getattr__(name: str) -> Any:
    """`proxy_handler`: for the LiteLLM proxy's `config.yaml`; made when it is first asked for."""
    if name != "proxy_handler":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    handler = globals()["proxy_handler"] = TokentrailLogger()
    return handler
