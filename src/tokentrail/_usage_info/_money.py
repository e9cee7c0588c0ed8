"""What `UsageInfo` says about prices and budgets, in the words of its readers."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Unpack

from tokentrail._query import Exact, Moment
from tokentrail._tracker import Tracker
from tokentrail._usage_info._rows import provider_of

if TYPE_CHECKING:
    from tokentrail._budgets import BudgetCheck as Fit
    from tokentrail._pricing import Prices
    from tokentrail._stats._answers import BudgetCheck
    from tokentrail._stats._prices import PriceInfo

_EVERY = 10_000


class Money:
    """`UsageInfo`, the part that knows prices and budgets."""

    tracker: Tracker
    client_id: str | None
    user_id: str | None

    @property
    def _who(self) -> dict[str, Any]:
        return {"client_id": self.client_id, "user_id": self.user_id}

    @property
    def _own(self) -> dict[str, Any]:
        """The filters of every question; a `*` in a name is a star here, and lets nobody else's calls in."""
        return {name: None if value is None else Exact(value) for name, value in self._who.items()}

    # --- prices ----------------------------------------------------------------------------------

    def register_model(
        self,
        model_name: str,
        input_cost_per_token: float | str | None = None,
        output_cost_per_token: float | str | None = None,
        *,
        provider: str | None = None,
        valid_from: Moment | None = None,
        valid_to: Moment | None = None,
        **prices: Unpack[Prices],
    ) -> None:
        """Set a price of your own; see `Tracker.register_model_price`.

        Args:
            model_name: as in `log_request`.
            input_cost_per_token: dollars per token; or `input_per_million=` per million of them.
            output_cost_per_token: likewise.
            provider: only for calls to this provider.
            valid_from: the first moment at which it holds.
            valid_to: the first moment at which it no longer holds; a date includes that day.
            prices: US dollars, as `register_model_price` takes them.

        Raises:
            ConfigurationError: a price is negative or no number, or none is given.
        """
        from decimal import Decimal

        for name, amount in (
            ("input_per_million", input_cost_per_token),
            ("output_per_million", output_cost_per_token),
        ):
            if amount is not None:
                prices[name] = Decimal(str(amount)) * 1_000_000  # type: ignore[literal-required]
        self.tracker.register_model_price(
            model_name, provider=provider, valid_from=valid_from, valid_to=valid_to, **prices
        )

    def get_model_price(self, model_name: str, provider: str | None = None) -> PriceInfo | None:
        """What a model costs now: your own price, else what price lists say; `None` if nobody knows.

        The answer has `get_input_cost()` and `get_output_cost()`, in dollars per token, and
        `get_max_tokens()`.
        """
        return self.tracker.stats.price(model_name, provider or provider_of(model_name))

    def list_models(self) -> list[PriceInfo]:
        """All models with a price: your own first, then those of the price list."""
        return self.tracker.stats.prices(limit=_EVERY).items

    def get_models_by_provider(self, provider: str) -> list[PriceInfo]:
        """All models of a provider with a price."""
        return self.tracker.stats.prices(provider=provider, limit=_EVERY).items

    def update_prices(self, *, timeout: float = 10.0) -> dict[str, Any]:
        """Fetch the newest price list, once, for this process; nothing is ever fetched unasked.

        Raises:
            PriceListError: it did not come; what is known goes on holding.
        """
        self.tracker.stats.update_prices(timeout=timeout)
        return self.get_last_update_status()

    def get_last_update_status(self) -> dict[str, Any]:
        """Where prices come from: `source`, `version`, `models` and `status`.

        The list comes with the installed version of genai-prices, until `update_prices` fetches a newer one.
        """
        found = self.tracker.stats.prices(limit=1)
        return {
            "status": "success",
            "source": "genai-prices",
            "version": found.version,
            "models": found.total,
        }

    def get_token_cost(self, model_name: str, input_tokens: int, output_tokens: int = 0) -> float | None:
        """Dollars that a request of this size would cost now; `None` if its model has no price."""
        provider = provider_of(model_name)
        return self.tracker.projected_cost(model_name, input_tokens, output_tokens, provider)

    # --- budgets ---------------------------------------------------------------------------------

    def check_budget(
        self, model_name: str, input_tokens: int, output_tokens: int, budget_limit: float
    ) -> BudgetCheck:
        """Whether a request of this size still fits into a budget, after what was spent so far.

        Args:
            model_name: as in `log_request`.
            input_tokens: of the request.
            output_tokens: that are expected.
            budget_limit: dollars, for this client and user over all time.

        Returns:
            True or false, with the figures. A model without a price does not fit: its cost is unknown, not
            zero.
        """
        from tokentrail._stats._answers import BudgetCheck

        stats = self.tracker.stats.usage_stats(**self._own)
        spent = 0.0 if stats.total_cost is None else stats.total_cost
        projected = self.get_token_cost(model_name, input_tokens, output_tokens)
        return BudgetCheck(
            ok=projected is not None and spent + projected <= budget_limit,
            current_cost=spent,
            projected_cost=projected,
            budget_limit=budget_limit,
            remaining=budget_limit - spent,
            used_percent=100 * spent / budget_limit if budget_limit else None,
            unpriced_requests=stats.unpriced_requests,
        )

    def set_budget(
        self,
        limit_usd: float | None = None,
        *,
        limit_tokens: int | None = None,
        period: str = "month",
        name: str | None = None,
        **terms: Any,
    ) -> None:
        """Set a soft budget for this client and user; see `Tracker.set_budget`.

        Args:
            limit_usd: dollars in each window; or
            limit_tokens: billed tokens in each window.
            period: `day`, `week`, `month`, `total`, or a rolling span such as `24h`.
            name: what it is called; default after client, user and period.
            terms: further ones, such as `tz`, `thresholds` and `on_threshold`.

        Raises:
            ConfigurationError: the sentence names the argument.
        """
        named = " ".join(each for each in (self.client_id, self.user_id, period) if each)
        self.tracker.set_budget(
            name or named,
            limit_usd=limit_usd,
            limit_tokens=limit_tokens,
            period=period,
            **self._own,
            **terms,
        )

    def get_budget_info(self, name: str | None = None) -> dict[str, Any] | None:
        """`current_cost`, `total_budget`, `remaining_budget`, `budget_used_percent` and `unpriced_requests`.

        Args:
            name: of this budget; default of the one for this client and user that is used most.

        Returns:
            `None` if there is none.
        """
        budgets = self.tracker.check_budget(name=name, **self._who).budgets
        if not budgets:
            return None
        return max(budgets, key=lambda budget: budget.budget_used_percent).model_dump()

    def require_budget(
        self, model_name: str | None = None, input_tokens: int | None = None, output_tokens: int = 0
    ) -> Fit:
        """Refuse the next request of this client and user where a budget is used up; for before a request.

        Raises:
            BudgetExceeded: it does not fit; with `current_cost` and `budget_limit`.
        """
        return self.tracker.require_budget(model_name, input_tokens, output_tokens, **self._who)
