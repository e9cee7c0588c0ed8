"""Pricer: the right price at the call's own moment, or none."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Mapping
from datetime import UTC, date, datetime, timedelta
from decimal import ROUND_HALF_UP, Decimal
from types import ModuleType
from typing import Any

import pytest
from genai_prices import Usage as PricedUsage
from genai_prices import calc_price, data_snapshot
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from tokentrail import _guard
from tokentrail._health import Health
from tokentrail._pricing import Override, Pricer, override
from tokentrail._pricing._names import PROVIDERS, is_same_model, spellings
from tokentrail.errors import ConfigurationError

NOW = datetime(2026, 11, 20, 12, tzinfo=UTC)
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def micros(moment: datetime) -> int:
    return (moment - EPOCH) // timedelta(microseconds=1)


def record(
    provider: str | None, model: str | None, given: int | None, taken: int | None, **fields: Any
) -> dict[str, Any]:
    moment = fields.pop("at", NOW)
    whole = {"provider": provider, "model": model, "input_tokens": given, "output_tokens": taken}
    return {key: value for key, value in whole.items() if value is not None} | {
        "started_at": micros(moment),
        **fields,
    }


def priced(*args: Any, pricer: Pricer | None = None, **fields: Any) -> dict[str, Any]:
    row = record(*args, **fields)
    (pricer or Pricer(health=Health())).price(row)
    return row


def dollars(row: Mapping[str, Any]) -> str | None:
    nanos = row.get("cost_nanos")
    return None if nanos is None else f"{Decimal(nanos).scaleb(-9).normalize():f}"


# --- right answers, from list prices -------------------------------------------------------------

CACHED = {"cache_read_tokens": 50_000, "cache_creation_tokens": 20_000}
HALF_1H = {"ephemeral_1h_input_tokens": 10_000, "ephemeral_5m_input_tokens": 10_000}
HEARD = {"input_audio_tokens": 500, "output_audio_tokens": 900}
SEARCHED = {"web_search_requests": 3}


@pytest.mark.parametrize(
    ("args", "fields", "expected"),
    [
        (("openai", "gpt-4o", 10_000, 1_000), {"cache_read_tokens": 4_000}, "0.03"),
        (("anthropic", "claude-sonnet-4-5", 71_000, 2_000), CACHED, "0.123"),
        (("anthropic", "claude-sonnet-4-5", 71_000, 2_000), {**CACHED, "usage_details": HALF_1H}, "0.1455"),
        (("google_genai", "gemini-2.5-pro", 250_000, 1_000), {}, "0.64"),
        (("google_genai", "gemini-2.5-pro", 200_000, 1_000), {}, "0.26"),
        (("google_genai", "gemini-2.5-pro", 250_000, 1_000), {"cache_read_tokens": 100_000}, "0.415"),
        (("openai", "o3", 1_000, 5_000), {"reasoning_tokens": 4_000}, "0.042"),
        (("openai", "o3", 1_000, 5_000), {"at": datetime(2025, 5, 1, tzinfo=UTC)}, "0.21"),
        (("anthropic", "claude-sonnet-4-5", 250_000, 1_000), {}, "1.5225"),
        (("openai", "gpt-5", 1_000, 5_000), {"params": {"service_tier": "flex"}}, "0.025625"),
        (("openai", "gpt-5", 1_000, 5_000), {"params": {"service_tier": "priority"}}, "0.1025"),
        (("azure", "gpt-5", 1_000, 5_000), {"params": {"service_tier": "priority"}}, "0.1025"),
        (("openai", "gpt-5", 1_000, 5_000), {"usage_details": {"flex_input_tokens": 1_000}}, "0.025625"),
        (("openai", "gpt-5", 1_000, 5_000), {"params": {"service_tier": "auto"}}, "0.05125"),
        (("bedrock", "us.anthropic.claude-sonnet-4-5-20250929-v1:0", 5_000, 2_000), {}, "0.0495"),
        (("openai", "text-embedding-3-small", 1_000, None), {"call_type": "embedding"}, "0.00002"),
        (("openai", "gpt-audio", 1_000, 1_000), HEARD, "0.07585"),
        (("perplexity", "sonar", 1_000, 1_000), {}, "0.014"),
        (("anthropic", "claude-sonnet-4-5", 1_000, 1_000), {"usage_details": SEARCHED}, "0.048"),
        (("openai", "gpt-4o", 10_000, 1_000), {"status": "cancelled", "cache_read_tokens": 4_000}, "0.03"),
    ],
)  # fmt: skip
def test_right_answers(args: tuple[Any, ...], fields: dict[str, Any], expected: str) -> None:
    """Cache, tiers, dates, service tiers, modalities and fees come out at the price of the list."""
    row = priced(*args, **fields)
    assert dollars(row) == expected
    assert row["cost_source"] == "genai_prices"
    assert row["price_model"]
    assert row["price_version"].startswith("genai-prices ")


@pytest.mark.parametrize(
    ("details", "expected"),
    [
        # $4 text, $32 audio, $0.40 either from the cache, $16 out, per million
        ({"cached_text_tokens": 400}, "0.01952"),
        ({"cached_audio_tokens": 400}, "0.00832"),
        ({"cached_audio_tokens": 100, "cached_text_tokens": 300}, "0.01672"),
    ],
)
def test_audio_from_the_cache(details: dict[str, int], expected: str) -> None:
    """Where audio and cache overlap, the price is known if the overlap was counted."""
    row = priced(
        "openai", "gpt-realtime", 1_000, 10,
        input_audio_tokens=600, output_audio_tokens=0, cache_read_tokens=400, usage_details=details,
    )  # fmt: skip
    assert dollars(row) == expected


def test_input_and_output_are_priced_apart() -> None:
    """The two halves of a cost are kept too; a fee per request is in the total only."""
    row = priced("openai", "gpt-4o", 10_000, 1_000, cache_read_tokens=4_000)
    assert (row["input_cost_nanos"], row["output_cost_nanos"]) == (20_000_000, 10_000_000)
    row = priced("perplexity", "sonar", 1_000, 1_000)
    assert row["cost_nanos"] > row["input_cost_nanos"] + row["output_cost_nanos"]


@pytest.fixture
def _no_litellm(monkeypatch: pytest.MonkeyPatch) -> None:
    """As if LiteLLM were not loaded: its map is another source of prices."""
    monkeypatch.delitem(sys.modules, "litellm", raising=False)


@pytest.mark.usefixtures("_no_litellm")
@pytest.mark.parametrize(
    ("args", "fields", "note"),
    [
        (("openai", "no-such-model", 10, 1), {}, None),
        (("a gateway of ours", "gpt-4o", 10, 1), {}, None),
        (("litellm_proxy", "gpt-4o", 10, 1), {}, None),
        (("openai", None, 10, 1), {}, None),
        (("openai", "gpt-4o", None, 1), {}, None),
        (("openai", "gpt-4o", 10, None), {}, None),
        (("ollama", "gpt-oss:120b-cloud", 10, 1), {}, None),
        (("openai", "gpt-4o", 10, 1), {"cache_read_tokens": 40}, "price_contradiction"),
        (
            ("openai", "gpt-4o", 10, 1),
            {"cache_read_tokens": 8, "cache_creation_tokens": 8},
            "price_contradiction",
        ),
        (("openai", "gpt-4o", 10, 1), {"reasoning_tokens": 2}, "price_contradiction"),
        (("openai", "gpt-4o-audio-preview", 1_000, 1_000), {}, "price_modality_unknown"),
        (
            ("openai", "gpt-4o-audio-preview", 1_000, 1_000),
            {"input_audio_tokens": 500},
            "price_no_audio_rate",
        ),
        (("google", "gemini-2.5-flash-image", 1_000, 1_000), {}, "price_modality_unknown"),
        (
            ("openai", "gpt-realtime", 1_000, 10),
            {"input_audio_tokens": 600, "cache_read_tokens": 500},
            "price_modality_unknown",
        ),
        (("openai", "whisper-1", 0, 0), {"input_audio_tokens": 0}, "price_no_token_rate"),
        (("openai", "text-embedding-3-small", 10, 1), {}, "price_no_output_rate"),
    ],
)
def test_no_honest_price(args: tuple[Any, ...], fields: dict[str, Any], note: str | None) -> None:
    """What is unknown, contradictory or of another kind has no cost, and the reason is counted."""
    health = Health()
    row = priced(*args, pricer=Pricer(health=health), **fields)
    assert "cost_nanos" not in row
    assert row["cost_source"] == "unpriced"
    assert health.snapshot()["notes"] == ({note: 1} if note else {})
    assert health.snapshot()["faults"] == {}


@pytest.mark.parametrize("provider", ["ollama", "ollama_chat", "llamafile", "LM_Studio"])
def test_local_models_are_free(provider: str) -> None:
    """What runs on the caller's own machine costs nothing, whatever it counted."""
    for counts in ((10, 1), (None, None)):
        row = priced(provider, "llama3.2", *counts)
        assert (row["cost_nanos"], row["cost_source"]) == (0, "free")


