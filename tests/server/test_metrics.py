"""`/metrics`: read from the store, bounded, and what the dashboard asks for is there."""

from __future__ import annotations

import json
import re
from importlib.resources import files
from pathlib import Path

import httpx
import pytest
from prometheus_client.parser import text_string_to_metric_families

from server_rig import TOKEN, USAGE, client_of
from tokentrail import Tracker
from tokentrail.server import _metrics, create_app


async def samples(client: httpx.AsyncClient) -> dict[tuple[str, ...], float]:
    """(name, label values…) → value, as Prometheus's own parser reads them."""
    page = await client.get("/metrics")
    assert page.status_code == 200
    return {
        (sample.name, *(sample.labels[name] for name in sorted(sample.labels))): sample.value
        for family in text_string_to_metric_families(page.text)
        for sample in family.samples
    }


async def test_what_is_counted(asker: httpx.AsyncClient) -> None:
    """Calls by status, tokens by kind, dollars, and the holes in them."""
    found = await samples(asker)
    assert found["tokentrail_calls_total", "gpt-4o", "openai", "success"] == 3
    assert found["tokentrail_calls_total", "gpt-4o", "openai", "error"] == 1
    assert found["tokentrail_tokens_total", "input", "gpt-4o", "openai"] == 3600
    assert found["tokentrail_tokens_total", "output", "gpt-4o", "openai"] == 900
    assert found["tokentrail_missing_usage_calls_total", "gpt-4o", "openai"] == 1
    assert found["tokentrail_call_duration_seconds_count", "gpt-4o", "openai"] == 3
    assert found["tokentrail_call_duration_seconds_sum", "gpt-4o", "openai"] == pytest.approx(2.4)
    assert found["tokentrail_cost_usd_total", "gpt-4o", "openai"] > 0
    text = (await asker.get("/metrics")).text
    assert "alice" not in text
    assert "shared" not in text


async def test_openmetrics_when_asked(asker: httpx.AsyncClient) -> None:
    """In the format that the reader names."""
    page = await asker.get("/metrics", headers={"accept": "application/openmetrics-text; version=1.0.0"})
    assert page.headers["content-type"].startswith("application/openmetrics-text")
    assert page.text.endswith("# EOF\n")


async def test_a_restart_sets_nothing_back(tmp_path: Path) -> None:
    """Another tracker, another server: the same totals."""
    url = f"sqlite:///{tmp_path}/usage.db"
    for total in (1, 2):
        with Tracker(url) as tracker:
            tracker.record(model="m", provider="p", usage=USAGE)
            async with client_of(create_app(tracker, token=TOKEN)) as client:
                assert (await samples(client))["tokentrail_calls_total", "m", "p", "success"] == total


async def test_series_are_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The busiest models have series of their own, the rest is one; a name is a label, whatever it holds."""
    monkeypatch.setattr(_metrics, "MOST_SERIES", 2)
    with Tracker(f"sqlite:///{tmp_path}/usage.db") as tracker:
        for name, calls in (('busy\n"x\\', 3), ("second", 2), ("rare", 1), ("rarer", 1)):
            for _ in range(calls):
                tracker.record(model=name, provider="p", usage=USAGE)
        tracker.start(model="new", provider="p")
        async with client_of(create_app(tracker, token=TOKEN)) as client:
            found = await samples(client)
    calls = {key[1]: value for key, value in found.items() if key[0] == "tokentrail_calls_total"}
    assert calls == {'busy\n"x\\': 3, "second": 2, "other": 2}
    assert found["tokentrail_active_calls", "other", "other"] == 1


async def test_the_dashboard_asks_for_what_is_there(asker: httpx.AsyncClient) -> None:
    """Every metric and label of `grafana.json` exists."""
    board = json.loads(files("tokentrail.server").joinpath("grafana.json").read_text(encoding="utf-8"))
    page = (await asker.get("/metrics")).text
    known = {family.name for family in text_string_to_metric_families(page)}
    known |= {f"{name}{end}" for name in known for end in ("_total", "_sum", "_count")}
    asked = [target["expr"] for panel in board["panels"] for target in panel["targets"]]
    assert len(asked) >= 12
    for expression in asked:
        for name in re.findall(r"tokentrail_\w+", expression):
            assert name in known, name
        labels = set(re.findall(r"(\w+)=~", expression)) | set(re.findall(r"by \((\w+)\)", expression))
        assert labels <= {"provider", "model", "status", "kind", "part"}
