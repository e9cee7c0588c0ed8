"""`stats`, `calls`, `import` and `db upgrade`: ask, and show the answer as it is."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final
from zoneinfo import ZoneInfo

from tokentrail._cli.ledger import opened, plain, plain_page, say_nothing, shown
from tokentrail._cli.reports import show_coverage
from tokentrail._cli.show import (
    COUNT,
    DOLLARS,
    MILLISECONDS,
    TEXT,
    TIME,
    UNKNOWN,
    Show,
    put_json,
    written,
    written_time,
)
from tokentrail.errors import StoreError

if TYPE_CHECKING:
    from tokentrail._settings import Settings
    from tokentrail._stats import Stats
    from tokentrail._stats._answers import Amounts, Breakdown, CallPage, Latency, Overview
    from tokentrail.models import LLMCall

_WORDS: Final = {
    name: f"{name}_id" for name in ("user", "session", "client", "agent", "run", "project", "organization")
}
"""Words of the command line → fields."""
_PERIODS: Final = {
    "minute": "%Y-%m-%d %H:%M",
    "15min": "%Y-%m-%d %H:%M",
    "hour": "%Y-%m-%d %H:%M",
    "day": "%Y-%m-%d",
    "week": "%Y-%m-%d",
    "month": "%Y-%m",
}
"""Granularity → how the beginning of a period is written."""

_AMOUNTS: Final = (
    ("calls", "calls", COUNT),
    ("errors", "error_calls", COUNT),
    ("input", "input_tokens", COUNT),
    ("cached", "cache_read_tokens", COUNT),
    ("output", "output_tokens", COUNT),
    ("total", "total_tokens", COUNT),
    ("cost", "cost_usd", DOLLARS),
    ("avg ms", "avg_duration_ms", MILLISECONDS),
    ("no usage", "missing_usage_calls", COUNT),
    ("no price", "unpriced_calls", COUNT),
)
"""Title, attribute of `Amounts`, kind."""
_PARTS: Final = (
    ("input", "input_tokens"),
    ("of it cached", "cache_read_tokens"),
    ("output", "output_tokens"),
    ("of it reasoning", "reasoning_tokens"),
)
_CALLS: Final = (
    ("model", "model", TEXT),
    ("provider", "provider", TEXT),
    ("type", "call_type", TEXT),
    ("user", "user_id", TEXT),
    ("input", "input_tokens", COUNT),
    ("output", "output_tokens", COUNT),
    ("cost", "cost_usd", DOLLARS),
    ("ms", "duration_ms", MILLISECONDS),
)

# --- stats ---------------------------------------------------------------------------------------


def stats(settings: Settings, by: str | None, asked: dict[str, Any], *, as_json: bool) -> None:
    """Show everything at a glance, or apart by a field, by two (`provider,model`) or by a period."""
    with opened(settings) as questions:
        if by is None:
            _glance(questions, settings, asked, as_json=as_json)
        elif by in _PERIODS:
            _series(questions, settings, by, asked, as_json=as_json)
        else:
            _apart(questions, settings, by, asked, as_json=as_json)


def _glance(questions: Stats, settings: Settings, asked: dict[str, Any], *, as_json: bool) -> None:
    overview = questions.overview(**asked)
    models = questions.breakdown("model", **asked)
    latency = questions.latency(**asked)
    if as_json:
        answers = {"overview": plain(overview), "by_model": plain(models), "latency": plain(latency)}
        put_json("overview", database=shown(settings), **answers)
    elif not overview.calls:
        say_nothing(questions, settings)
    else:
        show = Show()
        show.line(shown(settings))
        show_glance(show, overview, latency, asked["tz"])
        show_breakdown(show, models)
        show_coverage(show, overview)


def field_of(word: str) -> str:
    """The field that a word of the command line means: `user` is `user_id`."""
    word = word.strip().replace("-", "_")
    return _WORDS.get(word, word)


def _apart(questions: Stats, settings: Settings, by: str, asked: dict[str, Any], *, as_json: bool) -> None:
    fields = [field_of(word) for word in by.split(",")]
    answer = questions.breakdown(fields, **asked)
    if as_json:
        put_json("breakdown", database=shown(settings), breakdown=plain(answer))
    elif not answer.items:
        say_nothing(questions, settings)
    else:
        show = Show()
        show_breakdown(show, answer)
        if answer.truncated:
            show.line(f"There are more; these are the first {len(answer.items):,}.")
        show_coverage(show, questions.overview(**asked))


def _series(questions: Stats, settings: Settings, by: str, asked: dict[str, Any], *, as_json: bool) -> None:
    answer = questions.timeseries(by, **asked)
    if as_json:
        put_json("timeseries", database=shown(settings), timeseries=plain(answer))
    elif not any(point.calls for point in answer.points):
        say_nothing(questions, settings)
    else:
        show = Show()
        columns = [(f"{by} ({answer.tz})", TEXT), *((title, kind) for title, _, kind in _AMOUNTS)]
        show.table(columns, [(f"{point.bucket:{_PERIODS[by]}}", *_cells(point)) for point in answer.points])
        show_coverage(show, questions.overview(**asked))


def show_glance(show: Show, overview: Overview, latency: Latency, tz: str) -> None:
    """Calls, tokens, dollars and latency in a few lines."""
    show.line(f"calls     {overview.calls:,}  ({', '.join(_outcomes(overview))})")
    parts = [
        f"{written(COUNT, count)} {title}"
        for title, name in _PARTS
        if (count := getattr(overview, name)) is not None
    ]
    told = f"  ({', '.join(parts)})" if parts else ""
    show.line(f"tokens    {written(COUNT, overview.total_tokens)}{told}")
    show.line(f"cost      {written(DOLLARS, overview.cost_usd)}")
    spans = [f"{name} {written(MILLISECONDS, getattr(latency, name))}" for name in ("p50", "p95", "p99")]
    show.line(f"latency   {', '.join(spans)} ms, of successful calls")
    span = (overview.first_started_at, overview.last_started_at)
    first, last = (written_time(None if one is None else one.astimezone(ZoneInfo(tz))) for one in span)
    show.line(f"between   {first} and {last} ({tz})")
    show.line()


def _outcomes(overview: Overview) -> list[str]:
    failed = f"{overview.error_calls:,} failed"
    if overview.timeout_calls:
        failed += f", {overview.timeout_calls:,} of them by timeout"
    stopped = ("cancelled", "abandoned", "interrupted")
    counts = [(word, getattr(overview, f"{word}_calls")) for word in stopped]
    return [f"{overview.success_calls:,} success", failed, *(f"{n:,} {word}" for word, n in counts if n)]


def show_breakdown(show: Show, answer: Breakdown) -> None:
    """One line a group; the second level indented below the first."""
    rows: list[tuple[Any, ...]] = []
    for item in answer.items:
        rows.append((_key(item.key), *_cells(item)))
        rows += [(f"  {_key(inner.key)}", *_cells(inner)) for inner in item.items]
    title = ", ".join(answer.by)
    show.table([(title, TEXT), *((name, kind) for name, _, kind in _AMOUNTS)], rows)


def _key(key: object) -> str:
    return UNKNOWN if key is None else str(key)


def _cells(amounts: Amounts) -> list[Any]:
    return [getattr(amounts, attribute) for _, attribute, _ in _AMOUNTS]


# --- calls ---------------------------------------------------------------------------------------


def calls(settings: Settings, limit: int, asked: dict[str, Any], *, as_json: bool) -> None:
    """Show the latest calls, newest first."""
    with opened(settings) as questions:
        page = questions.calls(limit, **asked)
        if as_json:
            put_json("calls", database=shown(settings), **plain_page(page))
        elif not page.items:
            say_nothing(questions, settings)
        else:
            _show_calls(page, asked["tz"])


def _show_calls(page: CallPage, tz: str) -> None:
    show, zone = Show(), ZoneInfo(tz)
    columns = [(f"started ({tz})", TIME), *((title, kind) for title, _, kind in _CALLS), ("status", TEXT)]
    rows = [
        (
            call.started_at.astimezone(zone),
            *(getattr(call, attribute) for _, attribute, _ in _CALLS),
            _end(call),
        )
        for call in page.items
    ]
    show.table(columns, rows)
    show.line()
    show.line(f"{len(page.items):,} of {page.total:,} calls")


def _end(call: LLMCall) -> str:
    return f"{call.status}" if call.error_type is None else f"{call.status} ({call.error_type})"


# --- the database --------------------------------------------------------------------------------


def import_now(settings: Settings, *, as_json: bool) -> None:
    """Bring into the store what waits for it in journals.

    Raises:
        StoreError: the store did not take it.
    """
    from tokentrail._health import Health
    from tokentrail._pricing import Pricer
    from tokentrail._writer import import_pending
    from tokentrail.stores import open_store

    url, health = settings.database_url, Health()
    # Opened here first: its own sentence about what is wrong is better than any later one.
    store = open_store(url)
    try:
        done = import_pending(
            url,
            settings.data_dir,
            open_store=lambda: store,
            price=Pricer(health=health).over(lambda: store),
            health=health,
            close=False,
        )
    finally:
        store.close()
    if done.error is not None:
        raise StoreError(f"The database did not take what is pending: {done.error}")
    if as_json:
        put_json("import", database=shown(settings), records=done.records, complete=done.complete)
        return
    show = Show()
    show.line(f"{done.records:,} record{'' if done.records == 1 else 's'} imported into {shown(settings)}")
    if not done.complete:
        show.line("Another process is importing at this moment; it will bring in the rest.")


def upgrade(settings: Settings) -> None:
    """Open the store, which brings its tables to this version."""
    from tokentrail.stores import open_store

    open_store(settings.database_url).close()
    Show().line(f"The tables are up to date in {shown(settings)}")


def rebuild_rollups(settings: Settings, *, as_json: bool) -> None:
    """Add up again what is kept beside the calls."""
    from tokentrail._cli.progress import counting
    from tokentrail.stores import open_store

    store = open_store(settings.database_url)
    try:
        with counting() as told:
            calls = store.rebuild_rollups(told)
    finally:
        store.close()
    if as_json:
        put_json("rebuild-rollups", database=shown(settings), calls=calls)
        return
    Show().line(f"{calls:,} call{'' if calls == 1 else 's'} added up again in {shown(settings)}")