def test_a_cache_hit_is_free() -> None:
    """Nothing was sent for a hit, even where the old answer states a cost."""
    row = priced("openai", "gpt-4o", 10, 1, cache_hit=True, cost_nanos=5, cost_source="provider")
    assert (row["cost_nanos"], row["cost_source"]) == (0, "free")


def test_what_the_provider_stated_stands() -> None:
    """A stated cost is not recomputed; one of ours is."""
    row = priced("openai", "gpt-4o", 10_000, 1_000, cost_nanos=5, cost_source="provider")
    assert (row["cost_nanos"], row["cost_source"]) == (5, "provider")
    assert priced("openai", "gpt-4o", 10_000, 1_000, cost_nanos=5)["cost_source"] == "provider"
    row = priced("openai", "gpt-4o", 10_000, 1_000, cost_nanos=5, cost_source="genai_prices", price_model="x")
    assert (dollars(row), row["price_model"]) == ("0.035", "gpt-4o")


# --- names ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("provider", "model", "expected"),
    [
        (None, "gpt-4o", "gpt-4o"),
        (None, "openai/gpt-4o", "gpt-4o"),
        ("litellm", "azure/gpt-4o", "gpt-4o"),
        ("openai", "openai/gpt-4o", "gpt-4o"),
        ("openrouter", "openai/gpt-4o", "openai/gpt-4o"),
        (None, "openrouter/openai/gpt-4o", "openai/gpt-4o"),
        ("azure.ai.inference", "gpt-4o", "gpt-4o"),
        ("azure_ai", "gpt-4o", "gpt-4o"),
        ("google_genai", "models/gemini-2.5-pro", "gemini-2.5-pro"),
        ("google_vertexai", "publishers/google/models/gemini-2.5-pro", "gemini-2.5-pro"),
        ("gcp.gen_ai", "gemini-2.5-pro", "gemini-2.5-pro"),
        ("vertex_ai", "claude-sonnet-4-5@20250929", "claude-sonnet-4-5"),
        ("amazon_bedrock", "amazon.nova-pro-v1:0", "amazon.nova-pro-v1:0"),
        (None, "bedrock/amazon.nova-pro-v1:0", "amazon.nova-pro-v1:0"),
        ("mistralai", "mistral-large-2411", "mistral-large"),
        ("x_ai", "grok-4", "grok-4-0709"),
        ("fireworks_ai", "accounts/fireworks/models/deepseek-v3p2", "deepseek-v3p2"),
        ("OpenAI", "GPT-4o", "gpt-4o"),
    ],
)
def test_spellings_of_providers_and_models(provider: str | None, model: str, expected: str) -> None:
    """OpenTelemetry's, LiteLLM's and LangChain's spellings find the same price."""
    health = Health()
    row = priced(provider, model, 1_000, 1_000, pricer=Pricer(health=health))
    assert row.get("price_model") == expected
    assert health.noted("price_fuzzy_match") == 0


