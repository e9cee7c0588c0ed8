"""`doctor`: what is doubtful in the ledger and its journals, with what to do about each finding."""

from __future__ import annotations

import textwrap
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from tokentrail._cli.ledger import opened, plain, say_nothing, shown
from tokentrail._cli.show import SHARE, UNKNOWN, Show, counted, put_json, written

if TYPE_CHECKING:
    from tokentrail._journal import Census
    from tokentrail._settings import Settings
    from tokentrail._stats._quality import DataQuality, Signal

_WIDTH: Final = 100


@dataclass(frozen=True)
class Trouble:
    """Something about the journals."""

    code: str
    count: int
    hint: str


def examine(settings: Settings, asked: dict[str, Any], *, as_json: bool) -> bool:
    """Show what was found; whether nothing was."""
    from tokentrail._journal import census, journal_folder

    folder = journal_folder(settings.data_dir, settings.database_url)
    with opened(settings) as questions:
        quality = questions.data_quality(**asked)
        # Counted after the question, which has imported what could be.
        journal = census(folder)
        troubles = list(_troubles(journal, folder))
        if as_json:
            put_json(
                "doctor",
                database=shown(settings),
                journal={"folder": str(folder), **journal._asdict()},
                troubles=[asdict(trouble) for trouble in troubles],
                data_quality=plain(quality),
            )
        elif quality.calls or troubles:
            _show(settings, quality, journal, troubles, folder)
        else:
            say_nothing(questions, settings)
    return not troubles and not quality.signals


def _troubles(journal: Census, folder: Path) -> list[Trouble]:
    found = [
        Trouble(
            "waiting",
            journal.dead,
            f"Processes that are gone left {journal.waiting_bytes:,} bytes of calls which are not in the "
            "database yet. Bring them in with `tokentrail import`; if they stay, it says why.",
        ),
        Trouble(
            "refused",
            journal.refused,
            f"Records that the database could not take. They are kept in {folder / 'refused.jsonl'}: "
            "look at the reason there, and delete the file when you have seen it.",
        ),
        Trouble(
            "damaged",
            journal.damaged,
            "Journal segments with bytes that were no record, from a full or failing disk. What could be "
            f"read of them is imported; they are kept in {folder}.",
        ),
    ]
    return [trouble for trouble in found if trouble.count]


def _show(
    settings: Settings, quality: DataQuality, journal: Census, troubles: list[Trouble], folder: Path
) -> None:
    show = Show()
    coverage = quality.coverage
    show.line(shown(settings))
    show.line(
        f"{counted(quality.calls, 'call')}; tokens known for {written(SHARE, coverage.tokens)}, "
        f"cost for {written(SHARE, coverage.cost)}"
    )
    show.line(f"journals in {folder}; processes that write to them now: {journal.living:,}")
    for trouble in troubles:
        _finding(show, f"{trouble.code}: {trouble.count:,}", trouble.hint)
    for signal in quality.signals:
        share = written(SHARE, signal.share)
        _finding(
            show, f"{signal.code}: {counted(signal.count, 'call')}, {share}", signal.hint, *_where(signal)
        )
    if not troubles and not quality.signals:
        show.line()
        show.line("Nothing is doubtful.")


def _where(signal: Signal) -> list[str]:
    models = [
        f"{each.model or UNKNOWN} ({each.count:,}, {written(SHARE, each.share)} of its calls)"
        for each in signal.by_model[:3]
    ]
    more = f" and {len(signal.by_model) - 3} more" if len(signal.by_model) > 3 else ""
    return [f"models: {', '.join(models)}{more}", f"example: {signal.example_id}"]


def _finding(show: Show, title: str, hint: str, *more: str) -> None:
    show.heading(title)
    width = min(_WIDTH, show.console.width)
    show.line(textwrap.fill(hint, width, initial_indent="  ", subsequent_indent="  "))
    for line in more:
        show.line(f"  {line}")
