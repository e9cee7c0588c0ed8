"""The commands, one function each."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from tokentrail import __version__
from tokentrail._cli import conversations, failures, options, questions
from tokentrail._cli.budgets import budget
from tokentrail._cli.export import export
from tokentrail._cli.prices import prices, reprice
from tokentrail._cli.prune import archive, prune
from tokentrail._cli.reports import report
from tokentrail._cli.show import Show, put_json
from tokentrail._cli.tokens import token
from tokentrail._cli.user import user

if TYPE_CHECKING:
    from tokentrail._settings import Settings

HOST: Final = "127.0.0.1"
PORT: Final = 8377

app = typer.Typer(
    name="tokentrail",
    help="The usage ledger for Python programs that call language models.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)
db = typer.Typer(help="The database itself.", no_args_is_help=True, rich_markup_mode=None)
app.add_typer(db, name="db")
app.command()(export)
app.command()(prune)
app.command()(archive)
app.command()(reprice)
app.add_typer(prices, name="prices")
app.add_typer(budget, name="budget")
app.add_typer(token, name="token")
app.add_typer(user, name="user")


def _version(asked: bool) -> None:
    if asked:
        typer.echo(f"tokentrail {__version__}")
        raise typer.Exit


@app.callback()
def tokentrail(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Say the version.")
    ] = False,
) -> None:
    """The usage ledger for Python programs that call language models."""


@app.command()
def demo(database: options.Database = None) -> None:
    """Play LiteLLM and LangChain against a provider on this machine; check every row against it."""
    from tokentrail.demo.walk import run_demo

    url = None if database is None else options.settings_for(database).database_url
    if not run_demo(Show(), url):
        raise typer.Exit(1)


@app.command()
@options.asking
def stats(
    settings: Settings,
    asked: dict[str, Any],
    as_json: bool,
    by: Annotated[
        str | None,
        typer.Option(help="Apart by model, provider, user, session, client, call_type, status, tag, day, …"),
    ] = None,
) -> None:
    """Calls, tokens, cost and latency: in all, or apart by something."""
    questions.stats(settings, by, asked, as_json=as_json)


Breakdown = Annotated[bool, typer.Option("--breakdown", help="Each model on a line of its own.")]


@app.command()
@options.asking
def daily(settings: Settings, asked: dict[str, Any], as_json: bool, breakdown: Breakdown = False) -> None:
    """Tokens and cost day by day, with a total."""
    report(settings, "day", asked, breakdown=breakdown, as_json=as_json)


@app.command()
@options.asking
def weekly(settings: Settings, asked: dict[str, Any], as_json: bool, breakdown: Breakdown = False) -> None:
    """Tokens and cost week by week, from Monday, with a total."""
    report(settings, "week", asked, breakdown=breakdown, as_json=as_json)


@app.command()
@options.asking
def monthly(settings: Settings, asked: dict[str, Any], as_json: bool, breakdown: Breakdown = False) -> None:
    """Tokens and cost month by month, with a total."""
    report(settings, "month", asked, breakdown=breakdown, as_json=as_json)


Limit = Annotated[int, typer.Option(min=1, help="How many at most.")]


@app.command()
@options.asking
def calls(settings: Settings, asked: dict[str, Any], as_json: bool, limit: Limit = 20) -> None:
    """The latest calls, one line each."""
    questions.calls(settings, limit, asked, as_json=as_json)


@app.command()
@options.asking
def sessions(
    settings: Settings,
    asked: dict[str, Any],
    as_json: bool,
    limit: Limit = 20,
    active: Annotated[
        bool | None, typer.Option("--active/--over", help="Only those that go on, or that do not.")
    ] = None,
    minutes: Annotated[int, typer.Option(min=0, help="How long a session is active after a call.")] = 30,
) -> None:
    """Conversations, the last active first."""
    conversations.sessions(settings, limit, asked, is_active=active, active_minutes=minutes, as_json=as_json)


@app.command()
@partial(options.asking, without=("session",))
def session(
    settings: Settings,
    asked: dict[str, Any],
    as_json: bool,
    session_id: Annotated[str, typer.Argument(metavar="ID", help="Its id, as `sessions` lists it.")],
) -> None:
    """One conversation: what it used, turn by turn."""
    conversations.session(settings, session_id, asked, as_json=as_json)


@app.command()
@options.asking
def errors(settings: Settings, asked: dict[str, Any], as_json: bool, limit: Limit = 10) -> None:
    """What went wrong: by type, model and provider, and the latest of it."""
    failures.errors(settings, limit, asked, as_json=as_json)


@app.command()
@options.asking
def doctor(settings: Settings, asked: dict[str, Any], as_json: bool) -> None:
    """What is doubtful in the ledger and its journals, with the fix for each; exit code 1 if anything is."""
    from tokentrail._cli.doctor import examine

    if not examine(settings, asked, as_json=as_json):
        raise typer.Exit(1)


@app.command(
    context_settings={"allow_extra_args": True, "ignore_unknown_options": True}, add_help_option=False
)
def ask(context: typer.Context) -> None:
    """Any statistic by its name: `tokentrail ask` lists them, `tokentrail ask NAME --help` explains one."""
    from tokentrail._cli import ask as asking

    asking.run(context.args)


@app.command()
def top(
    database: options.Database = None,
    once: Annotated[
        bool, typer.Option("--once", help="Show one picture and end; in a pipe always so.")
    ] = False,
    as_json: options.AsJson = False,
) -> None:
    """The calls that run right now, in every process that writes to the ledger."""
    from tokentrail._cli.top import picture, running_calls, watch
    from tokentrail._journal import journal_folder

    settings, show = options.settings_for(database), Show()
    folder = journal_folder(settings.data_dir, settings.database_url)
    if as_json:
        put_json("running", calls=running_calls(folder))
    elif once or not show.console.is_terminal:
        show.put(picture(running_calls(folder), show.console.width))
    else:
        watch(folder, show)


@app.command()
def serve(
    database: options.Database = None,
    host: Annotated[str, typer.Option(help="Where to listen; beyond loopback only over TLS.")] = HOST,
    port: Annotated[int, typer.Option(min=1, max=65535, help="Where to listen.")] = PORT,
    allowed_host: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME", help="A name that clients call this server by; repeatable."),
    ] = None,
    behind_proxy: Annotated[
        bool, typer.Option("--behind-proxy", help="A proxy in front of this speaks TLS.")
    ] = False,
    certificate: Annotated[str | None, typer.Option(metavar="FILE", help="TLS certificate.")] = None,
    key: Annotated[str | None, typer.Option(metavar="FILE", help="Its private key.")] = None,
) -> None:
    """The answers over HTTP, for programs and for `tokentrail open`."""
    from tokentrail._cli import serve as serving

    address = serving.address(host, port, certificate, key, behind_proxy=behind_proxy)
    serving.serve(options.settings_for(database), address, allowed_host or [])


@app.command("open")
def open_(
    host: Annotated[str, typer.Option(help="Where the server listens.")] = HOST,
    port: Annotated[int, typer.Option(min=1, max=65535, help="Where the server listens.")] = PORT,
    tls: Annotated[bool, typer.Option("--tls", help="The server speaks TLS.")] = False,
    show: Annotated[
        bool, typer.Option("--show", help="Write the link instead of opening a browser; it works once.")
    ] = False,
) -> None:
    """Open the page of a running server in a browser, by a link that works once."""
    from tokentrail._cli import serve as serving

    serving.open_page(options.settings_for(None), host=host, port=port, tls=tls, show_only=show)


@app.command("import")
def import_(database: options.Database = None, as_json: options.AsJson = False) -> None:
    """Bring into the database what processes have journaled, the dead ones' too."""
    questions.import_now(options.settings_for(database), as_json=as_json)


@db.command()
def upgrade(database: options.Database = None) -> None:
    """Bring the tables of a database to this version."""
    questions.upgrade(options.settings_for(database))


@db.command("rebuild-rollups")
def rebuild_rollups(database: options.Database = None, as_json: options.AsJson = False) -> None:
    """Add up all calls again, for a database whose rows somebody changed by hand; writers wait meanwhile."""
    questions.rebuild_rollups(options.settings_for(database), as_json=as_json)