@pytest.mark.parametrize(
    ("provider", "model"), [("google", "gemini-3.8-flash-cyber"), ("mistral", "magistral-small-latest")]
)
def test_a_near_name_is_priced_and_noted(provider: str, model: str) -> None:
    """A price caught by a prefix is given, with the model it is of, and counted as a near miss."""
    health = Health()
    row = priced(provider, model, 1_000, 1_000, pricer=Pricer(health=health))
    assert row["cost_source"] == "genai_prices"
    assert row["price_model"] != model
    assert health.noted("price_fuzzy_match") == 1


def test_every_provider_spelled_is_in_the_price_list() -> None:
    """No alias leads to a provider that the price list has not."""
    known = {provider.id for provider in data_snapshot.get_snapshot().providers}
    assert set(PROVIDERS.values()) <= known


def test_same_model() -> None:
    """Dates, versions and regions make no other model; a suffix with a meaning does."""
    assert is_same_model("gpt-4o-2024-08-06", "gpt-4o")
    assert is_same_model(
        "us.anthropic.claude-sonnet-4-5-20250929-v1:0", "regional.anthropic.claude-sonnet-4-5"
    )
    assert is_same_model("claude-sonnet-4.5", "claude-sonnet-4-5")
    assert not is_same_model("gpt-4o-mini", "gpt-4o")
    assert not is_same_model("grok-4-1", "grok-4")


