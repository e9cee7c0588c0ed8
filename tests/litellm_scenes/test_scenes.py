"""Every scene of the table, in both modes of the door, against what the provider really sent."""

from __future__ import annotations

import copy
import dataclasses
from typing import Any

import pytest

from litellm_rig import QUIET, Rig
from litellm_scenes.scenes import MODES, Scene
from litellm_scenes.stage import disagreements, play
from litellm_scenes.table import SCENES
from litellm_scenes.wires import WIRES
from tokentrail.demo.provider import FakeProvider

pytestmark = QUIET


def untouched(given: Any, before: Any) -> None:
    """What the caller has passed is as it was; but LiteLLM itself adds to `metadata`."""
    assert "tokentrail" not in repr(given)
    if isinstance(before, dict):
        for name, value in before.items():
            untouched(given[name], value)
    else:
        assert given == before


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("scene", SCENES, ids=lambda scene: scene.name)
def test_scene(scene: Scene, mode: str) -> None:
    """The rows are those of the physical requests, and say what was sent; or what a known limit lets them."""
    with FakeProvider(WIRES) as provider:
        rig = Rig(provider, mode=None if mode == "inline" else mode, **scene.settings)
        assert rig.logger.mode == mode
        wrong: list[str] = []
        for entry in scene.entries:
            if not entry.possible:
                continue
            given = copy.deepcopy(dict(scene.arguments))
            played = play(rig, dataclasses.replace(scene, arguments=given), entry, mode)
            untouched(given, scene.arguments)
            wrong += [f"{entry.name}: {one}" for one in disagreements(scene, played, entry, mode)]
        rig.close()
    assert not wrong, "\n".join(wrong)
