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
    columns = (TextColumn("{task.description}"), BarColumn(), TaskProgressColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console, transient=True) as bar:
        task = bar.add_task("calls", total=total if limit is None else min(limit, total))
        yield lambda done: bar.update(task, completed=done)