def test_an_address_tells_the_provider_behind_openais_client() -> None:
    """OpenAI's client talks to many; the host says which price list holds."""
    row = priced("openai", "openai/gpt-4o", 1_000, 1_000, api_base="openrouter.ai")
    assert row["price_model"] == "openai/gpt-4o"


# --- the user's own prices -----------------------------------------------------------------------


def test_overrides_are_dated() -> None:
    """The user's own price comes before every list, from its moment on, and the latest holds."""
    pricer = Pricer(health=Health())
    pricer.register("gpt-4o", input_per_million=1, output_per_million=2, effective_from=date(2026, 1, 1))
    pricer.register(
        "gpt-4o",
        input_per_million="0.5",
        output_per_million=1.5,
        cache_read_per_million=0,
        effective_from=datetime(2026, 6, 1),  # noqa: DTZ001
    )
    fields = {"cache_read_tokens": 400_000, "pricer": pricer}
    before = priced("openai", "gpt-4o", 1_000_000, 0, at=datetime(2025, 12, 31, tzinfo=UTC), **fields)
    first = priced("openai", "gpt-4o", 1_000_000, 0, at=datetime(2026, 1, 1, tzinfo=UTC), **fields)
    second = priced("openai", "gpt-4o", 1_000_000, 0, at=datetime(2026, 6, 1, tzinfo=UTC), **fields)
    assert (before["cost_source"], first["cost_source"]) == ("genai_prices", "override")
    assert (dollars(first), dollars(second)) == ("1", "0.3")
    assert "price_version" not in first


def test_overrides_match_exact_names_and_providers() -> None:
    """A price holds for its exact name; one for the provider comes before one for any."""
    pricer = Pricer(health=Health())
    pricer.register("mine", input_per_million=1, output_per_million=1)
    pricer.register("mine", provider="azure_openai", input_per_million=2, output_per_million=2)
    assert dollars(priced("anyone", "mine", 10**6, 0, pricer=pricer)) == "1"
    assert dollars(priced(None, "mine", 10**6, 0, pricer=pricer)) == "1"
    assert dollars(priced("azure", "mine", 10**6, 0, pricer=pricer)) == "2"
    assert dollars(priced("anyone", "mine-too", 10**6, 0, pricer=pricer)) is None
    assert priced("anyone", "mine", None, None, pricer=pricer)["cost_source"] == "unpriced"
    kept = Pricer(
        health=Health(), overrides=[pricer.register("kept", input_per_million=3, output_per_million=3)]
    )
    assert dollars(priced("anyone", "kept", 10**6, 0, pricer=kept)) == "3"


@pytest.mark.parametrize("amount", [-1, "much", float("nan"), float("inf")])
def test_a_wrong_override_is_refused(amount: Any) -> None:
    """A price that is no price is refused with a sentence."""
    with pytest.raises(ConfigurationError, match="dollars per million"):
        Pricer(health=Health()).register("x", input_per_million=amount, output_per_million=1)


# --- LiteLLM's map -------------------------------------------------------------------------------

