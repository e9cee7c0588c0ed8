"""`reprice` and `prices`: what calls cost by today's knowledge, and what that knowledge is."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from tokentrail._cli import options
from tokentrail._cli.ledger import opened
from tokentrail._cli.progress import progress
from tokentrail._cli.show import COUNT, DOLLARS, TEXT, TIME, Show, put_json, written
from tokentrail.errors import QueryError

if TYPE_CHECKING:
    from tokentrail._settings import Settings
    from tokentrail._stats._reprice import Repriced, Repricing

_COLUMNS: Final = (
    ("calls", "calls", COUNT),
    ("changed", "changed_calls", COUNT),
    ("old", "old_cost_usd", DOLLARS),
    ("new", "new_cost_usd", DOLLARS),
    ("difference", "difference_usd", DOLLARS),
    ("newly priced", "newly_priced", COUNT),
    ("no longer", "no_longer_priced", COUNT),
)
"""Title, attribute of `Repriced`, kind."""


@options.asking
def reprice(
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what would change; write nothing.")] = False,
    forget: Annotated[
        bool, typer.Option("--forget", help="Also forget a cost that no price list knows any more.")
    ] = False,
    update: Annotated[
        bool, typer.Option("--update-prices", help="Fetch the newest price list first, from the network.")
    ] = False,
    *,
    settings: Settings,
    asked: dict[str, Any],
    as_json: bool,
) -> None:
    """Price stored calls anew, with today's lists and your own prices, at each call's own time."""
    with opened(settings) as questions, progress(questions, asked) as tell:
        if update:
            questions.update_prices()
        done = questions.reprice(dry_run=dry_run, forget=forget, progress=tell, **asked)
    if as_json:
        put_json("reprice", reprice=done.model_dump(mode="json"))
    else:
        _show(done)


def _show(done: Repricing) -> None:
    show = Show()
    changed = [model for model in done.models if model.changed_calls]
    if changed:
        columns = [("model", TEXT), ("provider", TEXT), *((title, kind) for title, _, kind in _COLUMNS)]
        rows = [(model.model, model.provider, *_cells(model)) for model in changed]
        show.table(columns, rows)
        show.line()
    what = "would change" if done.dry_run else "changed"
    old, new = (written(DOLLARS, value) for value in (done.old_cost_usd, done.new_cost_usd))
    show.line(f"{done.changed_calls:,} of {done.calls:,} calls {what}: {old} before, {new} now")
    if done.provider_stated_calls:
        show.line(f"{done.provider_stated_calls:,} calls keep the cost that their provider stated")
    if done.kept:
        show.line(
            f"{done.kept:,} calls keep a cost that no list knows any more (--forget would make it unknown)"
        )
    if done.dry_run and done.changed_calls:
        show.line("Nothing was written. Without --dry-run it will be.")


def _cells(model: Repriced) -> list[Any]:
    return [getattr(model, attribute) for _, attribute, _ in _COLUMNS]


# --- prices --------------------------------------------------------------------------------------

prices = typer.Typer(
    help="What models cost: your own prices, and what price lists say.",
    no_args_is_help=True,
    rich_markup_mode=None,
)
_Dollars = Annotated[str | None, typer.Option(metavar="USD", help="Dollars per million tokens.")]
_PRICES: Final = (
    ("model", "model", TEXT),
    ("provider", "provider", TEXT),
    ("input", "input_per_million", DOLLARS),
    ("output", "output_per_million", DOLLARS),
    ("cache read", "cache_read_per_million", DOLLARS),
    ("cache write", "cache_creation_per_million", DOLLARS),
    ("request", "per_request", DOLLARS),
    ("from", "valid_from", TIME),
    ("to", "valid_to", TIME),
    ("source", "source", TEXT),
    ("id", "id", TEXT),
)


@prices.command("list")
def list_prices(
    model: Annotated[str | None, typer.Argument(help="Only these models; * and ? allowed.")] = None,
    provider: options.Provider = None,
    own: Annotated[bool, typer.Option("--own", help="Only your own.")] = False,
    limit: Annotated[int, typer.Option(min=1, help="How many at most.")] = 100,
    database: options.Database = None,
    as_json: options.AsJson = False,
) -> None:
    """What models cost now, in dollars per million tokens; your own prices first."""
    with opened(options.settings_for(database)) as questions:
        found = questions.prices(model, provider, own=own, limit=limit)
    if as_json:
        put_json("prices", prices=found.model_dump(mode="json"))
        return
    show = Show()
    if not found.items:
        show.line(
            "No price is known. Set one of your own:  tokentrail prices set MODEL --input 0.5 --output 1.5"
        )
        return
    shown = [
        column for column in _PRICES if any(getattr(item, column[1]) is not None for item in found.items)
    ]
    columns = [(title, kind) for title, _, kind in shown]
    show.table(columns, [[getattr(item, name) for _, name, _ in shown] for item in found.items])
    show.line()
    show.line(
        f"{len(found.items):,} of {found.total:,} prices, in dollars per million tokens ({found.version})"
    )


@prices.command("set")
def set_price(
    model: Annotated[str, typer.Argument(help="The model's name, as in calls; * and ? allowed.")],
    provider: Annotated[str | None, typer.Option(help="Only for calls to this provider.")] = None,
    input: _Dollars = None,  # noqa: A002  the name of the option
    output: _Dollars = None,
    cache_read: _Dollars = None,
    cache_creation: _Dollars = None,
    cache_creation_1h: _Dollars = None,
    reasoning: _Dollars = None,
    input_audio: _Dollars = None,
    output_audio: _Dollars = None,
    request: Annotated[str | None, typer.Option(metavar="USD", help="Dollars per request.")] = None,
    valid_from: Annotated[
        str | None, typer.Option("--from", metavar="WHEN", help="The first moment.")
    ] = None,
    valid_to: Annotated[
        str | None, typer.Option("--to", metavar="WHEN", help="Until when; a date includes its day.")
    ] = None,
    database: options.Database = None,
) -> None:
    """Set a price of your own: it comes before every list. Stored calls keep their cost until `reprice`."""
    amounts: dict[str, Any] = {
        "input_per_million": input,
        "output_per_million": output,
        "cache_read_per_million": cache_read,
        "cache_creation_per_million": cache_creation,
        "cache_creation_1h_per_million": cache_creation_1h,
        "reasoning_per_million": reasoning,
        "input_audio_per_million": input_audio,
        "output_audio_per_million": output_audio,
        "per_request": request,
    }
    with opened(options.settings_for(database)) as questions:
        done = questions.register_model_price(
            model, provider=provider, valid_from=valid_from, valid_to=valid_to, **amounts
        )
    show = Show()
    show.line(f"Set: {done.id}")
    show.line("Stored calls keep their cost. To see what would change:  tokentrail reprice --dry-run")


@prices.command("remove")
def remove_price(
    price_id: Annotated[str, typer.Argument(metavar="ID", help="As `prices list --own` shows it.")],
    database: options.Database = None,
) -> None:
    """Forget a price of your own."""
    with opened(options.settings_for(database)) as questions:
        if not questions.remove_model_price(price_id):
            raise QueryError(f"There is no price {price_id!r}. `tokentrail prices list --own` shows yours.")
    Show().line(f"Removed: {price_id}")
