"""`/metrics`: what Prometheus reads, from the store, so that a restart sets nothing back to zero."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Final

from fastapi import FastAPI, Request, Response
from prometheus_client import CollectorRegistry
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, SummaryMetricFamily
from prometheus_client.exposition import choose_encoder
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

from tokentrail._query import Exact, Query
from tokentrail.server._access import READ, Access
from tokentrail.server._answering import ExplainedRoute, access_of, problems
from tokentrail.server._ledger import Ledger

MOST_SERIES: Final = 200
"""Pairs of provider and model that have series of their own: those with the most calls."""
OTHER: Final = "other"

_TOKENS: Final = {"input": "input_tokens", "output": "output_tokens"}
_PARTS: Final = {
    "cache_read": "cache_read_tokens",
    "cache_creation": "cache_creation_tokens",
    "reasoning": "reasoning_tokens",
    "input_audio": "input_audio_tokens",
    "output_audio": "output_audio_tokens",
}
_MEASURES: Final = (
    "calls", "billed_calls", "counted_calls", "priced_calls", "cost_usd", "duration_ms", "timed_calls",
    "time_to_first_token_ms", "first_token_calls", *_TOKENS.values(), *_PARTS.values(),
)  # fmt: skip
_WHO: Final = ("provider", "model")

Pair = tuple[str, str]
Sums = dict[str, Any]


def add_metrics(app: FastAPI, ledger: Ledger) -> None:
    """Add the route."""

    async def metrics(request: Request) -> Response:
        access = access_of(request, READ)
        encode, media_type = choose_encoder(request.headers.get("accept", ""))
        collected = await ledger.run(_collect, ledger, access)
        registry = CollectorRegistry(auto_describe=False)
        registry.register(collected)
        return Response(encode(registry), media_type=media_type)

    app.router.add_api_route(
        "/metrics",
        metrics,
        responses={200: {"content": {"text/plain": {}}}, **problems(503)},
        operation_id="metrics",
        summary="Metrics for Prometheus",
        description="Totals of the whole ledger by provider, model and status; never by user or session.",
        tags=["operation"],
        route_class_override=ExplainedRoute,
    )


class _Collected(Collector):
    def __init__(self, families: Iterable[Metric]) -> None:
        self._families = list(families)

    def collect(self) -> Iterable[Metric]:
        return self._families


def _collect(ledger: Ledger, access: Access) -> _Collected:
    bound = {name: Exact(value) for name, value in access.where.items()}
    groups = ledger.stats.query(Query(_MEASURES, by=(*_WHO, "status")).where(**bound))
    kept = _kept(groups)
    running = [call for call in ledger.running() if access.sees(call)]
    families = [*_stored(groups, kept), _active(running, kept)]
    if ledger.tracker is not None and not access.where:
        families += _own(ledger.tracker.health())
    return _Collected(families)


# --- series --------------------------------------------------------------------------------------


def _pair(row: Mapping[str, Any]) -> Pair:
    return row["provider"] or "unknown", row["model"] or "unknown"


def _kept(groups: Iterable[Mapping[str, Any]]) -> frozenset[Pair]:
    calls: defaultdict[Pair, int] = defaultdict(int)
    for group in groups:
        calls[_pair(group)] += group["calls"]
    return frozenset(sorted(calls, key=lambda pair: (-calls[pair], pair))[:MOST_SERIES])


def _label(row: Mapping[str, Any], kept: frozenset[Pair]) -> Pair:
    pair = _pair(row)
    return pair if pair in kept else (OTHER, OTHER)


def _summed(groups: Iterable[Mapping[str, Any]], kept: frozenset[Pair]) -> dict[Pair, Sums]:
    sums: dict[Pair, Sums] = {}
    for group in groups:
        known = sums.setdefault(_label(group, kept), dict.fromkeys(_MEASURES))
        for name in _MEASURES:
            value = group[name]
            if value is not None:
                known[name] = value if known[name] is None else known[name] + value
    return sums


# --- families ------------------------------------------------------------------------------------


def _stored(groups: list[dict[str, Any]], kept: frozenset[Pair]) -> Iterator[Metric]:
    yield _by_status(groups, kept)
    sums = _summed(groups, kept)
    yield _apart("tokens", "Billed tokens: input and output are wholes.", "kind", _TOKENS, sums)
    yield _apart("token_parts", "Parts of the billed tokens.", "part", _PARTS, sums)
    yield _counter("cost_usd", "US dollars, of the calls whose cost is known.", _WHO, sums, _cost)
    yield _counter("missing_usage_calls", "Billed calls whose tokens are not known.", _WHO, sums, _missing)
    yield _counter("unpriced_calls", "Calls whose cost is not known.", _WHO, sums, _unpriced)
    yield _summary("call_duration", "How long calls took.", sums, "duration_ms", "timed_calls")
    first = ("time_to_first_token_ms", "first_token_calls")
    yield _summary("time_to_first_token", "How long streams were silent.", sums, *first)


def _cost(sums: Sums) -> Any:
    return sums["cost_usd"]


def _missing(sums: Sums) -> Any:
    return sums["billed_calls"] - sums["counted_calls"]


def _unpriced(sums: Sums) -> Any:
    return sums["calls"] - sums["priced_calls"]


def _by_status(groups: Iterable[Mapping[str, Any]], kept: frozenset[Pair]) -> Metric:
    calls: defaultdict[tuple[str, ...], int] = defaultdict(int)
    for group in groups:
        calls[(*_label(group, kept), group["status"])] += group["calls"]
    family = CounterMetricFamily("tokentrail_calls", "Ended calls.", labels=(*_WHO, "status"))
    for labels, count in sorted(calls.items()):
        family.add_metric(labels, count)
    return family


def _apart(
    name: str, help_: str, label: str, measures: Mapping[str, str], sums: Mapping[Pair, Sums]
) -> Metric:
    family = CounterMetricFamily(f"tokentrail_{name}", help_, labels=(*_WHO, label))
    for pair, known in sorted(sums.items()):
        for word, measure in measures.items():
            if known[measure] is not None:
                family.add_metric((*pair, word), known[measure])
    return family


def _counter(
    name: str, help_: str, labels: tuple[str, ...], sums: Mapping[Pair, Sums], value_of: Any
) -> Metric:
    family = CounterMetricFamily(f"tokentrail_{name}", help_, labels=labels)
    for pair, known in sorted(sums.items()):
        value = value_of(known)
        if value is not None:
            family.add_metric(pair, value)
    return family


def _summary(name: str, help_: str, sums: Mapping[Pair, Sums], total: str, count: str) -> Metric:
    family = SummaryMetricFamily(f"tokentrail_{name}_seconds", help_, labels=_WHO)
    for pair, known in sorted(sums.items()):
        if known[total] is not None:
            family.add_metric(pair, count_value=known[count], sum_value=known[total] / 1000)
    return family


def _active(running: Iterable[Mapping[str, Any]], kept: frozenset[Pair]) -> Metric:
    counts: defaultdict[Pair, int] = defaultdict(int)
    for call in running:
        counts[_label(call, kept) if _pair(call) in kept else (OTHER, OTHER)] += 1
    family = GaugeMetricFamily("tokentrail_active_calls", "Calls that run now.", labels=_WHO)
    for pair, count in sorted(counts.items()):
        family.add_metric(pair, count)
    return family


def _own(health: Mapping[str, Any]) -> Iterator[Metric]:
    """How the ledger of this process is doing; these begin at zero with it."""
    yield GaugeMetricFamily(
        "tokentrail_backlog_records", "Records that wait for the store.", value=health["backlog"]
    )
    lost = CounterMetricFamily("tokentrail_lost_calls", "Calls that will never be rows.", labels=("reason",))
    for reason, count in sorted(health["lost"].items()):
        lost.add_metric((reason,), count)
    yield lost