ROW = {
    "litellm_provider": "deepinfra",
    "mode": "chat",
    "input_cost_per_token": 2.5e-07,
    "output_cost_per_token": 1e-06,
    "cache_read_input_token_cost": 1e-07,
    "input_cost_per_token_above_128k_tokens": 5e-07,
}


@pytest.fixture
def table(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """LiteLLM as if it were loaded, with a map of our own."""
    module = ModuleType("litellm")
    module.model_cost = {"deepinfra/some/model": dict(ROW)}  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "litellm", module)
    rows: dict[str, Any] = module.model_cost
    return rows


def test_a_row_of_litellm_that_declares_its_rates(table: dict[str, Any]) -> None:
    """What the price list lacks is priced by LiteLLM's map, cache and brackets included."""
    row = priced("deepinfra", "some/model", 10_000, 1_000, cache_read_tokens=4_000)
    assert (dollars(row), row["cost_source"]) == ("0.0029", "litellm_map")
    assert row["price_model"] == "deepinfra/some/model"
    assert row["price_version"].startswith("litellm")
    assert dollars(priced("deepinfra", "some/model", 200_000, 0)) == "0.1"


def test_a_row_of_litellm_that_changes_is_read_again(table: dict[str, Any]) -> None:
    """`litellm.register_model` changes rows in place; and what was no price may become one."""
    pricer = Pricer(health=Health())
    table["deepinfra/some/model"].pop("input_cost_per_token_above_128k_tokens")
    for rate, cost in ((2.5e-07, "0.25"), (3e-07, "0.3"), (0, None), (1e-07, "0.1")):
        table["deepinfra/some/model"].update(input_cost_per_token=rate)
        assert dollars(priced("deepinfra", "some/model", 10**6, 0, pricer=pricer)) == cost
        del table["deepinfra/some/model"]["input_cost_per_token"]
        assert dollars(priced("deepinfra", "some/model", 10**6, 0, pricer=pricer)) is None


def test_litellms_map_knows_rates_that_the_list_lacks(table: dict[str, Any]) -> None:
    """Audio without a rate in the price list is priced by a row that declares one."""
    audio = {
        "input_cost_per_audio_token": 4e-05,
        "output_cost_per_audio_token": 8e-05,
        "litellm_provider": "openai",
    }
    table["gpt-4o-audio-preview"] = {**ROW, **audio}
    row = priced(
        "openai", "gpt-4o-audio-preview", 1_000, 1_000, input_audio_tokens=1_000, output_audio_tokens=0
    )
    assert (dollars(row), row["cost_source"]) == ("0.041", "litellm_map")


@pytest.mark.parametrize(
    "change",
    [
        {"input_cost_per_token": 0, "output_cost_per_token": 0},
        {"output_cost_per_token": None},
        {"tiered_pricing": []},
        {"output_cost_per_reasoning_token": 1e-6},
    ],
)
def test_a_row_of_litellm_that_says_too_little(table: dict[str, Any], change: dict[str, Any]) -> None:
    """Zeros, missing rates and rules that we do not know give no price: LiteLLM's own 0 is no answer."""
    table["deepinfra/some/model"].update(change)
    assert priced("deepinfra", "some/model", 10_000, 1_000)["cost_source"] == "unpriced"


def test_a_row_of_litellm_is_of_its_provider(table: dict[str, Any]) -> None:
    """A row under the bare name of a model is taken only for the provider it is of."""
    table["bare"] = {**ROW, "litellm_provider": "vertex_ai-llama_models"}
    assert priced("deepinfra", "bare", 10, 1)["cost_source"] == "unpriced"
    assert priced("vertex_ai", "bare", 10, 1)["cost_source"] == "litellm_map"
    assert priced(None, "bare", 10, 1)["cost_source"] == "litellm_map"


# --- bounds --------------------------------------------------------------------------------------


