"""What may reach the disk."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tokentrail._redact import clean_json, clean_name, clean_payload, clean_text, host_of

SECRETS = [
    "Authorization: Bearer canary.canary-canary",
    "Incorrect API key provided: sk-proj-canarycanarycanary",
    "AKIACANARYCANARY1234",
    "https://user:canary@example.com/x",
    "postgresql+psycopg://me:canary@db/x",
    "?api_key=canarycanary&x=1",
    "token=canarycanary",
    "ghp_canarycanarycanary",
    "eyJcanarycanary.eyJcanarycanary.canary",
    "-----BEGIN RSA PRIVATE KEY-----\ncanary\n-----END RSA PRIVATE KEY-----",
]


@pytest.mark.parametrize("text", SECRETS)
def test_secrets_in_text_are_blanked(text: str) -> None:
    """A secret inside a message is recognised by its form."""
    assert "canary" not in clean_text(f"failed: {text} (see log)").lower()


@pytest.mark.parametrize("text", SECRETS)
@pytest.mark.parametrize("cut", range(0, 60, 7))
def test_a_cut_through_a_secret_leaves_none_of_it(text: str, cut: int) -> None:
    """Where the limit falls inside a secret, its beginning is blanked too."""
    assert "canary" not in clean_text("x " * 20 + text, 40 + cut).lower()


@pytest.mark.parametrize(
    "name",
    ["api_key", "API-Key", "x-api-key", "authorization", "password", "access_token", "token", "client_secret",
     "aws_secret_access_key", "Cookie", "auth_token", "private_key"],
)  # fmt: skip
def test_secrets_are_known_by_name(name: str) -> None:
    """A value under a telling name is blanked whatever it looks like, at any depth."""
    assert "canary" not in json.dumps(clean_json({"a": [{name: "canary"}]}))


def test_counts_of_tokens_are_no_secrets() -> None:
    """`max_tokens` and its kind stay."""
    assert clean_json({"max_tokens": 5, "total_tokens": 7}) == {"max_tokens": 5, "total_tokens": 7}


class Hostile:
    """An object whose every text raises."""

    def __str__(self) -> str:
        raise RuntimeError

    __repr__ = __str__


def _deep() -> Any:
    value: Any = "end"
    for _ in range(100_000):
        value = [value]
    return value


def _circle() -> Any:
    value: dict[str, Any] = {}
    value["self"] = value
    return value


@pytest.mark.parametrize(
    "value",
    [Hostile(), {Hostile(): 1}, [Hostile()], _deep(), _circle(), {1: 2, None: 3}, float("nan"), 10**400,
     "\ud800 lone", "nul\0", {"k" * 10_000: "v" * 10_000_000}, list(range(100_000)), b"\xff"],
)  # fmt: skip
def test_hostile_values_become_bounded_json(value: Any) -> None:
    """Whatever comes in, JSON of modest size comes out."""
    text = json.dumps(clean_json(value), ensure_ascii=False)
    assert len(text) < 1_000_000
    text.encode("utf-8")
    assert "\\u0000" not in text


@given(st.text())
def test_names_are_storable(text: str) -> None:
    """A name is cut, has no NUL and encodes as UTF-8; a harmless one is unchanged."""
    name = clean_name(text)
    assert len(name) <= 512
    name.encode("utf-8")
    assert "\0" not in name
    if "\0" not in text and len(text) <= 512 and not any(0xD800 <= ord(char) < 0xE000 for char in text):
        assert name == text


def test_payload_is_cut_to_its_limit() -> None:
    """A captured payload is JSON text of at most the limit; whole when it fits."""
    assert clean_payload({"a": "é"}, 100) == '{"a":"é"}'
    assert len(clean_payload({"a": "x" * 10_000}, 100)) <= 100


@pytest.mark.parametrize(
    ("url", "host"),
    [("https://user:pw@api.openai.com/v1?key=1", "api.openai.com"), ("http://127.0.0.1:80/x", "127.0.0.1:80"),
     ("api.openai.com", "api.openai.com")],
)  # fmt: skip
def test_only_the_host_of_a_url_is_kept(url: str, host: str) -> None:
    """No path, query or credentials."""
    assert host_of(url) == host
