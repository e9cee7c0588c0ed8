"""The user's own prices: kept in the store, dated, and the most particular one first."""

from __future__ import annotations

import json
import sys
import threading
from collections.abc import Iterator
from datetime import UTC, date, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from genai_prices import data_snapshot

from tokentrail._cli import main
from tokentrail._health import Health
from tokentrail._pricing import Pricer, override
from tokentrail._stats import Stats
from tokentrail._tracker import Tracker
from tokentrail.errors import ConfigurationError, PriceListError, QueryError
from tokentrail.models import ModelPrice
from tokentrail.stores import open_store

MILLION = {"prompt_tokens": 1_000_000, "completion_tokens": 0}
MAY = datetime(2026, 5, 5, tzinfo=UTC)


@pytest.fixture
def url(tmp_path: Path) -> str:
    return f"sqlite:///{tmp_path / 'usage.db'}"


@pytest.fixture
def tracker(url: str) -> Iterator[Tracker]:
    tracker = Tracker(url)
    yield tracker
    tracker.close()


def cost(tracker: Tracker, model: str, at: datetime = MAY, **fields: Any) -> Any:
    """What a call costs, once it is stored: dollars, source and version of the price."""
    call = tracker.stats.call(tracker.record(model=model, usage=MILLION, started_at=at, **fields))
    assert call is not None
    return call.cost_usd, call.cost_source, call.price_version


def test_an_own_price_is_kept_and_says_which_it_is(tracker: Tracker, url: str) -> None:
    """It is a row; calls name it; another process, without the registration, uses it too."""
    tracker.register_model_price("acme", provider="openai", input_per_million="0.15", valid_from="2026-01-01")
    assert cost(tracker, "acme", provider="openai") == (0.15, "override", "openai/acme from 2026-01-01")
    assert cost(tracker, "acme", provider="anthropic")[1] == "unpriced"
    (row,) = open_store(url).kept(ModelPrice)
    assert (row.input_per_million, row.output_per_million, row.valid_from) == (
        0.15,
        None,
        datetime(2026, 1, 1, tzinfo=UTC),
    )
    with Tracker(url) as another:
        assert cost(another, "acme", provider="openai")[0] == 0.15


def test_a_price_is_kept_without_a_call(tracker: Tracker, url: str) -> None:
    """Registering is enough: the writer's thread keeps it, and a flush waits for that."""
    tracker.register_model_price("acme", input_per_million=1)
    assert tracker.flush()
    assert [row.id for row in open_store(url).kept(ModelPrice)] == ["*/acme"]


def test_a_price_that_is_set_again_replaces_itself(tracker: Tracker, url: str) -> None:
    """Programs register at every start; the table does not grow by that."""
    for amount in (1, 2):
        tracker.register_model_price("acme", input_per_million=amount)
    assert cost(tracker, "acme")[0] == 2
    assert len(open_store(url).kept(ModelPrice)) == 1


def test_readers_price_what_waits_in_journals_with_own_prices(url: str, tmp_path: Path) -> None:
    """`Stats(url)` and `import` bring calls in that no tracker delivered: the same prices hold."""
    store = open_store(url)
    with Tracker(url) as tracker:
        tracker.register_model_price("acme", input_per_million=3)
    pricer = Pricer(health=Health())
    row: dict[str, Any] = {"model": "acme", "input_tokens": 10**6, "output_tokens": 0, "started_at": 1}
    pricer.over(lambda: store)(row)
    assert (row["cost_nanos"], row["price_version"]) == (3 * 10**9, "*/acme")
    assert Stats(url).overview().calls == 0
    store.close()


def test_the_most_particular_price_holds(tracker: Tracker) -> None:
    """The provider's before any, a name before a pattern, a longer pattern before a shorter."""
    tracker.register_model_price("*", input_per_million=1)
    tracker.register_model_price("acme-*", input_per_million=2)
    tracker.register_model_price("acme-large-?", input_per_million=3)
    tracker.register_model_price("acme-large-1", input_per_million=4)
    tracker.register_model_price("acme-large-1", provider="azure", input_per_million=5)
    asked = [("x", "openai"), ("ACME-small", None), ("acme-large-2", None), ("acme-large-1", None)]
    assert [cost(tracker, model, provider=provider)[0] for model, provider in asked] == [1, 2, 3, 4]
    assert cost(tracker, "acme-large-1", provider="azure_openai")[0] == 5


