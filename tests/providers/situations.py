"""What the providers do in the tests, and what LangChain's packages are known to lose of it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from providers.speakers import HOWS, SPEAKERS, Speaker
from tokentrail.demo.provider import MISSING, Reply

STREAMS: Final = ("stream", "astream")
INVOKES: Final = ("invoke", "ainvoke")


@dataclass(frozen=True, kw_only=True)
class Situation:
    """One thing that a provider does.

    Attributes:
        name: its id in tests and limits.
        title: its heading on the page.
        reply: the answer, for a class.
        applies: whether a class's wire knows it.
        hows: the ways of asking it is about.
        settings: arguments of the class, given the provider's URL, where the situation needs others.
        status: how the call ends.
        chunks: whether a stream has any.
    """

    name: str
    title: str
    reply: Callable[[Speaker], Mapping[str, Any]]
    applies: Callable[[Speaker], bool] = lambda _: True
    hows: tuple[str, ...] = HOWS
    settings: Callable[[str], Mapping[str, Any]] = field(default=lambda _: {})
    status: str = "success"
    chunks: bool = True

    def script(self, speaker: Speaker) -> Reply:
        """The answer that the provider gives a class."""
        return Reply(**{"model": speaker.answered, "usage_in": speaker.place, **self.reply(speaker)})


def _is(*names: str) -> Callable[[Speaker], bool]:
    return lambda speaker: speaker.name in names


def _usage(speaker: Speaker) -> dict[str, Any]:
    """A large usage with all the parts that the wire of a class has."""
    parts = {"cached_tokens": 4_000, "cache_creation_tokens": 1_000, "reasoning_tokens": 400}
    told = {name: count for name, count in parts.items() if name in speaker.parts}
    taken = {name: told.pop(name) for name in ("reasoning_tokens",) if name in told}
    usage: dict[str, Any] = {"prompt_tokens": 10_000, "completion_tokens": 1_000, "total_tokens": 11_000}
    if told:
        usage["prompt_tokens_details"] = told
    if taken:
        usage["completion_tokens_details"] = taken
    return usage


_SMALL: Final = {"prompt_tokens": 31, "completion_tokens": 9, "total_tokens": 40}
_NULLS: Final = {"prompt_tokens": None, "completion_tokens": None, "total_tokens": None}

SITUATIONS: Final = (
    Situation(name="parts", title="usage with its parts", reply=lambda one: {"usage": _usage(one)}),
    Situation(name="bare", title="small usage without parts", reply=lambda _: {"usage": _SMALL}),
    Situation(name="none", title="no usage at all", reply=lambda _: {"usage": MISSING, "usage_in": "none"}),
    Situation(
        name="every",
        title="running usage in every chunk",
        reply=lambda one: {"usage": _usage(one), "usage_in": "every", "chunks": 7},
        applies=lambda one: "every" in (*one.elsewhere, one.place),
        hows=STREAMS,
    ),
    Situation(
        name="twice",
        title="usage twice in a stream",
        reply=lambda one: {"usage": _usage(one), "usage_in": "twice"},
        applies=lambda one: "twice" in one.elsewhere,
        hows=STREAMS,
    ),
    Situation(
        name="refused", title="refused (400)", reply=lambda _: {"status": 400}, status="error", chunks=False
    ),
    Situation(
        name="cut",
        title="connection lost in a stream",
        reply=lambda one: {"usage": _usage(one), "cut_after": 2},
        hows=STREAMS,
        status="error",
    ),
    # --- of single providers
    Situation(
        name="no-total",
        title="usage without its total (the row has the sum)",
        reply=lambda _: {"usage": {"prompt_tokens": 120, "completion_tokens": 37}},
        applies=_is("ChatOpenAI", "ChatMistralAI", "ChatGroq", "ChatXAI", "ChatFireworks", "ChatLiteLLM"),
    ),
    Situation(
        name="small-total",
        title="total below its parts (the row has the sum, and `total_mismatch`)",
        reply=lambda _: {"usage": {"prompt_tokens": 120, "completion_tokens": 37, "total_tokens": 100}},
        applies=_is("ChatOpenAI", "ChatGroq", "ChatFireworks"),
    ),
    Situation(
        name="nulls",
        title="usage with nulls for counts",
        reply=lambda _: {"usage": _NULLS},
        applies=_is("ChatOpenAI", "AzureChatOpenAI"),
    ),
    Situation(
        name="not-asked",
        title="usage only when asked for, which this class does not do by itself",
        reply=lambda one: {"usage": _usage(one), "usage_in": "asked"},
        applies=_is("ChatOpenAI", "ChatDeepSeek"),
        hows=STREAMS,
        settings=lambda _: {"stream_usage": None},
    ),
    Situation(
        name="output-only",
        title="stream that ends with output tokens only, as the API allows",
        reply=lambda one: {"usage": _usage(one)},
        applies=_is("ChatAnthropic"),
        hows=STREAMS,
        settings=lambda url: {"base_url": url},
    ),
    Situation(
        name="output-only-twice",
        title="the same in two steps, the second the whole",
        reply=lambda one: {"usage": _usage(one), "usage_in": "twice"},
        applies=_is("ChatAnthropic"),
        hows=STREAMS,
        settings=lambda url: {"base_url": url},
    ),
    Situation(
        name="tool-prompts",
        title="prompts of tools beside the prompt",
        reply=lambda _: {
            "usage": {
                "promptTokenCount": 120,
                "toolUsePromptTokenCount": 9,
                "candidatesTokenCount": 16,
                "thoughtsTokenCount": 21,
                "totalTokenCount": 166,
            }
        },
        applies=_is("ChatGoogleGenerativeAI"),
    ),
    Situation(
        name="no-prompt-count",
        title="cached prompt, which is not counted",
        reply=lambda _: {"usage": {"eval_count": 37}},
        applies=_is("ChatOllama"),
    ),
    Situation(
        name="billed",
        title="billed units other than tokens",
        reply=lambda _: {
            "usage": {
                "billed_units": {"input_tokens": 110, "output_tokens": 37},
                "tokens": {"input_tokens": 120, "output_tokens": 37},
            }
        },
        applies=_is("ChatCohere"),
    ),
    Situation(
        name="reasoning-inside",
        title="server that counts reasoning inside",
        reply=lambda one: {"usage": _usage(one)},
        applies=_is("ChatXAI"),
        settings=lambda url: {"xai_api_base": f"{url}/v1"},
    ),
    Situation(
        name="error-inside",
        title="error inside a stream",
        reply=lambda one: {"usage": _usage(one), "error_after": 2},
        applies=_is("ChatOpenAI", "ChatAnthropic", "ChatMistralAI", "ChatBedrockConverse", "ChatOpenRouter"),
        hows=STREAMS,
        status="error",
    ),
)


@dataclass(frozen=True, kw_only=True)
class Limit:
    """What the row of a class cannot say in a situation, since the class does not tell.

    Attributes:
        unknown: the columns that are empty although the provider sent them.
        instead: the counts that the class tells in place of what was sent.
        flagged: whether the row says itself that its counts contradict each other.
        status: how the row ends, where it is not how the call ended.
        why: the sentence on the page.
    """

    speaker: str
    situation: str
    hows: tuple[str, ...] = HOWS
    unknown: tuple[str, ...] = ()
    instead: Mapping[str, int] = field(default_factory=dict)
    flagged: bool = False
    status: str | None = None
    why: str


_INPUT: Final = ("input_tokens", "cache_read_tokens", "cache_creation_tokens")
_ALL: Final = (*_INPUT, "output_tokens", "reasoning_tokens")


def _limits(speaker: str, situations: str, why: str, **what: Any) -> list[Limit]:
    return [Limit(speaker=speaker, situation=name, why=why, **what) for name in situations.split()]


LIMITS: Final = (
    *_limits(
        "ChatAnthropic",
        "cut error-inside",
        "ChatAnthropic tells usage with the last event of a stream only; what the first one said is lost "
        "when the stream breaks off.",
        hows=STREAMS,
        unknown=_ALL,
    ),
    *_limits(
        "ChatAnthropic",
        "output-only output-only-twice",
        "ChatAnthropic reads the last event only; input that the first one alone has is lost.",
        hows=STREAMS,
        unknown=_INPUT,
    ),
    *_limits(
        "ChatGoogleGenerativeAI",
        "bare tool-prompts",
        "ChatGoogleGenerativeAI writes 0 for cached tokens that were not sent.",
        instead={"cache_read_tokens": 0},
    ),
    *_limits(
        "ChatMistralAI",
        "parts every twice",
        "ChatMistralAI drops cached tokens from streams.",
        hows=STREAMS,
        unknown=("cache_read_tokens",),
    ),
    *_limits(
        "ChatMistralAI",
        "error-inside",
        "ChatMistralAI skips an error inside a stream; for it, and so in the row, the call is a success.",
        hows=STREAMS,
        status="success",
    ),
    *_limits("ChatCohere", "parts", "ChatCohere drops cached tokens.", unknown=("cache_read_tokens",)),
    *_limits(
        "ChatCohere",
        "none",
        "ChatCohere itself fails on a stream without usage.",
        hows=STREAMS,
        status="error",
    ),
    *_limits(
        "ChatCohere",
        "billed",
        "ChatCohere tells the billed units of a stream, not its tokens.",
        hows=STREAMS,
        instead={"input_tokens": 110},
    ),
    *_limits(
        "ChatBedrockConverse",
        "bare",
        "ChatBedrockConverse writes 0 for cache counts that were not sent.",
        instead={"cache_read_tokens": 0, "cache_creation_tokens": 0},
    ),
    *_limits(
        "ChatBedrockConverse",
        "none",
        "ChatBedrockConverse itself fails on an answer without usage.",
        hows=INVOKES,
        status="error",
    ),
    *_limits(
        "ChatXAI",
        "reasoning-inside",
        "ChatXAI adds reasoning to the output, as is right for xAI; of a server that counts it inside it is "
        "then counted twice, and a stream does not let anyone tell that from a stale total. The row is "
        "flagged `total_mismatch`.",
        hows=STREAMS,
        instead={"output_tokens": 1_400},
        flagged=True,
    ),
    *_limits(
        "ChatLiteLLM",
        "bare no-total",
        "ChatLiteLLM's streams do not say whether LiteLLM has estimated the usage, unless it is too large, "
        "or has too many parts, for an estimate; else the row says unknown. With LiteLLM's own door beside "
        "LangChain's (`tokentrail.install()` opens both) it has what was sent.",
        hows=STREAMS,
        unknown=_ALL,
    ),
)


def limit_of(speaker: Speaker, situation: Situation, how: str) -> Limit | None:
    """The limit that holds for one way of asking, if any."""
    for limit in LIMITS:
        if (limit.speaker, limit.situation) == (speaker.name, situation.name) and how in limit.hows:
            return limit
    return None


def cases() -> list[tuple[Speaker, Situation, str]]:
    """Every class in every situation that its wire knows, asked in every way that the situation is about."""
    return [
        (speaker, situation, how)
        for speaker in SPEAKERS
        for situation in SITUATIONS
        if situation.applies(speaker)
        for how in situation.hows
    ]