def test_names_from_outside_fill_no_cache_of_the_library() -> None:
    """The library keeps every name it was ever asked for; we ask it for none."""
    snapshot = data_snapshot.get_snapshot()
    sizes = [len(snapshot._lookup_cache), len(snapshot._provider_cache), len(snapshot._provider_misses)]
    pricer = Pricer(health=Health())
    for number in range(3_000):
        priced("openai", f"gpt-4o-mini-junk-{number}", 10, 1, pricer=pricer)
        priced(f"junk-{number}", "x", 10, 1, pricer=pricer)
    assert [
        len(snapshot._lookup_cache),
        len(snapshot._provider_cache),
        len(snapshot._provider_misses),
    ] == sizes
    assert pricer._source_of.cache_info().currsize <= 1024


def test_new_data_of_the_library_is_taken() -> None:
    """A program that updates the library's data is priced by the new data at once."""
    bundled = data_snapshot.get_snapshot()
    pricer = Pricer(health=Health())
    assert priced("openai", "gpt-4o", 1_000, 1_000, pricer=pricer)["cost_source"] == "genai_prices"
    data_snapshot.set_custom_snapshot(data_snapshot.DataSnapshot(providers=[], from_auto_update=True))
    try:
        assert priced("openai", "gpt-4o", 1_000, 1_000, pricer=pricer)["cost_source"] != "genai_prices"
    finally:
        data_snapshot.set_custom_snapshot(None)
    assert bundled is data_snapshot.get_snapshot()
    assert dollars(priced("openai", "gpt-4o", 1_000, 1_000, pricer=pricer)) == "0.0125"


