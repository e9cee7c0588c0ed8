"""normalize_usage: any payload becomes one Usage, and what is unknown stays unknown."""

from __future__ import annotations

import contextlib
import copy
import json
import pickle
import sys
import time
from collections import ChainMap, UserDict, namedtuple
from collections.abc import Iterator, Mapping
from decimal import Decimal
from types import MappingProxyType, SimpleNamespace
from typing import Any
from unittest.mock import MagicMock, Mock

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from payloads import Dumped, as_object, as_pydantic, build, cases
from tokentrail._counts import read
from tokentrail._normalize import normalize_usage
from tokentrail._payloads import find
from tokentrail._plain import PREDICTIONS, plain_counts
from tokentrail._shapes import DETAIL_KEYS, DETAILS, SHAPES, WHOLE_KEYS, WRAPPERS
from tokentrail._usage import COUNTS, Usage
from tokentrail._wholes import settle

FULL = {
    "prompt_tokens": 120,
    "completion_tokens": 37,
    "total_tokens": 157,
    "prompt_tokens_details": {"cached_tokens": 64, "audio_tokens": 3},
    "completion_tokens_details": {"reasoning_tokens": 21, "audio_tokens": 2, "accepted_prediction_tokens": 1},
}
FULL_USAGE = Usage(120, 37, 157, 64, None, 21, 3, 2, {"accepted_prediction_tokens": 1})


def counts_of(usage: Usage, names: Mapping[str, Any]) -> dict[str, Any]:
    return {name: list(usage.flags) if name == "flags" else getattr(usage, name) for name in names}


# --- the cases -----------------------------------------------------------------------------------


def normalize_inputs() -> Iterator[Any]:
    for case in cases("normalize"):
        usage, shape = case["input"]["usage"], case["input"]["shape"]
        yield pytest.param(usage, shape, case["expected"], id=case["name"])
        if case["name"] in ("nan", "infinity"):
            floats = {key: float(value) if isinstance(value, str) else value for key, value in usage.items()}
            yield pytest.param(floats, shape, case["expected"], id=f"{case['name']}-float")


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(("usage", "shape", "expected"), list(normalize_inputs()))
def test_normalize_cases(usage: Any, shape: str, expected: dict[str, Any]) -> None:
    """Every case of normalize.json has its counts and flags, in the form that the case names."""
    if shape == "litellm.Usage":
        payload = pytest.importorskip("litellm").Usage(**usage)
    else:
        payload = (
            {"dict": dict, "object": as_object, "model_dump": Dumped}[shape](usage)
            if isinstance(usage, dict)
            else usage
        )
    assert counts_of(normalize_usage(payload), expected) == expected


@pytest.mark.parametrize(
    "form", [build, lambda raw: as_object(build(raw)), lambda raw: as_pydantic(build(raw))]
)
@pytest.mark.parametrize(
    ("raw", "expected"),
    [
        pytest.param(case["raw"], case["expected"], id=case["name"])
        for case in cases("usage_shapes")
        if "chunks" not in case
    ],
)
def test_usage_shapes(raw: Any, expected: dict[str, Any] | None, form: Any) -> None:
    """Every shape means the same as mapping, as attributes and as pydantic model."""
    usage = normalize_usage(form(raw))
    if expected is None:
        assert not usage.reported
        assert counts_of(usage, dict.fromkeys(COUNTS)) == dict.fromkeys(COUNTS)
    else:
        assert counts_of(usage, expected) == expected


# --- shapes --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("raw", "shape", "expected"),
    [
        pytest.param(case["raw"], case["shape"], case["expected"], id=case["name"])
        for case in cases("more_shapes")
    ],
)
def test_named_and_told_shapes(raw: Any, shape: str | None, expected: dict[str, Any]) -> None:
    """A named shape decides what the keys mean unless none of its words is there; else keys and sums tell."""
    for form in (build, as_object, as_pydantic):
        assert counts_of(normalize_usage(form(raw), shape=shape), expected) == expected


