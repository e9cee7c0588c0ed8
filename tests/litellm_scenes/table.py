"""All scenes."""

from __future__ import annotations

from typing import Final

from litellm_scenes.answers import FAULTS, FORMS, PLACES
from litellm_scenes.besides import BESIDES
from litellm_scenes.calls import ATTEMPTS, ROUTED
from litellm_scenes.functions import FUNCTIONS
from litellm_scenes.providers import WIRED
from litellm_scenes.readers import LEFT
from litellm_scenes.scenes import Scene
from litellm_scenes.unasked import UNASKED

SCENES: Final[tuple[Scene, ...]] = (
    *FORMS,
    *PLACES,
    *FAULTS,
    *LEFT,
    *ATTEMPTS,
    *ROUTED,
    *BESIDES,
    *FUNCTIONS,
    *WIRED,
    *UNASKED,
)
