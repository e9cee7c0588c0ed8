"""What a user's type checker sees; mypy reads this file, nothing runs it."""

from __future__ import annotations

from typing import assert_type

import tokentrail
from tokentrail import Tracker, Usage, context, normalize_usage
from tokentrail.integrations.langchain import TokentrailCallbackHandler
from tokentrail.integrations.litellm import TokentrailLogger
from tokentrail.models import LLMCall
from tokentrail.testing import capture_calls

tracker = Tracker("sqlite:///usage.db", client_id="my_app", user_id="user123")
assert_type(tokentrail.get_tracker(), Tracker)
assert_type(tracker.start(model="m"), str)
assert_type(tracker.flush(timeout=1.0), bool)
assert_type(tracker.wait_for_change(0), int)
assert_type(normalize_usage({}), Usage)
assert_type(normalize_usage({}).input_tokens, int | None)

assert_type(tracker.start_tool("search", arguments={"q": "x"}), str)
assert_type(tracker.record_message("hello", session_id="s1"), str)
assert_type(tracker.record_feedback("f1", "like"), str)

logger = TokentrailLogger(tracker)
handler = TokentrailCallbackHandler(tracker)

with context(session_id="s1", tags=["beta"]), tracker.track(model="m") as call:
    call.usage({"prompt_tokens": 1})
    with tracker.track_tool("search") as tool:
        tool.result("sunny")

with capture_calls() as captured:
    assert_type(captured[0], LLMCall)
    assert_type(captured[0].cost_usd, float | None)


async def around() -> None:
    """`track` and waiting work in coroutines."""
    async with tracker.track(model="m"):
        assert_type(await tracker.wait_for_change_async(0, timeout=1), int)