def test_details_hold_counts_only() -> None:
    """Further counts are kept by name; times, latencies and prices are none."""
    usage = normalize_usage(
        {
            "prompt_tokens": 120,
            "completion_tokens": 37,
            "total_tokens": 157,
            "prompt_time": 2,
            "queue_time": 1,
            "total_latency": 3,
            "cost": 1,
            "cost_in_usd_ticks": 5,
            "max_tokens": 100,
            "num_sources_used": 3,
            "prompt_tokens_details": {"image_tokens": 5, "text_tokens": 115, "cached_tokens": None},
            "completion_tokens_details": {"text_tokens": 37, "rejected_prediction_tokens": 0},
            "server_tool_use": {"web_search_requests": 2},
        }
    )
    assert usage.details == {
        "num_sources_used": 3,
        "input_image_tokens": 5,
        "input_text_tokens": 115,
        "output_text_tokens": 37,
        "web_search_requests": 2,
    }


def test_gemini_modalities() -> None:
    """Gemini's lists of modalities give audio its column and the others a detail."""
    usage = normalize_usage(
        {
            "promptTokenCount": 120,
            "candidatesTokenCount": 37,
            "totalTokenCount": 157,
            "promptTokensDetails": [
                {"modality": "TEXT", "tokenCount": 100},
                {"modality": "AUDIO", "tokenCount": 20},
            ],
            "candidatesTokensDetails": [{"modality": "IMAGE", "tokenCount": 30}],
        }
    )
    assert (usage.input_audio_tokens, usage.output_audio_tokens) == (20, None)
    assert usage.details == {"input_text_tokens": 100, "output_image_tokens": 30}


# --- where the usage is --------------------------------------------------------------------------


@pytest.mark.parametrize(
    "payload",
    [
        {"usage": FULL},
        {"id": "x", "choices": [], "usage": {"usage": FULL}},
        {"token_usage": FULL, "model_name": "m"},
        {"message": {"usage": FULL}},
        {"response": {"usage": FULL}},
        {"llm_output": {"token_usage": FULL}},
        {"x_groq": {"id": "x", "usage": FULL}},
        {"generations": [[{"message": {"response_metadata": {"body": {"usage": FULL}}}}]]},
        {"usage": "broken", "token_usage": FULL},
        SimpleNamespace(usage=SimpleNamespace(**FULL)),
        SimpleNamespace(completion={"usage": FULL}),
        Dumped({"usage": FULL}),
        namedtuple("Answer", "usage")(FULL),
        Mock(usage=Mock(**FULL)),
    ],
)
def test_usage_is_found_in_whole_responses(payload: object) -> None:
    """Whole responses, messages, errors and results are searched at every known place."""
    assert normalize_usage(payload) == FULL_USAGE


def test_langchain_objects() -> None:
    """LangChain's messages and results: the first generation speaks for all, raw usage fills blanks."""
    messages = pytest.importorskip("langchain_core.messages")
    outputs = pytest.importorskip("langchain_core.outputs")
    metadata = {"input_tokens": 120, "output_tokens": 37, "total_tokens": 157}
    plain = Usage(120, 37, 157)
    message = messages.AIMessage("x", usage_metadata=metadata)
    twice = [outputs.ChatGeneration(message=message), outputs.ChatGeneration(message=message)]
    assert normalize_usage(message) == plain
    assert normalize_usage(outputs.LLMResult(generations=[twice])) == plain
    mistral = messages.AIMessage("x", usage_metadata=metadata, response_metadata={"token_usage": FULL})
    assert normalize_usage(mistral).cache_read_tokens == 64
    other = messages.AIMessage(
        "x", usage_metadata=metadata, response_metadata={"token_usage": {**FULL, "prompt_tokens": 9}}
    )
    assert normalize_usage(other) == plain
    ollama = {"model": "llama", "prompt_eval_count": 120, "eval_count": 37, "total_duration": 5}
    assert normalize_usage(messages.AIMessage("x", response_metadata=ollama))[:3] == (120, 37, 157)
    old = outputs.LLMResult(generations=[[outputs.Generation(text="x")]], llm_output={"token_usage": FULL})
    assert normalize_usage(old) == FULL_USAGE
    both = outputs.LLMResult(generations=[twice], llm_output={"token_usage": {"prompt_tokens": 1}})
    assert normalize_usage(both) == plain
    cohere = messages.AIMessage(
        "x", response_metadata={"token_count": {"input_tokens": 120.0, "output_tokens": 37.0}}
    )
    assert normalize_usage(cohere)[:3] == (120, 37, 157)
    failed = outputs.LLMResult(generations=[[]])
    assert normalize_usage(failed).flags == ("missing_usage",)


