"""Pricing anew: today's knowledge, at each call's own time; what a provider stated stands."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from tokentrail._cli import main
from tokentrail._stats import Stats
from tokentrail._tracker import Tracker
from tokentrail.errors import ConfigurationError
from tokentrail.models import ModelPrice
from tokentrail.stores import open_store
from tokentrail.stores.base import Store

MILLION = {"prompt_tokens": 1_000_000, "completion_tokens": 0}
FREE = {"cost_nanos": 0, "input_cost_nanos": 0, "output_cost_nanos": 0}
BEGIN = int(datetime(2025, 5, 1, tzinfo=UTC).timestamp() * 1_000_000)


@pytest.fixture(autouse=True)
def _no_litellm(monkeypatch: pytest.MonkeyPatch) -> None:
    """As if LiteLLM were not installed: its map is another source of prices."""
    monkeypatch.setattr("tokentrail._stats._reprice.load_litellm", lambda: False)
    monkeypatch.delitem(sys.modules, "litellm", raising=False)


@pytest.fixture(params=("memory", "sqlite", "postgresql"))
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Store]:
    urls: dict[str, Callable[[], str]] = {
        "memory": lambda: "memory://",
        "sqlite": lambda: f"sqlite:///{tmp_path / 'usage.db'}",
        "postgresql": lambda: request.getfixturevalue("postgres")(),
    }
    store = open_store(urls[request.param]())
    yield store
    store.close()


def row(number: int, model: str, **columns: Any) -> dict[str, Any]:
    """A stored call of a million input tokens that nobody has priced yet."""
    return {
        "id": f"call-{number:04}", "finality": 2, "status": "success", "started_at": BEGIN + number,
        "provider": "openai", "model": model, "input_tokens": 1_000_000, "output_tokens": 0,
        "total_tokens": 1_000_000, "cost_source": "unpriced", **columns,
    }  # fmt: skip


def costs(store: Store) -> dict[str, tuple[float | None, str | None]]:
    return {
        call.id: (call.cost_usd, call.cost_source) for call in Stats(store, before_question=int).calls().items
    }


def test_a_dry_run_says_what_a_run_does(store: Store) -> None:
    """The diff by model, the largest first; then the rows, and a second run finds nothing to do."""
    stats = Stats(store, before_question=int)
    store.append(
        [
            row(1, "o3"),
            row(2, "o3", cost_nanos=2 * 10**9, cost_source="litellm_map"),
            row(3, "nobody-knows"),
            row(4, "o3", cost_nanos=99, cost_source="provider"),
            row(5, "o3", cache_hit=True, cost_source="free", **FREE),
        ]
    )
    before = costs(store)
    dry = stats.reprice(dry_run=True)
    assert costs(store) == before
    assert (dry.calls, dry.changed_calls, dry.provider_stated_calls, dry.newly_priced) == (4, 2, 1, 1)
    # o3 cost $10 a million in May 2025, and costs $2 today.
    assert (dry.old_cost_usd, dry.new_cost_usd, dry.difference_usd) == (2, 20, 18)
    assert [(model.model, model.calls, model.changed_calls) for model in dry.models] == [
        ("o3", 3, 2),
        ("nobody-knows", 1, 0),
    ]
    assert stats.reprice().model_dump() == {**dry.model_dump(), "dry_run": False}
    assert costs(store) == {
        **before,
        "call-0001": (10, "genai_prices"),
        "call-0002": (10, "genai_prices"),
    }
    assert stats.overview().cost_usd == pytest.approx(20 + 99e-9)
    assert stats.reprice().changed_calls == 0


def test_an_own_price_comes_and_goes(store: Store) -> None:
    """A price that is set fills the unknown; when it is removed, what it made is unknown again."""
    stats = Stats(store, before_question=int)
    store.append([row(1, "acme"), row(2, "gpt-4o")])
    store.keep(ModelPrice(id="own", model="acme", input_per_million=3))
    assert stats.reprice().newly_priced == 2
    assert costs(store) == {"call-0001": (3, "override"), "call-0002": (2.5, "genai_prices")}
    store.discard(ModelPrice, "own")
    assert stats.reprice(model="acme").no_longer_priced == 1
    call = stats.call("call-0001")
    assert call is not None
    assert (call.cost_usd, call.cost_source, call.price_model, call.price_version) == (
        None, "unpriced", None, None,
    )  # fmt: skip


def test_a_cost_that_no_list_knows_any_more_is_kept(store: Store) -> None:
    """Lists forget retired models; the cost that was known then is no worse for that."""
    stats = Stats(store, before_question=int)
    store.append([row(1, "retired", cost_nanos=10**9, cost_source="litellm_map")])
    kept = stats.reprice()
    assert (kept.changed_calls, kept.kept, kept.new_cost_usd) == (0, 1, 1)
    forgotten = stats.reprice(forget=True)
    assert (forgotten.no_longer_priced, forgotten.kept, forgotten.new_cost_usd) == (1, 0, None)
    assert costs(store) == {"call-0001": (None, "unpriced")}


def test_a_final_end_that_comes_meanwhile_keeps_its_own_price(tmp_path: Path) -> None:
    """Only the row that was looked at is changed."""
    store = open_store(f"sqlite:///{tmp_path / 'usage.db'}")
    store.append([row(1, "gpt-4o", finality=1)])
    stats = Stats(store, before_question=int)
    final = row(1, "gpt-4o", finality=2, cost_nanos=7, cost_source="provider")
    correct = store.correct

    def late(records: Any) -> Any:
        store.append([final])
        return correct(records)

    store.correct = late  # type: ignore[method-assign]
    stats.reprice()
    assert costs(store) == {"call-0001": (7e-9, "provider")}
    store.close()


def test_litellm_is_loaded_only_for_calls_it_may_price(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It takes seconds; a call without tokens has no price in any list."""
    asked: list[int] = []
    monkeypatch.setattr("tokentrail._stats._reprice.load_litellm", lambda: bool(asked.append(1)))
    store = open_store(f"sqlite:///{tmp_path / 'usage.db'}")
    store.append([row(1, "nobody-knows", input_tokens=None, output_tokens=None), row(2, "gpt-4o")])
    Stats(store, before_question=int).reprice()
    assert asked == []
    store.append([row(3, "nobody-knows")])
    Stats(store, before_question=int).reprice()
    assert asked == [1]
    store.close()


