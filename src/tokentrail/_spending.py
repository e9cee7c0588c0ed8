"""Spending: the third of a tracker that knows about money."""

from __future__ import annotations

from typing import Unpack

from tokentrail._pricing import Override, Pricer, Prices, override
from tokentrail._query import Moment
from tokentrail._recorder import Recorder
from tokentrail._treasurer import Treasurer


class Spending(Recorder):
    """Prices of the user's own."""

    pricer: Pricer
    _treasurer: Treasurer

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
