"""What providers say, and what goes wrong with them."""

from __future__ import annotations

from typing import Any, Final

from litellm_scenes.entries import CHATS, CLAUDES, STREAMS, WHOLE
from litellm_scenes.scenes import UNKNOWN, Limit, Scene
from tokentrail.demo.provider import MISSING, Reply

USAGE: Final = {"prompt_tokens": 1311, "completion_tokens": 277, "total_tokens": 1588}
PARTS: Final = {
    "prompt_tokens": 10_000,
    "completion_tokens": 1_000,
    "total_tokens": 11_000,
    "prompt_tokens_details": {"cached_tokens": 4_000},
    "completion_tokens_details": {"reasoning_tokens": 400},
}
CACHED: Final = {
    "prompt_tokens": 10_000,
    "completion_tokens": 1_000,
    "total_tokens": 11_000,
    "prompt_tokens_details": {"cached_tokens": 4_000, "cache_creation_tokens": 1_000},
}


def _usage(name: str, title: str, usage: Any, **more: Any) -> list[Scene]:
    """One form of a usage, whole and at the end of a stream."""
    return [
        Scene(
            name=f"usage-{name}",
            part="Forms of a usage",
            title=title,
            replies=(Reply(usage=usage),),
            **more,
        )
    ]


ZEROS: Final = Limit(
    why="Zeros in a stream are also what libraries write where nothing was sent; they are taken for unknown.",
    entries=tuple(one.name for one in STREAMS),
    tokens=UNKNOWN,
)

FORMS: Final = (
    *_usage("plain", "input, output and total", USAGE),
    *_usage("parts", "with cached input and reasoning", PARTS),
    *_usage("absent", "no usage", MISSING),
    *_usage("null", "`null`", None),
    *_usage("empty", "an empty mapping", {}),
    *_usage("nulls", "nulls for counts", dict.fromkeys(USAGE)),
    *_usage("strings", "counts as strings", {name: str(count) for name, count in USAGE.items()}),
    *_usage("floats", "counts as floats", {name: float(count) for name, count in USAGE.items()}),
    *_usage("no-total", "no total", {"prompt_tokens": 1311, "completion_tokens": 277}),
    *_usage("zero-total", "a total of zero", {**USAGE, "total_tokens": 0}),
    *_usage("wrong-total", "a total above its parts", {**USAGE, "total_tokens": 2000}),
    *_usage("zeros", "zeros", dict.fromkeys(USAGE, 0), limits=(ZEROS,)),
    *_usage("stated-cost", "with a cost", {**PARTS, "cost": 0.0123}),
)


def _place(where: str, title: str, **more: Any) -> Scene:
    return Scene(
        name=f"place-{where}",
        part="Places of a usage in a stream",
        title=title,
        entries=STREAMS,
        replies=(Reply(usage=PARTS, usage_in=where),),  # type: ignore[arg-type]
        **more,
    )


def _asked_or_unknown(rows: list[Any]) -> None:
    for row in rows:
        assert ("usage_asked" in row.usage_flags) == (row.usage_source == "provider"), row.usage_flags


PLACES: Final = (
    _place("last", "in a chunk of its own, with no choice"),
    _place("choice", "in a chunk of its own, with a choice that says nothing"),
    _place("bare", "in a chunk of its own, without a key `choices`"),
    _place("finish", "with the finish reason"),
    _place("twice", "with the finish reason, and again"),
    _place("every", "a running total in every chunk"),
    _place("first", "in the first chunk only"),
    _place("asked", "only if asked for, and nobody asks"),
    Scene(
        name="place-asked-for",
        part="Places of a usage in a stream",
        title="only if asked for, and the caller asks",
        entries=STREAMS,
        replies=(Reply(usage=PARTS, usage_in="asked"),),
        arguments={"stream_options": {"include_usage": True}},
    ),
    Scene(
        name="place-we-ask",
        part="Places of a usage in a stream",
        title="only if asked for, and `ask_for_usage` is set",
        entries=STREAMS,
        replies=(Reply(usage=PARTS, usage_in="asked"),),
        settings={"ask_for_usage": True},
        check=_asked_or_unknown,
        limits=(
            Limit(
                why="LiteLLM's own events come too late to change a request; mode `hooks` asks nobody.",
                modes=("hooks",),
            ),
        ),
    ),
)


