"""UsageInfo: a tracker in three words, log_request, log_response and log_error, for one client and user."""

from __future__ import annotations

from collections import OrderedDict
from datetime import date
from types import TracebackType
from typing import TYPE_CHECKING, Any

from tokentrail._guard import guarded
from tokentrail._query import Exact
from tokentrail._records import new_id, now_us
from tokentrail._tracker import Tracker, get_tracker
from tokentrail._usage_info._money import Money
from tokentrail._usage_info._requests import Key, remember, requests_of
from tokentrail._usage_info._rows import (
    cost,
    dollars,
    duration,
    hole,
    model_row,
    or_zero,
    provider_of,
    running_fields,
)

if TYPE_CHECKING:
    from tokentrail._health import Health
    from tokentrail._stats._requests import ClientUsageData, RequestDetails
    from tokentrail.models import LLMCall


class UsageInfo(Money):
    """Usage of one client and user.

    Args:
        client_id: the program; `None` asks about all.
        user_id: who it works for; `None` asks about all.
        tracker: where calls are recorded; default the shared one.

    Example:
        >>> usage = UsageInfo(client_id="my_app", user_id="user123")
        >>> request_id = usage.log_request(model_name="openai/gpt-4", raw_request="What is AI?")
        >>> usage.log_response(
        ...     request_id=request_id,
        ...     raw_response="AI is...",
        ...     usage_info={"prompt_tokens": 10, "completion_tokens": 50, "total_tokens": 60},
        ...     response_time=1.5,
        ... )
        >>> usage.get_usage_stats()["total_tokens"]
        60
    """

    def __init__(
        self, client_id: str | None = None, user_id: str | None = None, tracker: Tracker | None = None
    ) -> None:
        self.client_id = client_id
        self.user_id = user_id
        self.tracker = get_tracker() if tracker is None else tracker
        self._requests = requests_of(self.tracker)
        self._latest: OrderedDict[str, None] = OrderedDict()

    @property
    def _health(self) -> Health:
        return self.tracker.health_counters

    # --- recording: nothing here raises ----------------------------------------------------------

    def log_request(self, model_name: str, raw_request: object = None, request_id: str | None = None) -> str:
        """Say that a request begins.

        Args:
            model_name: the model; what stands before a `/` is taken for its provider.
            raw_request: stored only if the tracker captures payloads.
            request_id: the caller's own name for the request.

        Returns:
            `request_id`, or a new one.
        """
        call_id = self.tracker.start(
            model=model_name,
            provider=provider_of(model_name),
            request_id=request_id,
            request=raw_request,
            **self._who,
        )
        name = call_id if request_id is None else request_id
        with guarded(self._health, "usage_info.log_request"):
            self._requests.begin(self._key(name), call_id)
            remember(self._latest, name)
        return name

    def log_response(
        self,
        raw_response: object = None,
        usage_info: object = None,
        response_time: float | None = None,
        request_id: str | None = None,
    ) -> None:
        """Say that a request was answered.

        Args:
            raw_response: stored only if the tracker captures payloads.
            usage_info: any usage; `total_cost` in it, in dollars, is taken for the provider's word.
            response_time: seconds; measured if not given.
            request_id: which request; default the latest open one.
        """
        with guarded(self._health, "usage_info.log_response"):
            ended = self._end(request_id)
            if ended is not None:
                call_id, names = ended
                given = {**names, **duration(response_time), **cost(usage_info)}
                self.tracker.finish(call_id, usage=usage_info, response=raw_response, **given)

    def log_error(
        self,
        error_message: BaseException | str,
        response_time: float | None = None,
        request_id: str | None = None,
    ) -> None:
        """Say that a request failed; what ended already stays as it ended."""
        with guarded(self._health, "usage_info.log_error"):
            ended = self._end(request_id)
            if ended is not None:
                call_id, names = ended
                self.tracker.fail(call_id, error_message, **names, **duration(response_time))

    def _end(self, request_id: str | None) -> tuple[str, dict[str, Any]] | None:
        """The call that ends, and what must be said of it; `None` if it has ended before.

        An end whose beginning was never seen is a call too: it brings its names along.
        """
        name = next(reversed(self._latest), None) if request_id is None else request_id
        if name is None:
            return new_id(now_us()), self._who
        self._latest.pop(name, None)
        call_id = self._requests.end(self._key(name))
        if call_id is not None:
            return call_id, {}
        if self._requests.has_ended(self._key(name)):
            self._health.note("late_ends")
            return None
        return new_id(now_us()), {"request_id": name, **self._who}

    def _key(self, name: str) -> Key:
        return self.client_id, self.user_id, name

    # --- questions -------------------------------------------------------------------------------

    def get_usage_stats(self) -> dict[str, Any]:
        """Requests, tokens and dollars of this client and user, in sum and by model.

        Ended requests count; those that still run are in `running`. Tokens that nobody reported count as 0
        and their requests in `missing_usage_requests`; a cost that nobody knows is `None`, and its requests
        are in `unpriced_requests`.
        """
        stats = self.tracker.stats.usage_stats(**self._own)
        running = self._running()
        models = {model.model_name: model_row(model) for model in stats.models}
        for snapshot in running:
            name = snapshot["model"]
            row = models.setdefault(
                name, {"model_name": name, "requests": 0, "tokens": 0, "cost": 0.0, "running": 0}
            )
            row["running"] += 1
        return {
            **stats.model_dump(exclude={"models"}),
            "total_input_tokens": or_zero(stats.total_input_tokens),
            "total_output_tokens": or_zero(stats.total_output_tokens),
            "total_tokens": or_zero(stats.total_tokens),
            "running": len(running),
            "models": list(models.values()),
        }

    def get_detailed_stats(
        self, start_date: date | str | None = None, end_date: date | str | None = None
    ) -> dict[str, Any]:
        """How requests went, by model; the end date is included.

        Returns:
            `models`, each with `name`, `requests`, `success_rate` (percent) and `avg_response_time`
            (seconds).
        """
        stats = self.tracker.stats.detailed_stats(start=start_date, end=end_date, **self._own)
        answer = stats.model_dump(mode="json")
        for model in answer["models"]:
            for name, digits in (("success_rate", 2), ("avg_response_time", 3)):
                model[name] = None if model[name] is None else round(model[name], digits)
        return answer

    def get_client_usage_data(self, client_id: str | None = None, limit_recent: int = 10) -> ClientUsageData:
        """What a client used: models, and the newest requests. Totals are over all of them.

        Args:
            client_id: default this one; another one is asked about for all its users.
            limit_recent: how many requests.
        """
        own = client_id is None or client_id == self.client_id
        who = self._own if own else {"client_id": Exact(client_id)}
        usage = self.tracker.stats.client_usage(limit_recent, **who)
        return usage.model_copy(update={"running_requests": len(self._running()) if own else 0})

    def get_request_details(self, request_id: str) -> RequestDetails | None:
        """Everything about the newest request of that name, of this client and user; `None` if unknown."""
        from tokentrail._stats._requests import RequestDetails, request

        for snapshot in self._running():
            if request_id in (snapshot["id"], snapshot["request_id"]):
                return RequestDetails(**running_fields(snapshot), **self._who)
        call = self._find(request_id)
        if call is None:
            return None
        payload = self.tracker.stats.payload(call.id)
        return RequestDetails(
            **request(call).model_dump(),
            client_id=call.client_id,
            user_id=call.user_id,
            input_cost=call.input_cost_usd,
            output_cost=call.output_cost_usd,
            request_raw=payload["request"],
            response_raw=payload["response"],
            call=call,
        )

    def _find(self, request_id: str) -> LLMCall | None:
        stats = self.tracker.stats
        call = stats.call(request_id)
        if call is not None and self._owns(call):
            return call
        named = stats.find(limit=1, request_id=Exact(request_id), **self._own)
        return named[0] if named else None

    def _owns(self, call: LLMCall) -> bool:
        return all(wanted is None or getattr(call, name) == wanted for name, wanted in self._who.items())

    def print_usage_info(self) -> None:
        """Print requests, tokens and dollars, in sum and by model."""
        stats = self.get_usage_stats()
        print(f"Usage of client {self.client_id or 'any'}, user {self.user_id or 'any'}")
        print(
            f"  requests {stats['total_requests']:,} (success {stats['successful_requests']:,}, "
            f"failed {stats['failed_requests']:,}), running {stats['running']:,}"
        )
        print(f"  tokens   {stats['total_tokens']:,}{hole(stats['missing_usage_requests'], 'not reported')}")
        print(
            f"  cost     {dollars(stats['total_cost'])}{hole(stats['unpriced_requests'], 'of unknown price')}"
        )
        for model in stats["models"]:
            print(
                f"  {model['model_name'] or 'unknown model'}: {model['requests']:,} requests, "
                f"{model['tokens']:,} tokens, {dollars(model['cost'])}"
            )

    def _running(self) -> list[dict[str, Any]]:
        own = self._requests.running(self.client_id, self.user_id)
        return [snapshot for snapshot in self.tracker.active() if snapshot["id"] in own]

    # --- end -------------------------------------------------------------------------------------

    def close(self) -> None:
        """Wait until what was logged is stored. The tracker stays open: others may use it."""
        self.tracker.flush()

    def __enter__(self) -> UsageInfo:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
