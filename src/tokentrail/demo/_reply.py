"""What the loopback provider is told to answer, and what it remembers of having answered."""

from __future__ import annotations

import enum
import itertools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, Literal, TypeAlias


class _Missing(enum.Enum):
    MISSING = "missing"


MISSING: Final = _Missing.MISSING
"""A usage that is not there at all, where `None` is a usage sent as `null`."""

UsageIn: TypeAlias = Literal["last", "finish", "every", "first", "asked", "none", "twice", "choice", "bare"]

DEFAULT_USAGE: Final[Mapping[str, Any]] = {
    "prompt_tokens": 1311,
    "completion_tokens": 277,
    "total_tokens": 1588,
}
"""Far from what the texts would be estimated at, so that an estimate is never mistaken for a report."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Reply:
    """One scripted answer.

    Attributes:
        text: what the model says; `chunks` parts of it when streamed.
        usage: OpenAI's chat names (`prompt_tokens`, `prompt_tokens_details.cached_tokens`, …), turned into
            the endpoint's own names; a mapping with `input_tokens` is sent as it is. `None` is sent as null,
            `MISSING` not at all.
        usage_in: where a stream says it: `last` a chunk of its own with empty choices, `finish` with the
            finish reason, `twice` both, `every` a running total in each chunk, `first` only there, `asked`
            like `last` but only for `stream_options.include_usage`, `none` nowhere; OpenAI's endpoints have
            also `choice`, like `last` with a choice that says nothing, and `bare`, without a key `choices`.
        status: other than 200, `body` (or an error in the endpoint's form) is the answer.
        body: the whole body of the answer, instead of a composed one.
        headers: added to the answer's headers.
        cut_after: the socket is closed after so many chunks, counted from the first one with text.
        stall_after: after so many chunks the provider waits for `release()`, or for the client to leave.
        error_after: after so many chunks an error is sent inside the stream, which then ends.
        tool_calls: `{"name": …, "arguments": {…}}` each, with an `id` if it matters.
        n: choices; by default what the request asks for.
        id: the id of the answer, by default a numbered one.
        model: the name of the model that answers, by default the requested one.
        delay: seconds before the first byte.
        pace: seconds before each chunk.
    """

    text: str = "Hello from the loopback provider."
    usage: Mapping[str, Any] | _Missing | None = field(default_factory=lambda: dict(DEFAULT_USAGE))
    chunks: int = 5
    usage_in: UsageIn = "last"
    status: int = 200
    body: Mapping[str, Any] | str | None = None
    headers: Mapping[str, str] = field(default_factory=dict)
    cut_after: int | None = None
    stall_after: int | None = None
    error_after: int | None = None
    finish_reason: str | None = None
    tool_calls: Sequence[Mapping[str, Any]] = ()
    n: int | None = None
    id: str | None = None
    model: str | None = None
    delay: float = 0.0
    pace: float = 0.0

    @property
    def parts(self) -> list[str]:
        """The text in `chunks` pieces; none of them is empty while there is text left."""
        size, rest = divmod(len(self.text), self.chunks)
        cuts = [0]
        for index in range(self.chunks):
            cuts.append(cuts[-1] + size + (1 if index < rest else 0))
        return [self.text[start:end] for start, end in itertools.pairwise(cuts)]

    @property
    def reason(self) -> str:
        """The finish reason in OpenAI's words."""
        if self.finish_reason is not None:
            return self.finish_reason
        return "tool_calls" if self.tool_calls else "stop"


@dataclass(slots=True, kw_only=True, eq=False)
class Sent:
    """One request as the provider saw it, and how far its answer came: the truth a ledger is held against."""

    number: int
    path: str
    model: str
    body: dict[str, Any]
    headers: dict[str, str]
    reply: Reply
    stream: bool = False
    status: int = 200
    request_id: str = ""
    usage: dict[str, Any] | None = None
    """The usage that really went out, in the endpoint's own names; the parts of a stream merged."""
    counts: dict[str, int] | None = None
    """The same in the ledger's names (`input_tokens` with its cached parts inside, …)."""
    chunks_sent: int = 0
    """Chunks that went out, counted from the first one with text; the closing `[DONE]` is none."""
    completed: bool = False
    """The whole answer went out."""
    client_gone: bool = False
    """The client closed its side before the answer was whole."""
    ended: bool = False
    """The provider is done with this request, whichever way."""
    counter: Callable[[Mapping[str, Any]], dict[str, int]] = field(default=dict, repr=False)
    """Turns `usage` into `counts`."""