def test_prices_have_a_time(tracker: Tracker) -> None:
    """From its beginning, to the end of its last day; before and after it the list's price."""
    tracker.register_model_price(
        "gpt-4o", input_per_million=7, valid_from=date(2026, 5, 1), valid_to=date(2026, 5, 31)
    )
    days = [datetime(2026, *day, tzinfo=UTC) for day in ((4, 30, 23), (5, 1), (5, 31, 23), (6, 1))]
    found = [cost(tracker, "gpt-4o", day, provider="openai")[:2] for day in days]
    assert found == [(2.5, "genai_prices"), (7, "override"), (7, "override"), (2.5, "genai_prices")]


def test_a_model_goes_by_several_names(tracker: Tracker) -> None:
    """With its provider in front or not, and as it was asked for, if the answer's is a dated form of that."""
    tracker.register_model_price("gpt-4o", provider="openai", input_per_million=7)
    tracker.register_model_price("acme/fine", input_per_million=8)
    assert cost(tracker, "openai/gpt-4o", provider="openai")[0] == 7
    assert cost(tracker, "fine", provider="acme")[0] == 8
    asked = {"provider": "openai", "requested_model": "gpt-4o"}
    assert cost(tracker, "gpt-4o-2024-08-06", **asked)[0] == 7
    assert cost(tracker, "gpt-4o-mini", **asked)[1] == "genai_prices"


def test_every_kind_of_token_has_its_rate() -> None:
    """Parts are charged at their own rates where they have one, else as their whole; and a fee a request."""
    pricer = Pricer(health=Health())
    usage = {
        "input_tokens": 1000, "output_tokens": 500, "cache_read_tokens": 400, "cache_creation_tokens": 100,
        "reasoning_tokens": 200, "input_audio_tokens": 50, "output_audio_tokens": 30,
        "usage_details": {"ephemeral_1h_input_tokens": 40},
    }  # fmt: skip
    prices = {
        "input_per_million": 1, "output_per_million": 10, "cache_read_per_million": 0.1,
        "cache_creation_per_million": 2, "cache_creation_1h_per_million": 3, "reasoning_per_million": 20,
        "input_audio_per_million": 40, "output_audio_per_million": 80, "per_request": 0.5,
    }  # fmt: skip
    pricer.register_and_keep(override("m", None, prices))
    row = {"model": "m", "started_at": 1, **usage}
    pricer.price(row)
    given = 450 * 1 + 400 * 0.1 + 60 * 2 + 40 * 3 + 50 * 40
    taken = 270 * 10 + 200 * 20 + 30 * 80
    assert row["input_cost_nanos"] == round(given * 1000)
    assert row["output_cost_nanos"] == round(taken * 1000)
    assert row["cost_nanos"] == round((given + taken) * 1000) + 500_000_000


def test_a_price_a_request_needs_no_usage(tracker: Tracker) -> None:
    """An image costs what it costs, whatever was counted."""
    tracker.register_model_price("painter", per_request="0.04")
    call = tracker.stats.call(tracker.record(model="painter", call_type="image", started_at=MAY))
    assert call is not None
    assert (call.cost_usd, call.input_tokens, call.cost_source) == (0.04, None, "override")


@pytest.mark.parametrize(
    ("prices", "sentence"),
    [
        ({"input_per_million": -1}, "0 or more; not -1"),
        ({"per_request": "much"}, "not 'much'"),
        ({"input_per_million": True}, "not True"),
        ({}, "at least one amount"),
        ({"input": 1}, "input is no kind of price. There are: input_per_million"),
        ({"input_per_million": 1, "valid_from": "soon"}, "valid_from: 'soon'"),
        ({"input_per_million": 1, "valid_from": "2026-02-01", "valid_to": "2026-01-01"}, "valid_to: "),
    ],
)
def test_a_price_that_is_none_is_refused(tracker: Tracker, prices: dict[str, Any], sentence: str) -> None:
    """The sentence says what is wrong, and nothing is changed."""
    with pytest.raises(ConfigurationError, match=sentence):
        tracker.register_model_price("m", **prices)
    assert cost(tracker, "m")[1] == "unpriced"


def test_a_database_that_is_away_stops_no_registration(tmp_path: Path) -> None:
    """The price holds here; it and the calls wait for the database."""
    (tmp_path / "usage.db").mkdir()
    tracker = Tracker(f"sqlite:///{tmp_path / 'usage.db'}")
    tracker.register_model_price("acme", input_per_million=1)
    tracker.record(model="acme", usage=MILLION)
    assert not tracker.flush(timeout=0.5)
    (tmp_path / "usage.db").rmdir()
    assert tracker.flush(timeout=30)
    (call,) = tracker.stats.calls().items
    assert (call.cost_usd, call.cost_source) == (1, "override")
    assert [row.id for row in open_store(tracker.database_url).kept(ModelPrice)] == ["*/acme"]
    tracker.close()


# --- what models cost ----------------------------------------------------------------------------


