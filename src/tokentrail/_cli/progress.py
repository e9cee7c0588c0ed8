"""How far something long is, on stderr."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn

if TYPE_CHECKING:
    from tokentrail._stats import Stats


@contextmanager
def progress(
    questions: Stats, asked: dict[str, Any], limit: int | None = None
) -> Iterator[Callable[[int], object] | None]:
    """A bar over the calls that are asked for, where stderr is a terminal; to be told how many are done."""
    console = Console(stderr=True)
    if not console.is_terminal:
        yield None
        return
    total = questions.overview(**asked).calls
    with _bar(console) as bar:
        task = bar.add_task("calls", total=total if limit is None else min(limit, total))
        yield lambda done: bar.update(task, completed=done)


@contextmanager
def counting() -> Iterator[Callable[[int, int], object] | None]:
    """A bar that is told how many calls are done, and how many there are."""
    console = Console(stderr=True)
    if not console.is_terminal:
        yield None
        return
    with _bar(console) as bar:
        task = bar.add_task("calls", total=None)
        yield lambda done, total: bar.update(task, completed=done, total=total)


def _bar(console: Console) -> Progress:
    columns = (TextColumn("{task.description}"), BarColumn(), TaskProgressColumn(), TimeRemainingColumn())
    return Progress(*columns, console=console, transient=True)