@pytest.mark.filterwarnings("ignore")
def test_litellm_objects() -> None:
    """LiteLLM's Usage includes the cache even under Anthropic's names, in its response too."""
    types = pytest.importorskip("litellm.types.utils")
    usage = types.Usage(
        prompt_tokens=120,
        completion_tokens=37,
        total_tokens=157,
        cache_read_input_tokens=64,
        cache_creation_input_tokens=16,
    )
    expected = Usage(120, 37, 157, 64, 16)
    assert normalize_usage(usage) == expected
    assert normalize_usage(types.ModelResponse(usage=usage)) == expected


# --- rubbish -------------------------------------------------------------------------------------


class Raising:
    """An object of which nothing can be read."""

    def __getattribute__(self, name: str) -> Any:
        raise RuntimeError(name)


class HalfRaising:
    """An object with one bad property among good ones."""

    @property
    def prompt_tokens(self) -> int:
        raise RuntimeError

    @property
    def completion_tokens(self) -> int:
        return 8


class RaisingMapping(dict[str, Any]):
    """A mapping that cannot be walked."""

    def __iter__(self) -> Iterator[str]:
        raise RuntimeError

    def items(self) -> Any:
        raise RuntimeError


class BadDump:
    """An object whose dump fails; its properties are still there."""

    def model_dump(self) -> dict[str, Any]:
        raise RuntimeError

    @property
    def prompt_tokens(self) -> int:
        return 5


class Slots:
    """An object without `__dict__`."""

    __slots__ = ("completion_tokens", "prompt_tokens")

    def __init__(self) -> None:
        self.prompt_tokens, self.completion_tokens = 5, 8


@pytest.mark.parametrize("payload", ["x", "", b"x", 5, 1.5, True, [], [FULL], (1, 2), {1, 2}, int, object()])
def test_what_has_no_fields_is_flagged(payload: object) -> None:
    """Text, numbers, lists and objects without fields are no usage, and say so."""
    assert normalize_usage(payload) == Usage(flags=("usage_not_mapping",))


@pytest.mark.parametrize(
    "payload", [None, {}, {"usage": None}, {"usage": {}}, {"a": 1}, {1: 2}, MagicMock(), sys]
)
def test_what_has_no_counts_is_missing(payload: object) -> None:
    """Nothing there is missing: no count is made up, not even from a mock that answers to any name."""
    assert normalize_usage(payload) == Usage(flags=("missing_usage",))


def test_hostile_objects() -> None:
    """Objects that raise, hide their fields, or hold themselves cost only themselves."""
    assert normalize_usage(Raising()).flags == ("usage_not_mapping",)
    assert normalize_usage(HalfRaising())[:3] == (None, 8, 8)
    assert normalize_usage(Slots())[:3] == (5, 8, 13)
    assert normalize_usage(BadDump())[:3] == (5, None, 5)
    for mapping in (MappingProxyType(FULL), UserDict(FULL), ChainMap(FULL)):
        assert normalize_usage(mapping) == FULL_USAGE
    assert normalize_usage(RaisingMapping(prompt_tokens=5)).flags == ("usage_not_mapping",)
    assert normalize_usage({"prompt_tokens": 5, "usage": Raising()})[:3] == (5, None, 5)
    circle: dict[str, Any] = {}
    circle["usage"] = circle["message"] = circle
    assert not normalize_usage(circle).reported
    deep: dict[str, Any] = FULL
    for _ in range(50):
        deep = {"usage": deep}
    assert not normalize_usage(deep).reported
    wide = {f"key_{number}": number for number in range(100_000)}
    started = time.thread_time()
    assert not normalize_usage(wide).reported
    assert time.thread_time() - started < 0.1