def test_pages_are_told_and_all_are_priced(tmp_path: Path) -> None:
    """More calls than a page; filters say which."""
    store = open_store(f"sqlite:///{tmp_path / 'usage.db'}")
    store.append([row(number, "gpt-4o", user_id=f"u{number % 2}") for number in range(4_100)])
    seen: list[int] = []
    done = Stats(store, before_question=int).reprice(progress=seen.append, user_id="u1")
    assert (done.changed_calls, seen) == (2_050, [2_000, 2_050])
    assert Stats(store, before_question=int).overview(user_id="u0").cost_usd is None
    store.close()


def test_the_command(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A table by model, and the same as JSON."""
    url = f"sqlite:///{tmp_path / 'usage.db'}"
    store = open_store(url)
    store.append([row(1, "o3")])
    store.close()

    def run(*arguments: str) -> str:
        monkeypatch.setattr(sys, "argv", ["tokentrail", "reprice", "-d", url, *arguments])
        assert main() == 0
        return capsys.readouterr().out

    shown = run("--dry-run")
    assert "1 of 1 calls would change: – before, $10.00 now" in shown  # noqa: RUF001
    assert "Nothing was written" in shown
    found = json.loads(run("--json"))
    assert (found["schema_version"], found["reprice"]["newly_priced"]) == (1, 1)
    assert "0 of 1 calls changed" in run()


def test_own_prices_of_a_tracker_reach_stored_calls(tmp_path: Path) -> None:
    """The scenario: unknown, then a price is set, then pricing anew fills the hole."""
    with Tracker(f"sqlite:///{tmp_path / 'usage.db'}") as tracker:
        tracker.record(model="acme", usage=MILLION)
        assert tracker.stats.overview().coverage.cost == 0
        tracker.register_model_price("acme", input_per_million=1)
        assert tracker.stats.reprice().newly_priced == 1
        assert tracker.stats.overview().cost_usd == 1
        with pytest.raises(ConfigurationError):
            tracker.register_model_price("acme")