# --- faults --------------------------------------------------------------------------------------

TOO_LONG: Final = {
    "error": {
        "message": "This model's maximum context length is 128000 tokens, however you requested 210000.",
        "type": "invalid_request_error",
        "param": "messages",
        "code": "context_length_exceeded",
    }
}
HTML: Final = "<html><head><title>502 Bad Gateway</title></head><body>nginx</body></html>"


def _fault(name: str, title: str, reply: Reply, **more: Any) -> Scene:
    return Scene(
        **{
            "name": f"fault-{name}",
            "part": "Faults",
            "title": title,
            "replies": (reply,),
            "ends": ("error",),
            "entries": (*CHATS, *CLAUDES),
            **more,
        }
    )


def _typed(name: str) -> Any:
    def check(rows: list[Any]) -> None:
        assert {row.error_type for row in rows} <= {name}, [row.error_type for row in rows]
        assert all(row.error_message and "canary" not in row.error_message for row in rows)

    return check


_HTML_HEAD: Final = {"content-type": "text/html"}

FAULTS: Final = (
    _fault("429", "429", Reply(status=429), check=_typed("RateLimitError")),
    _fault("500", "500", Reply(status=500), check=_typed("InternalServerError")),
    _fault("401", "401", Reply(status=401), check=_typed("AuthenticationError")),
    _fault(
        "context",
        "400, the prompt is too long",
        Reply(status=400, body=TOO_LONG),
        entries=CHATS,
        check=_typed("ContextWindowExceededError"),
    ),
    _fault("html", "502 with a page of HTML", Reply(status=502, body=HTML, headers=_HTML_HEAD)),
    _fault(
        "html-200",
        "200 with a page of HTML",
        Reply(body=HTML, headers=_HTML_HEAD),
        entries=WHOLE,
    ),
    _fault("cut-whole", "the connection breaks before the answer", Reply(cut_after=0), entries=WHOLE),
    _fault(
        "stalled-whole",
        "no answer within the time limit",
        Reply(stall_after=0),
        entries=WHOLE,
        ends=("timeout",),
        arguments={"timeout": 0.3},
    ),
    _fault(
        "cut",
        "a stream breaks off",
        Reply(cut_after=2),
        entries=STREAMS,
    ),
    _fault(
        "cut-told",
        "a stream breaks off after it told its usage",
        Reply(cut_after=3, usage=PARTS, usage_in="first"),
        entries=STREAMS,
    ),
    _fault(
        "cut-anthropic",
        "a stream breaks off after its first event, which told the input",
        Reply(cut_after=2, usage=CACHED),
        entries=tuple(one for one in CLAUDES if one.streams),
    ),
    _fault("error-event", "an error inside a stream", Reply(error_after=2), entries=STREAMS),
    _fault(
        "stalled",
        "a stream falls silent beyond the time limit",
        Reply(stall_after=2),
        entries=STREAMS,
        ends=("timeout",),
        arguments={"timeout": 0.3},
    ),
    _fault(
        "truncated",
        "a stream ends without a finish reason",
        Reply(
            body='data: {"id":"c","object":"chat.completion.chunk","created":1,"model":"gpt-4o",'
            '"choices":[{"index":0,"delta":{"content":"hel"},"finish_reason":null}]}\n\ndata: [DONE]\n\n',
            headers={"content-type": "text/event-stream"},
        ),
        entries=STREAMS,
    ),
    _fault(
        "fraction",
        "a count of 1311.5, at which LiteLLM fails although the provider has answered",
        Reply(usage={"prompt_tokens": 1311.5, "completion_tokens": 277}),
        entries=WHOLE,
    ),
    _fault(
        "text-count",
        "a count of `n/a`, likewise",
        Reply(usage={"prompt_tokens": "n/a", "completion_tokens": 277}),
        entries=WHOLE,
    ),
)