def test_what_a_model_costs(tracker: Tracker) -> None:
    """Your own price first, then the list's at this moment; nobody's is None."""
    stats = tracker.stats
    listed = stats.price("gpt-4o", "openai")
    assert listed is not None
    assert (listed.source, listed.input_per_million, listed.cache_read_per_million) == (
        "genai_prices",
        2.5,
        1.25,
    )
    assert (listed.get_input_cost(), listed.get_output_cost()) == (2.5e-6, 1e-5)
    assert listed.get_max_tokens() == 128_000
    assert stats.price("no-such-model", "openai") is None
    tracker.register_model_price("gpt-4o", input_per_million=1, per_request="0.001")
    assert tracker.flush()
    own = stats.price("openai/gpt-4o")
    assert own is not None
    assert (own.source, own.id, own.input_per_million, own.per_request) == ("override", "*/gpt-4o", 1, 0.001)
    assert (own.output_per_million, own.get_output_cost()) == (None, None)


def test_lists_of_prices(tracker: Tracker) -> None:
    """By model, by provider, only one's own; how many there are is said."""
    stats = tracker.stats
    assert stats.prices(own=True).items == []
    tracker.register_model_price("acme", input_per_million=1, valid_to="2020-01-01")
    assert tracker.flush()
    (own,) = stats.prices(own=True).items
    assert (own.model, own.valid_to) == ("acme", datetime(2020, 1, 2, tzinfo=UTC))
    every = stats.prices(limit=5)
    assert (len(every.items), every.truncated, every.items[0]) == (5, True, own)
    assert every.total > 1_000
    assert every.version.startswith("genai-prices ")
    found = stats.prices("*GPT-4o*", ["openai", "openrouter"], limit=1_000)
    assert {each.provider for each in found.items} == {"openai", "openrouter"}
    assert all("gpt-4o" in each.model for each in found.items)
    tiered = stats.price("gemini-2.5-pro", "google")
    assert tiered is not None
    assert tiered.is_tiered
    with pytest.raises(QueryError, match="limit: 0"):
        stats.prices(limit=0)


def test_prices_on_the_command_line(
    url: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Set, list, remove; what is wrong is said in a sentence, with 2."""
    open_store(url).close()

    def run(*arguments: str, code: int = 0) -> str:
        monkeypatch.setattr(sys, "argv", ["tokentrail", "prices", *arguments, "-d", url])
        assert main() == code
        shown = capsys.readouterr()
        return shown.err if code else shown.out

    assert "No price is known" in run("list", "--own")
    assert "Set: openai/acme" in run(
        "set", "acme", "--provider", "openai", "--input", "0.5", "--output", "1.5"
    )
    shown = run("list", "--own")
    assert "openai/acme" in shown
    assert "1 of 1 prices, in dollars per million tokens" in shown
    found = json.loads(run("list", "gpt-4o", "--provider", "openai", "--json"))
    assert (found["schema_version"], found["prices"]["items"][0]["input_per_million"]) == (1, 2.5)
    assert "Removed" in run("remove", "openai/acme")
    assert "There is no price 'openai/acme'" in run("remove", "openai/acme", code=2)
    assert "0 or more; not '-1'" in run("set", "acme", "--input=-1", code=2)


# --- newer lists ---------------------------------------------------------------------------------

LIST = b"""[{"id": "openai", "name": "OpenAI", "api_pattern": "https://openai", "models": [
    {"id": "acme-1", "match": {"equals": "acme-1"}, "prices": {"input_mtok": 7, "output_mtok": 8}}
]}]"""


class _Lists(BaseHTTPRequestHandler):
    """A server with one good list, and one that is none."""

    def do_GET(self) -> None:
        self.send_response(200)
        self.end_headers()
        self.wfile.write(LIST if self.path == "/list" else b'{"no": "list"}')

    def log_message(self, *_: Any) -> None:
        pass


@pytest.fixture
def lists() -> Iterator[str]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Lists)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    thread.join()
    server.server_close()
    data_snapshot.set_custom_snapshot(None)


def test_a_newer_list_is_fetched_only_when_asked(tracker: Tracker, lists: str) -> None:
    """What comes holds from then on; what does not come, or is none, changes nothing."""
    stats = tracker.stats
    for wrong in ("/none", ":1/list", "x"):
        with pytest.raises(PriceListError, match="could not be fetched from"):
            stats.update_prices(lists + wrong, timeout=2)
    assert stats.price("gpt-4o", "openai") is not None
    assert "genai-prices" in stats.update_prices(f"{lists}/list")
    found = stats.price("acme-1", "openai")
    assert stats.price("gpt-4o", "openai") is None
    assert [each.model for each in stats.prices().items] == ["acme-1"]
    assert found is not None
    assert found.input_per_million == 7
