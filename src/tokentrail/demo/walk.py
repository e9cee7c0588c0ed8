"""The demo itself: play every scene, hold the ledger against the truth, show what it can answer."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, Final, Protocol

from tokentrail._context import context
from tokentrail._records import new_id, now_us
from tokentrail._settings import load_settings
from tokentrail._tracker import Tracker
from tokentrail.demo.scenes import SCENES, Scene
from tokentrail.demo.stage import Stage, require_libraries
from tokentrail.demo.truth import Verdict, compare

TEXT, COUNT, DOLLARS, MILLISECONDS = "text", "count", "usd", "ms"
_SPANS: Final = ("avg", "p50", "p95", "max")
_FLUSH_SECONDS: Final = 30.0


class Show(Protocol):
    """Who prints. Values are handed over as they are; `None` is unknown."""

    def line(self, text: str = "") -> None:
        """A line of text."""

    def heading(self, text: str) -> None:
        """A line above what follows."""

    def table(self, columns: Sequence[tuple[str, str]], rows: Iterable[Sequence[Any]]) -> None:
        """A table; `columns` are titles and kinds."""


def run_demo(show: Show, database_url: str | None = None) -> bool:
    """Play the demo and print what came of it.

    Args:
        show: who prints.
        database_url: where calls are recorded; by default a file of its own, made anew each time.

    Returns:
        Whether every row agrees with what the provider sent.

    Raises:
        ConfigurationError: a library is missing; the message has the line that installs it.
    """
    require_libraries()
    url = database_url if database_url is not None else _fresh_file()
    session = f"demo-{new_id(now_us())}"
    show.line("Starting a provider on this machine and loading LiteLLM and LangChain …")
    with Tracker(url, client_id="demo", summary_interval=0) as tracker:
        verdicts = _play_all(show, tracker, session)
        _show_verdicts(show, verdicts)
        _show_report(show, tracker, session)
        _show_health(show, tracker)
        url = tracker.database_url
    wrong = [verdict for verdict in verdicts if verdict.problems]
    _show_end(show, url, len(verdicts), wrong)
    return not wrong


def _fresh_file() -> str:
    """A database of the demo's own, without the rows of its last run."""
    folder: Path = load_settings().data_dir / "tokentrail-demo"
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    for end in ("", "-wal", "-shm", "-journal"):
        (folder / f"demo.db{end}").unlink(missing_ok=True)
    return f"sqlite:///{folder / 'demo.db'}"


def _play_all(show: Show, tracker: Tracker, session: str) -> list[Verdict]:
    with Stage(tracker) as stage:
        requests = [_play(stage, scene, number, session) for number, scene in enumerate(SCENES)]
        show.line(f"Played {len(SCENES)} scenes, {len(stage.provider.sent)} requests.")
        if not tracker.flush(_FLUSH_SECONDS):
            show.line("The ledger is still writing; what follows may be incomplete.")
        rows = list(reversed(tracker.stats.calls(limit=1000, session_id=session).items))
        verdicts: list[Verdict] = []
        for number, (scene, (start, end)) in enumerate(zip(SCENES, requests, strict=True)):
            own = [row for row in rows if _tag(number) in (row.tags or ())]
            verdicts += compare(scene.title, scene.ends, stage.provider.sent[start:end], own)
        return verdicts


def _play(stage: Stage, scene: Scene, number: int, session: str) -> tuple[int, int]:
    before = len(stage.provider.sent)
    with context(session_id=session, user_id=f"user-{number % 3 + 1}", tags=[_tag(number)]):
        scene.play(stage)
    return before, len(stage.provider.sent)


def _tag(number: int) -> str:
    return f"scene-{number + 1:02d}"


# --- what is printed -----------------------------------------------------------------------------


def _show_verdicts(show: Show, verdicts: Sequence[Verdict]) -> None:
    show.heading("Sent by the provider, and recorded")
    columns = [
        ("what a program did", TEXT),
        ("model", TEXT),
        ("sent in", COUNT),
        ("sent out", COUNT),
        ("recorded in", COUNT),
        ("recorded out", COUNT),
        ("cost", DOLLARS),
        ("status", TEXT),
        ("exact", TEXT),
    ]
    titles = ["", *(verdict.scene for verdict in verdicts)]
    rows = [
        ("" if verdict.scene == before else verdict.scene, *_verdict_row(verdict))
        for before, verdict in zip(titles, verdicts, strict=False)
    ]
    show.table(columns, rows)
    for verdict in verdicts:
        if verdict.problems:
            show.line(f"✗ {verdict.scene}: {'; '.join(verdict.problems)}")


def _verdict_row(verdict: Verdict) -> tuple[Any, ...]:
    sent, row = verdict.sent, verdict.row
    counts = (sent.counts if sent is not None else None) or {}
    return (
        sent.model if sent is not None else None,
        counts.get("input_tokens"),
        counts.get("output_tokens"),
        getattr(row, "input_tokens", None),
        getattr(row, "output_tokens", None),
        getattr(row, "cost_usd", None),
        getattr(row, "status", None),
        "✗" if verdict.problems else "✓",
    )


def _show_report(show: Show, tracker: Tracker, session: str) -> None:
    questions = tracker.stats
    show.heading("What it cost, by provider and model")
    columns = [
        ("provider, model", TEXT),
        ("calls", COUNT),
        ("errors", COUNT),
        ("input", COUNT),
        ("cached", COUNT),
        ("output", COUNT),
        ("cost", DOLLARS),
        ("no usage", COUNT),
        ("no price", COUNT),
    ]
    rows: list[tuple[Any, ...]] = []
    for provider in questions.breakdown(("provider", "model"), session_id=session).items:
        rows.append((provider.key, *_amounts(provider)))
        rows += [(f"  {model.key}", *_amounts(model)) for model in provider.items]
    show.table(columns, rows)

    show.heading("How long successful calls took")
    spans = questions.latency("provider", session_id=session).items
    titles = [("provider", TEXT), ("calls", COUNT), *((name, MILLISECONDS) for name in _SPANS)]
    show.table(titles, [(one.key, one.calls, *(getattr(one, name) for name in _SPANS)) for one in spans])

    _show_coverage(show, questions.overview(session_id=session))


def _amounts(group: Any) -> tuple[Any, ...]:
    return (
        group.calls,
        group.error_calls,
        group.input_tokens,
        group.cache_read_tokens,
        group.output_tokens,
        group.cost_usd,
        group.missing_usage_calls,
        group.unpriced_calls,
    )


def _show_coverage(show: Show, overview: Any) -> None:
    usage = overview.calls - overview.missing_usage_calls
    cost = overview.calls - overview.unpriced_calls
    show.heading("What is not known")
    show.line(f"usage known for {usage} of {overview.calls} calls, cost for {cost}")
    show.line(
        "The rest failed, was left early, never said its usage or has no known price: unknown, not zero."
    )


def _show_health(show: Show, tracker: Tracker) -> None:
    health = tracker.health()
    for name in ("lost", "faults"):
        if health[name]:
            show.line(f"{name}: {health[name]}")


def _show_end(show: Show, url: str, total: int, wrong: Sequence[Verdict]) -> None:
    show.line()
    exact = total - len(wrong)
    show.line(f"{exact} of {total} requests are recorded exactly as they were sent.")
    show.line(f"The ledger is {url}")
    show.line(f"Ask it:  tokentrail stats --by user --database {url}")
    show.line(f"         tokentrail calls --limit 5 --database {url}")
