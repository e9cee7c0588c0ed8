"""`ask`: every statistic of the table by its name, with its own options; a new one is here by itself."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from tokentrail._cli import options
from tokentrail._cli.generic import show_answer
from tokentrail._cli.ledger import opened, plain, shown
from tokentrail._cli.show import Show, put_json
from tokentrail._stats._catalog import REQUIRED, STATS, Parameter, Statistic
from tokentrail.errors import ConfigurationError

if TYPE_CHECKING:
    from tokentrail._settings import Settings

_FIELDS: Final = {field: name for name, (field, _) in options.FILTERS.items()}
"""Filter of a question → option."""
_FEW: Final = 10
"""Choices that a help text can list."""


def run(arguments: list[str]) -> None:
    """Answer `tokentrail ask ARGUMENTS`; without any, say what can be asked.

    Raises:
        SystemExit: after help, or a mistake.
    """
    app = typer.Typer(
        help="Ask one of the statistics by its name.",
        add_completion=False,
        pretty_exceptions_enable=False,
        rich_markup_mode=None,
    )
    app.callback()(lambda: None)
    for statistic in STATS.values():
        app.command(statistic.name.replace("_", "-"), help=statistic.summary)(_command(statistic))
    typer.main.get_command(app)(args=arguments or ["--help"], prog_name="tokentrail ask")


def _command(statistic: Statistic) -> Callable[..., None]:
    def command(settings: Settings, asked: dict[str, Any], *, as_json: bool, **own: Any) -> None:
        given = {name: value for name, value in own.items() if value not in (None, [])}
        with opened(settings) as questions:
            answer = statistic.ask(questions, **(asked if statistic.filtered else {}), **given)
            if answer is None:
                wanted = ", ".join(map(str, given.values()))
                raise ConfigurationError(f"{statistic.name}: there is nothing of {wanted}.")
            if as_json:
                put_json(statistic.name, database=shown(settings), answer=plain(answer))
            else:
                show_answer(Show(), answer, asked["tz"])

    parameters = [_option(each) for each in statistic.parameters]
    command.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    command.__annotations__ = {each.name: each.annotation for each in parameters}
    taken = {each.name for each in statistic.filters}
    without = tuple(name for field, name in _FIELDS.items() if field not in taken)
    return options.asking(command, without=without)


def _option(parameter: Parameter) -> inspect.Parameter:
    kind: Any = list[parameter.type] if parameter.several else parameter.type  # type: ignore[name-defined]
    few = f" One of: {', '.join(parameter.choices)}." if 0 < len(parameter.choices) < _FEW else ""
    told = parameter.help + few
    if parameter.default is REQUIRED:
        return _parameter(parameter.name, Annotated[kind, typer.Argument(help=told)], REQUIRED)
    default = parameter.default
    if default is None:
        return _parameter(parameter.name, Annotated[kind | None, typer.Option(help=told)], None)
    given = [default] if parameter.several else default
    return _parameter(parameter.name, Annotated[kind, typer.Option(help=told)], given)


def _parameter(name: str, annotation: Any, default: Any) -> inspect.Parameter:
    return inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=annotation)
