"""Spending: the third of a tracker that knows about money."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Unpack

from tokentrail._budgets import BudgetCheck, BudgetInfo, Watch, plan
from tokentrail._budgets._answers import Callback
from tokentrail._context import current_context
from tokentrail._pricing import Override, Pricer, Prices, override
from tokentrail._query import Moment
from tokentrail._recorder import Recorder
from tokentrail._records import MONEY, SCALES, Record, now_us
from tokentrail.errors import BudgetExceeded

if TYPE_CHECKING:
    from tokentrail._stats import Stats


class Spending(Recorder):
    """The user's own prices, and budgets."""

    pricer: Pricer
    _watch: Watch

    @property
    def stats(self) -> Stats:
        """Questions over this tracker's store."""
        raise NotImplementedError

    # --- prices ----------------------------------------------------------------------------------

    def register_model_price(
        self,
        model: str,
        *,
        provider: str | None = None,
        valid_from: Moment | None = None,
        valid_to: Moment | None = None,
        **prices: Unpack[Prices],
    ) -> Override:
        """Set a price of your own: it comes before every list, for calls that started in its time.

        It holds here at once, and is kept in the store by the writer's thread, for every process that writes
        to it (they look every 30 seconds). One that is registered again replaces itself. What was stored
        before keeps its cost until it is priced anew (`tokentrail reprice`).

        Args:
            model: the model's name; `*` and `?` allowed. An exact name comes before a pattern.
            provider: only for calls to this provider; any, if not given. One for the provider comes first.
            valid_from: the first moment at which it holds (a date, a datetime or ISO 8601; UTC unless it has
                a zone); always did, if not given. Of several that hold, the latest.
            valid_to: the first moment at which it no longer holds; a date includes that day.
            prices: US dollars: `input_per_million`, `output_per_million`, `cache_read_per_million`,
                `cache_creation_per_million`, `cache_creation_1h_per_million`, `reasoning_per_million`,
                `input_audio_per_million`, `output_audio_per_million` (tokens), `per_request`. What has none
                of its own is charged as plain input or output; audio is then not priced at all.

        Raises:
            ConfigurationError: a price is negative or no number, or none is given.

        Example:
            >>> tracker.register_model_price("acme-*", input_per_million=0.5, output_per_million="1.50")
        """
        price = override(model, provider, prices, valid_from, valid_to)
        self.pricer.register_and_keep(price)
        self._writer.nudge()
        return price

    def projected_cost(
        self, model: str, input_tokens: int, output_tokens: int, provider: str | None = None
    ) -> float | None:
        """Dollars that a call of this size would cost now; `None` if its model has no price."""
        record: Record = {
            "model": model,
            "requested_model": model,
            "provider": provider,
            "call_type": "chat",
            "started_at": now_us(),
            "input_tokens": input_tokens,
            "output_tokens": output_tokens,
        }
        self.pricer.price(record)
        nanos: int | None = record.get("cost_nanos")
        return None if nanos is None else nanos / SCALES[MONEY]

    # --- budgets ---------------------------------------------------------------------------------

    def set_budget(
        self,
        name: str,
        *,
        limit_usd: float | None = None,
        limit_tokens: int | None = None,
        period: str = "month",
        tz: str = "UTC",
        per: str | None = None,
        thresholds: Sequence[float] = (0.8, 1.0),
        on_threshold: Callback | None = None,
        **scope: Any,
    ) -> None:
        """Set a soft budget, or replace the one of that name. It warns; by itself it stops nothing.

        It holds here at once, and is kept in the store by the writer's thread, for every process.

        Args:
            name: what it is called.
            limit_usd: dollars in each window; or
            limit_tokens: billed tokens in each window.
            period: the window: `hour`, `day`, `week` (from Monday), `month`, `total`, or a rolling span such
                as `24h` or `30d`.
            tz: whose days, weeks and months.
            per: a field such as `user_id`: each of its values has this budget for itself.
            thresholds: shares of the limit; when one is reached, that is logged and told to callbacks, once
                for each window, by the writer's thread.
            on_threshold: called then, with a `BudgetNotice`; keep it short. Of this process only.
            scope: which calls count: `user_id`, `client_id`, `project_id`, `model`, `tag`, … as filters;
                default all.

        Raises:
            ConfigurationError: the sentence names the argument.

        Example:
            >>> tracker.set_budget("team", limit_usd=100, period="month", tz="Europe/Berlin", project_id="p1")
        """
        made = plan(
            name,
            limit_usd=limit_usd,
            limit_tokens=limit_tokens,
            period=period,
            tz=tz,
            per=per,
            thresholds=thresholds,
            **scope,
        )
        self._watch.set(made)
        if on_threshold is not None:
            self.on_budget(on_threshold, name)
        self._writer.nudge()

    def on_budget(self, callback: Callback, name: str | None = None) -> None:
        """Call this when a threshold of a budget is reached, once for each window.

        Args:
            callback: gets a `BudgetNotice`; it is called in the writer's thread, never in a caller's, and
                what it raises is counted and goes no further.
            name: only of this budget; default any.
        """
        self._watch.on_threshold(callback, name)

    def budget_info(self, name: str, key: str | None = None) -> BudgetInfo:
        """How far a budget is used, see `Stats.budget_info`."""
        return self.stats.budget_info(name, key)

    def check_budget(
        self,
        model: str | None = None,
        input_tokens: int | None = None,
        output_tokens: int = 0,
        *,
        provider: str | None = None,
        name: str | None = None,
        **who: Any,
    ) -> BudgetCheck:
        """Whether one more call fits into every budget that covers it; true or false, with the figures.

        A question: it waits until what was recorded is stored, and asks the store.

        Args:
            model: the call's model; with `input_tokens`, what the call would cost counts too. A model
                without a price does not fit then: its cost is not known, which is not zero.
            input_tokens: of the call.
            output_tokens: that are expected.
            provider: whose model it is.
            name: only this budget; default all.
            who: for whom the call is: `user_id`, `tags`, …; default what the tracker and the `context()`
                around say.
        """
        cost = tokens = None
        if input_tokens is not None:
            tokens = input_tokens + output_tokens
            if model is not None:
                cost = self.projected_cost(model, input_tokens, output_tokens, provider)
        fields = {**self._defaults, **current_context(), **who, "model": model, "provider": provider}
        fields.setdefault("requested_model", model)
        return self.stats.check_budget(
            name=name,
            projected_cost=cost,
            projected_tokens=tokens,
            is_projected=input_tokens is not None and model is not None,
            **fields,
        )

    def require_budget(
        self,
        model: str | None = None,
        input_tokens: int | None = None,
        output_tokens: int = 0,
        *,
        provider: str | None = None,
        name: str | None = None,
        **who: Any,
    ) -> BudgetCheck:
        """`check_budget` that raises. For before a call; what was answered and paid for is never lost.

        Raises:
            BudgetExceeded: the call does not fit; with `current_cost` and `budget_limit`.
        """
        check = self.check_budget(model, input_tokens, output_tokens, provider=provider, name=name, **who)
        if not check:
            found = next(budget for budget in check.budgets if budget.name == check.budget)
            raise BudgetExceeded(found.used, found.total_budget, check.reason)
        return check
