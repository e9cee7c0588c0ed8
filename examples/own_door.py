"""A door of one's own: every chat completion of a raw OpenAI client is a row. See docs/doors.md.

Run it with OPENAI_API_KEY set:  python own_door.py
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from openai import OpenAI, Stream

import tokentrail


class RecordedChat:
    """`client.chat.completions`, recorded.

    Args:
        client: what makes the calls; nothing of it is changed.
        tracker: where they are recorded.
    """

    def __init__(self, client: OpenAI, tracker: tokentrail.Tracker) -> None:
        self._completions = client.chat.completions
        self._tracker = tracker

    def create(self, **request: Any) -> Any:
        """As `client.chat.completions.create`."""
        call_id = self._tracker.start(
            model=request["model"],
            provider="openai",
            source="own_door",
            is_streaming=bool(request.get("stream")),
            message_count=len(request["messages"]),
        )
        try:
            answer = self._completions.create(**request)
        except Exception as error:
            self._tracker.fail(call_id, error)
            raise
        except BaseException:
            self._tracker.cancel(call_id)
            raise
        if isinstance(answer, Stream):
            return self._read(call_id, answer)
        choice = answer.choices[0]
        self._tracker.finish(
            call_id,
            usage=answer.usage,
            model=answer.model,
            response_id=answer.id,
            finish_reason=choice.finish_reason,
        )
        return answer

    def _read(self, call_id: str, stream: Stream[Any]) -> Iterator[Any]:
        seen = tokentrail.StreamUsage(shape="openai")
        try:
            for number, chunk in enumerate(stream):
                if number == 0:
                    self._tracker.progress(call_id, first_token=True)
                seen.feed(chunk)
                yield chunk
        except GeneratorExit:  # the reader has left
            self._tracker.cancel(call_id, usage=seen.usage)
            raise
        except Exception as error:
            self._tracker.fail(call_id, error, usage=seen.usage)
            raise
        self._tracker.finish(call_id, usage=seen.usage)


def main() -> None:
    """Make two calls and say what they used."""
    tracker = tokentrail.Tracker("sqlite:///own_door.db")
    chat = RecordedChat(OpenAI(), tracker)
    question = {"model": "gpt-4o-mini", "messages": [{"role": "user", "content": "Say hello."}]}
    print(chat.create(**question).choices[0].message.content)
    for chunk in chat.create(**question, stream=True, stream_options={"include_usage": True}):
        if chunk.choices:
            print(chunk.choices[0].delta.content or "", end="")
    print()
    for call in tracker.stats.calls().items:
        print(f"{call.source}: {call.model}, {call.total_tokens} tokens, {call.status}, {call.finish_reason}")


if __name__ == "__main__":
    main()