@pytest.mark.parametrize(
    ("value", "number", "flag"),
    [
        (2**63 - 1, 2**63 - 1, None),
        (2**63, None, "invalid"),
        (10**5000, None, "invalid"),
        ("1" * 5000, None, "invalid"),
        (1e300, None, "invalid"),
        (Decimal(12), 12, None),
        (Decimal("nan"), None, "invalid"),
        ("12.9", 12, None),
        ("", None, "invalid"),
        ("NaN", None, "invalid"),
        ("-Infinity", None, "invalid"),
        ({}, None, "invalid"),
        ([], None, "invalid"),
        ([None, 3, "7", "x"], 7, None),
        (b"12", None, "invalid"),
        (-0.5, None, "negative"),
        (-0.0, 0, None),
        ("-5", None, "negative"),
        (True, None, "invalid"),
    ],
    ids=lambda value: type(value).__name__,
)
def test_what_counts(value: object, number: int | None, flag: str | None) -> None:
    """What can be a count is one; what cannot costs only its own field, with a flag that names it."""
    usage = normalize_usage({"prompt_tokens": value})
    assert usage.input_tokens == number
    assert [name for name in usage.flags if name.endswith(":input_tokens")] == (
        [f"{flag}:input_tokens"] if flag else []
    )


def test_sums_beyond_a_column() -> None:
    """Two counts that fit and whose sum does not leave the total unknown."""
    usage = normalize_usage({"prompt_tokens": 2**63 - 1, "completion_tokens": 2**63 - 1})
    assert usage.total_tokens is None
    assert "invalid:total_tokens" in usage.flags


def test_usage_is_plain_data() -> None:
    """A Usage can be compared, hashed, copied and pickled, with and without details."""
    for usage in (Usage(), FULL_USAGE, normalize_usage(FULL)):
        assert pickle.loads(pickle.dumps(usage)) == usage == copy.deepcopy(usage)
    assert len({FULL_USAGE, normalize_usage(FULL), Usage()}) == 2
    assert (FULL_USAGE.prompt_tokens, FULL_USAGE.completion_tokens) == (120, 37)


# --- properties ----------------------------------------------------------------------------------

numbers = (
    st.none()
    | st.integers(-2, 50)
    | st.integers(0, 10**20)
    | st.booleans()
    | st.floats()
    | st.text(max_size=5)
    | st.sampled_from(["12", " 7 ", "nan", "inf", "1e3"])
    | st.lists(st.integers(0, 9), max_size=3)
)
names = st.sampled_from(
    [*WHOLE_KEYS, *DETAIL_KEYS, "audio", "flex", "flex_cache_read", "ephemeral_5m_input_tokens"]
)
flat = st.dictionaries(names, numbers, max_size=6)
nested = st.sampled_from([*DETAILS, *WRAPPERS, "tokens", "billed_units", "generations", "cache_creation"])
usages = st.builds(
    lambda wholes, inner: {**inner, **wholes},
    flat,
    st.dictionaries(nested, flat | st.lists(flat, max_size=2) | numbers, max_size=3),
)
anything = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8) | st.binary(max_size=4),
    lambda inner: (
        st.lists(inner, max_size=4) | st.dictionaries(names | nested | st.text(max_size=6), inner, max_size=6)
    ),
    max_leaves=25,
)
shapes = st.none() | st.sampled_from([*SHAPES, "no such shape"])


@given(anything | usages, shapes, st.sampled_from([lambda value: value, as_object, as_pydantic]))
@settings(max_examples=400)
def test_never_raises_and_always_means_something(payload: Any, shape: str | None, form: Any) -> None:
    """Any value gives a Usage of sound counts, and normalising that changes nothing."""
    with contextlib.suppress(TypeError, ValueError, NameError):  # keys that are no names
        payload = form(payload)
    usage = normalize_usage(payload, shape=shape)
    assert all(count is None or (type(count) is int and 0 <= count < 2**63) for count in usage[:8])
    assert all(type(count) is int and 0 < count < 2**63 for count in usage.details.values())
    assert list(usage.flags) == sorted(set(usage.flags))
    assert normalize_usage(usage) is usage
    json.dumps([usage[:8], dict(usage.details), usage.flags])


