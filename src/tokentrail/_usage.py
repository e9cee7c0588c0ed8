"""Usage: what one request consumed; wholes, and parts of them."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, NamedTuple

NO_DETAILS: Mapping[str, int] = MappingProxyType({})


class Usage(NamedTuple):
    """What one request consumed, in tokens.

    `input_tokens` and `output_tokens` are wholes and include every part: cache reads and cache writes and
    input audio are parts of input, reasoning and output audio are parts of output (OpenTelemetry GenAI:
    `gen_ai.usage.input_tokens` "SHOULD include all types of input tokens, including cached tokens").

    `None` means not reported; `0` means reported as zero. Further kinds of tokens, and other counts a
    provider sends, are in `details`. `flags` names what was wrong or derived: `missing_usage`,
    `usage_not_mapping`, `derived_total`, `total_mismatch`, `split_unknown`, `parts_added`,
    `invalid:<field>`, `negative:<field>`. `usage_asked` on a row: a door has changed the request so that its
    stream tells the usage.

    A named tuple and not a dataclass: it is made on the caller's hot path, at a quarter of the cost.
    """

    input_tokens: int | None = None
    output_tokens: int | None = None
    total_tokens: int | None = None
    cache_read_tokens: int | None = None
    cache_creation_tokens: int | None = None
    reasoning_tokens: int | None = None
    input_audio_tokens: int | None = None
    output_audio_tokens: int | None = None
    details: Mapping[str, int] = NO_DETAILS
    flags: tuple[str, ...] = ()

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickle and copy as plain data: `details` may be a read-only view, which neither can take."""
        return Usage, (*self[:8], dict(self.details), self.flags)

    def __hash__(self) -> int:
        return hash((*self[:8], frozenset(self.details.items()), self.flags))

    @property
    def reported(self) -> bool:
        """Whether input, output or total was there at all."""
        return (
            self.input_tokens is not None or self.output_tokens is not None or self.total_tokens is not None
        )

    @property
    def prompt_tokens(self) -> int | None:
        """`input_tokens` under OpenAI's name."""
        return self.input_tokens

    @property
    def completion_tokens(self) -> int | None:
        """`output_tokens` under OpenAI's name."""
        return self.output_tokens


COUNTS: tuple[str, ...] = Usage._fields[:8]
"""The eight counts, in the order of the columns that hold them."""

ASKED = "usage_asked"
"""The flag of a call whose request was changed so that its stream tells the usage."""

MISSING = Usage(flags=("missing_usage",))
"""Nothing was reported."""
