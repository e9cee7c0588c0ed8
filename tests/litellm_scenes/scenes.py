"""The table: what the provider does, who asks, what becomes of the answer, and what the row must say."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from importlib.metadata import version as version_of
from typing import Any, Final, NamedTuple

from packaging.specifiers import SpecifierSet

from floors import floors
from litellm_scenes.entries import CHATS, Entry
from tokentrail.demo.provider import Reply

MODES: Final = ("inline", "hooks")
VERSION: Final = version_of("litellm")
OLDEST, NEWEST = floors()["litellm"], "9999"
AS_SENT: Final = "as sent"
UNKNOWN: Final = "unknown"
ESTIMATED: Final = "estimated"
MADE_UP: Final = "made up"
FREE: Final = "free"


@dataclass(frozen=True, kw_only=True)
class Limit:
    """What cannot be seen, and why.

    Attributes:
        why: the sentence on the page.
        modes: where it holds.
        entries: by which entry points; all, if none is named.
        ends: how the rows end that there are.
        rows_of: the requests that these rows are of, where it is not all of them.
        tokens: what the rows say of tokens, if not what the scene has.
        costs: what they say of cost; if not given, unknown where the tokens are.
        by_age: the last row is an open call that ends when its age passes the limit.
        unchecked: what the scene checks besides is not so.
        versions: of LiteLLM, where it is not all of them.
    """

    why: str
    modes: tuple[str, ...] = MODES
    entries: tuple[str, ...] = ()
    ends: tuple[str, ...] | None = None
    rows_of: tuple[int | None, ...] | None = None
    tokens: str | tuple[str, ...] | None = None
    costs: str | tuple[str, ...] | None = None
    by_age: bool = False
    unchecked: bool = False
    versions: str = ""

    def holds(self, entry: Entry, mode: str, version: str = VERSION) -> bool:
        """Whether it holds here."""
        return (
            mode in self.modes
            and (not self.entries or entry.name in self.entries)
            and SpecifierSet(self.versions).contains(version)
        )


UNTOLD_CLAUDE: Final = Limit(
    why="LiteLLM before 1.103 fails at the end of an Anthropic stream without usage.",
    entries=("completion stream (Anthropic)", "acompletion stream (Anthropic)"),
    ends=("error",),
    versions="<1.103",
)
OLD_BRIDGE: Final = Limit(
    why="LiteLLM before 1.108 cannot end a stream of the Responses API over Anthropic that tells no usage.",
    entries=("responses stream (Anthropic)",),
    ends=("error",),
    versions="<1.108",
)


class Seen(NamedTuple):
    """What the rows of one scene say: how each ended, and of each its tokens and its cost in a word."""

    ends: tuple[str, ...]
    tokens: tuple[str, ...]
    costs: tuple[str, ...]


class Expected(NamedTuple):
    """What a scene should leave in the ledger.

    Attributes:
        seen: what the rows say.
        rows_of: the request of each row; in order, if nothing is said.
        by_age: whether the last call stays open until it is old.
        asked: how many requests came before.
    """

    seen: Seen
    rows_of: tuple[int | None, ...] | None = None
    by_age: bool = False
    asked: int = 0


@dataclass(frozen=True, kw_only=True)
class Scene:
    """One thing that happens.

    Attributes:
        name: its id in tests.
        part: its chapter of the page.
        title: its line there.
        entries: who asks.
        replies: what the provider answers.
        ends: how each request ended for the caller.
        tokens: what each row says of tokens.
        costs: what it says of cost.
        rows_of: the request of each row, where they are not one each.
        kinds: `attempt_kind` of each row of one operation, or of so many `operations`.
        arguments: further arguments of the call.
        read: what the caller does with a stream, or a running call: `all`, `break`, `cycle`, `raise`,
            `close`, `finish`, `never`, `cancel`.
        settings: of the tracker.
        act: asks in its own way.
        check: what else the rows must say.
        limits: what is known not to be so.
    """

    name: str
    part: str
    title: str
    entries: tuple[Entry, ...] = CHATS
    replies: tuple[Reply, ...] = (Reply(),)
    ends: tuple[str, ...] = ("success",)
    tokens: str | tuple[str, ...] = AS_SENT
    costs: str | tuple[str, ...] = AS_SENT
    rows_of: tuple[int | None, ...] | None = None
    kinds: tuple[str, ...] = ()
    operations: int = 1
    arguments: Mapping[str, Any] = field(default_factory=dict)
    read: str = "all"
    settings: Mapping[str, Any] = field(default_factory=dict)
    act: Callable[..., Any] | None = None
    check: Callable[[list[Any]], object] | None = None
    limits: tuple[Limit, ...] = ()

    def limit(self, entry: Entry, mode: str, version: str = VERSION) -> Limit | None:
        """The limit that holds for an entry point in a mode, if any."""
        return next((one for one in self.limits if one.holds(entry, mode, version)), None)

    def expected(self, entry: Entry, mode: str, version: str = VERSION) -> Expected:
        """What the rows must say."""
        limit = self.limit(entry, mode, version)
        ends, tokens, costs, rows_of, by_age = self.ends, self.tokens, self.costs, self.rows_of, False
        if limit is not None:
            ends = self.ends if limit.ends is None else limit.ends
            tokens = self.tokens if limit.tokens is None else limit.tokens
            costs = tokens if limit.costs is None and limit.tokens is not None else limit.costs or self.costs
            rows_of, by_age = limit.rows_of or self.rows_of, limit.by_age
        return Expected(Seen(ends, _each(tokens, ends), _each(costs, ends)), rows_of, by_age)


def _each(word: str | tuple[str, ...], ends: tuple[str, ...]) -> tuple[str, ...]:
    return (word,) * len(ends) if isinstance(word, str) else word