@given(usages, shapes)
@settings(max_examples=400)
def test_wholes_hold_their_parts(payload: Any, shape: str | None) -> None:
    """No part is larger than its whole, and the total is never less than input plus output."""
    usage = normalize_usage(payload, shape=shape)
    known = {name: getattr(usage, name) for name in COUNTS if getattr(usage, name) is not None}
    for whole, parts in (
        ("input_tokens", ("cache_read_tokens", "cache_creation_tokens")),
        ("input_tokens", ("input_audio_tokens",)),
        ("output_tokens", ("reasoning_tokens",)),
        ("output_tokens", ("output_audio_tokens",)),
    ):
        if whole in known:
            assert sum(known.get(part, 0) for part in parts) <= known[whole]
    if "total_tokens" in known:
        assert known["total_tokens"] >= known.get("input_tokens", 0) + known.get("output_tokens", 0)
    if usage.reported and "invalid:total_tokens" not in usage.flags:
        assert "total_tokens" in known
    assert usage.reported is not ("missing_usage" in usage.flags or "usage_not_mapping" in usage.flags)


@given(
    st.dictionaries(names, st.none(), max_size=6),
    st.dictionaries(nested, st.none() | st.just({}), max_size=3),
    shapes,
)
def test_absence_is_never_zero(wholes: Any, inner: Any, shape: str | None) -> None:
    """A payload without any count has none: nothing becomes 0."""
    assert normalize_usage({**wholes, **inner}, shape=shape)[:8] == (None,) * 8


count = st.integers(0, 60) | st.integers(0, 2**64)
odd = st.none() | st.integers(-1, 60) | st.sampled_from([True, 1.0, "3"])
plain_openai = st.fixed_dictionaries(
    {"prompt_tokens": count, "completion_tokens": count},
    optional={
        "total_tokens": count,
        "prompt_tokens_details": st.none() | st.dictionaries(
            st.sampled_from(["cached_tokens", "audio_tokens", "cache_write_tokens", "text_tokens"]), odd
        ),
        "completion_tokens_details": st.none() | st.dictionaries(
            st.sampled_from(["reasoning_tokens", "audio_tokens", *PREDICTIONS]), odd
        ),
        "cached_tokens": odd,
    },
)  # fmt: skip
plain_langchain = st.fixed_dictionaries(
    {"input_tokens": count, "output_tokens": count},
    optional={
        "total_tokens": count,
        "input_token_details": st.none() | st.dictionaries(
            st.sampled_from(["cache_read", "cache_creation", "audio", "flex_cache_read"]), odd
        ),
        "output_token_details": st.none() | st.dictionaries(
            st.sampled_from(["reasoning", "audio", "flex"]), odd
        ),
        "total_cost": st.just(0),
    },
)  # fmt: skip


def with_right_total(payload: dict[str, Any]) -> dict[str, Any]:
    wholes = ("prompt_tokens", "completion_tokens", "input_tokens", "output_tokens")
    return {**payload, "total_tokens": sum(payload.get(key, 0) for key in wholes)}


@given(
    (plain_openai | plain_langchain).flatmap(
        lambda payload: st.sampled_from([payload, with_right_total(payload)])
    ),
    st.sampled_from([None, "openai", "litellm", "langchain"]),
)
@settings(max_examples=500)
def test_the_short_way_knows_nothing_the_tables_do_not(payload: dict[str, Any], shape: str | None) -> None:
    """Where the short way answers, the tables give the very same answer."""
    answer = plain_counts(payload, shape)
    if answer is not None:
        assert Usage(**answer) == settle(read(find(payload, shape)))


@pytest.mark.parametrize(
    "payload",
    [
        {"prompt_tokens": 120, "completion_tokens": 37, "total_tokens": 157},
        {
            **FULL,
            "completion_tokens_details": {"reasoning_tokens": 21, "accepted_prediction_tokens": 0},
        },
        {
            "input_tokens": 120,
            "output_tokens": 37,
            "total_tokens": 157,
            "input_token_details": {"cache_read": 64},
        },
    ],
)
def test_the_usual_payloads_take_the_short_way(payload: dict[str, Any]) -> None:
    """The payloads of nearly all calls are answered without the tables."""
    assert plain_counts(payload, None) is not None