@pytest.mark.parametrize(
    "fields",
    [
        {"input_tokens": "x"},
        {"started_at": "yesterday"},
        {"params": 5},
        {"usage_details": 7},
        {"model": {}},
        {"input_tokens": -5},
    ],
)
def test_never_raises(fields: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    """A record that cannot be read is unpriced, and counted as a fault of ours."""
    monkeypatch.setattr(_guard, "STRICT", False)
    row = {**record("openai", "gpt-4o", 10, 1), **fields}
    Pricer(health=Health()).price(row)
    assert row["cost_source"] == "unpriced"
    assert "cost_nanos" not in row


def test_importing_loads_no_price_list() -> None:
    """The price list is loaded by the first price, in the writer's thread."""
    code = "import sys, tokentrail._pricing; assert 'genai_prices' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)


# --- properties ----------------------------------------------------------------------------------

MODELS = [
    (provider.id, model.id)
    for provider in data_snapshot.get_snapshot().providers
    if provider.id
    in ("openai", "anthropic", "google", "mistral", "deepseek", "x-ai", "aws", "groq", "perplexity", "cohere")
    for model in provider.models
]


@given(
    st.sampled_from(MODELS),
    st.integers(0, 2_000_000),
    st.integers(0, 300_000),
    st.floats(0, 1),
    st.floats(0, 1),
    st.floats(0, 1),
    st.datetimes(datetime(2023, 1, 1), datetime(2027, 6, 1)),  # noqa: DTZ001
    st.sampled_from([None, "flex", "priority"]),
)
@settings(max_examples=300, deadline=None)
def test_memoised_rates_are_the_librarys_own(
    pair: tuple[str, str],
    given: int,
    taken: int,
    read: float,
    written: float,
    longer: float,
    moment: datetime,
    tier: str | None,
) -> None:
    """At any moment and for any counts, our price is the library's `calc_price`, rounded to a nano-dollar."""
    provider, model = pair
    moment = moment.replace(tzinfo=UTC)
    cached = int(given * read)
    creation = int((given - cached) * written)
    hour = int(creation * longer)
    row = priced(
        provider, model, given, taken, pricer=SHARED, at=moment,
        cache_read_tokens=cached, cache_creation_tokens=creation, input_audio_tokens=0, output_audio_tokens=0,
        usage_details={"ephemeral_1h_input_tokens": hour}, params={"service_tier": tier},
    )  # fmt: skip
    assume(row["cost_source"] == "genai_prices")
    usage = PricedUsage(
        input_tokens=given, output_tokens=taken, cache_read_tokens=cached, cache_write_tokens=creation,
        cache_write_1h_tokens=hour, input_audio_tokens=0, output_audio_tokens=0,
    )  # fmt: skip
    context = {"service_tier": tier} if tier else None
    price = calc_price(
        usage, model, provider_id=provider, genai_request_timestamp=moment, price_context=context
    )
    assert row["price_model"] == price.model.id
    assert row["cost_nanos"] == in_nanos(price.total_price)
    assert row["input_cost_nanos"] == in_nanos(price.input_price)
    assert row["output_cost_nanos"] == in_nanos(price.output_price)


SHARED = Pricer(health=Health())


def in_nanos(price: Decimal) -> int:
    return int(price.scaleb(9).quantize(Decimal(1), ROUND_HALF_UP))


MOMENTS = st.sampled_from([datetime(year, 6, 10, tzinfo=UTC) for year in (2024, 2025, 2026)])
COUNTS = st.integers(0, 300_000)
OWN_PRICES = st.builds(
    override,
    st.sampled_from(["gpt-4o", "gpt-4*", "o3"]),
    st.sampled_from([None, "openai"]),
    st.builds(dict, input_per_million=st.integers(1, 9), output_per_million=st.just("2.5"))
    | st.builds(dict, per_request=st.floats(0.01, 1)),
    st.sampled_from([None, "2025-06-10"]),
    st.sampled_from([None, "2026-06-10"]),
)
CALLS = st.builds(
    lambda pair, given, taken, **fields: record(*pair, given, taken, **fields),
    st.sampled_from([("openai", "gpt-4o"), ("openai", "o3"), ("azure", "gpt-4o"), ("ollama", "gpt-4o")]),
    COUNTS,
    COUNTS,
    at=MOMENTS,
    cache_read_tokens=st.one_of(st.none(), COUNTS),
    reasoning_tokens=st.one_of(st.none(), COUNTS),
    requested_model=st.sampled_from([None, "o3"]),
    params=st.sampled_from([None, {"service_tier": "flex"}]),
    api_base=st.sampled_from([None, "api.groq.com"]),
)


@given(st.lists(st.one_of(CALLS, OWN_PRICES), min_size=10, max_size=40))
@settings(max_examples=100, deadline=None)
def test_what_is_remembered_never_grows_stale(steps: list[Any]) -> None:
    """Whatever was priced and registered before, a call has the price that one who knows nothing finds."""
    health, fresh_health = Health(), Health()
    pricer, own = Pricer(health=health), []
    for step in steps:
        if isinstance(step, Override):
            pricer.register_and_keep(step)
            own.append(step)
            continue
        remembered, found = dict(step), dict(step)
        pricer.price(remembered)
        Pricer(health=fresh_health, overrides=own).price(found)
        assert remembered == found
    assert health.snapshot() == fresh_health.snapshot()


def test_many_at_once_are_priced_as_one_by_one(monkeypatch: pytest.MonkeyPatch) -> None:
    """One that cannot be read costs only itself its price."""
    monkeypatch.setattr(_guard, "STRICT", False)
    health = Health()
    rows = [record("openai", "gpt-4o", given, 1) for given in (10, "x", 20, 30, None, "y")]
    Pricer(health=health).price(*rows)
    assert [dollars(row) for row in rows] == ["0.000035", None, "0.00006", "0.000085", None, None]
    assert {row["cost_source"] for row in rows} == {"genai_prices", "unpriced"}


@given(st.sampled_from(MODELS), st.integers(0, 10**6), st.integers(0, 10**6), st.integers(0, 2 * 10**6))
@settings(max_examples=150, deadline=None)
def test_a_contradiction_has_no_cost(pair: tuple[str, str], given: int, taken: int, cached: int) -> None:
    """More cache than input never has a price; otherwise a price is never negative."""
    row = priced(*pair, given, taken, pricer=SHARED, cache_read_tokens=cached, input_audio_tokens=0)
    if cached > given:
        assert row.get("cost_nanos") is None
    assert row.get("cost_nanos", 0) >= 0


@given(st.text(max_size=30), st.text(max_size=30))
def test_spellings_of_anything(provider: str, model: str) -> None:
    """Any name has spellings, the name itself among them."""
    assert model in spellings(provider, model)[1] or model.partition("/")[2] in spellings(provider, model)[1]
