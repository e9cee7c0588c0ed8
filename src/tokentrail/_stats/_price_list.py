"""The questions about prices: what models cost, and what calls cost by that."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Annotated, Final, Unpack

from tokentrail._pricing import Pricer, fetch, of_override, override, to_row
from tokentrail._pricing import Prices as Amounts
from tokentrail._query import Moment, matcher
from tokentrail._records import now_us
from tokentrail._stats._arguments import FilterArguments, Within
from tokentrail._stats._asking import Asking
from tokentrail._stats._prices import PriceInfo, Prices, price_info, prices
from tokentrail._stats._reprice import Repricing, reprice
from tokentrail.errors import QueryError

MOST_PRICES: Final = 10_000


class PriceQuestions(Asking):
    """`Stats`, the part that knows prices."""

    def prices(
        self,
        model: str | Sequence[str] | None = None,
        provider: str | Sequence[str] | None = None,
        *,
        own: bool = False,
        limit: Annotated[int, Within(1, MOST_PRICES)] = 100,
    ) -> Prices:
        """What models cost now: your own prices first, then those of genai-prices.

        Args:
            model: only these; * and ? are allowed.
            provider: only of these, as the lists spell them; * and ? are allowed.
            own: only your own.
            limit: how many prices.
        """
        if limit < 1:
            raise QueryError(f"limit: {limit} is below 1.")
        tests = [
            (name, matcher(name, (wanted,) if isinstance(wanted, str) else tuple(wanted)))
            for name, wanted in (("model", model), ("provider", provider))
            if wanted is not None
        ]
        pricer = self._fresh_pricer()
        found = (
            quote
            for quote in (pricer.own_quotes() if own else pricer.quotes())
            if all(test(getattr(quote, name)) for name, test in tests)
        )
        return prices(found, pricer.version, min(limit, MOST_PRICES))

    def price(self, model: str, provider: str | None = None) -> PriceInfo | None:
        """What one model costs now: your own price, else what the lists say; `None` if nobody knows.

        Args:
            model: its name, as in calls; what stands before a `/` may be its provider.
            provider: whose model it is.
        """
        quote = self._fresh_pricer().quote(model, provider)
        return None if quote is None else price_info(quote)

    def update_prices(self, url: str | None = None, *, timeout: float = 10.0) -> str:
        """Fetch the newest list of genai-prices, once, for this process. Nothing is fetched unasked.

        Args:
            url: where from; default genai-prices' own address.
            timeout: seconds for each step of the way.

        Returns:
            The version of the list that holds now.

        Raises:
            PriceListError: it did not come; what is known goes on holding.
        """
        fetch(url, timeout)
        return self._fresh_pricer().version

    def register_model_price(
        self,
        model: str,
        *,
        provider: str | None = None,
        valid_from: Moment | None = None,
        valid_to: Moment | None = None,
        **amounts: Unpack[Amounts],
    ) -> PriceInfo:
        """Set a price of your own in the store; see `Tracker.register_model_price`.

        Raises:
            ConfigurationError: a price is negative or no number, or none is given.
        """
        price = override(model, provider, amounts, valid_from, valid_to)
        self._opened().keep(to_row(price, now_us()))
        return price_info(of_override(price))

    def remove_model_price(self, price_id: str) -> bool:
        """Forget an own price by its `id`; whether there was one. Calls keep their cost until `reprice`."""
        from tokentrail.models import ModelPrice

        return self._opened().discard(ModelPrice, price_id)

    def _fresh_pricer(self) -> Pricer:
        """What is known of prices at this moment."""
        pricer = Pricer(health=self._health)
        pricer.prepare(self._opened())
        return pricer

    def reprice(
        self,
        *,
        dry_run: bool = False,
        forget: bool = False,
        progress: Callable[[int], object] | None = None,
        **where: Unpack[FilterArguments],
    ) -> Repricing:
        """Price stored calls anew: with today's lists and own prices, at each call's own time.

        What a provider itself stated stands. What no list prices any more keeps its cost, unless an own price
        was the reason for it, which is gone.

        Args:
            dry_run: say what would change, and write nothing.
            forget: also forget a cost that no list knows any more.
            progress: called with the number of calls looked at so far.
            where: filters.
        """
        asked = self._begin(**where)
        return reprice(
            self._opened(),
            self._fresh_pricer(),
            asked,
            dry_run=dry_run,
            forget=forget,
            progress=progress,
        )
