"""The routes answer what `Stats` answers, and say what is wrong in a sentence."""

from __future__ import annotations

import json
import sys
import uuid
from datetime import datetime
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml
from fastapi import Depends, FastAPI, HTTPException

from server_rig import TOKEN, USAGE, client_of
from tokentrail import Stats, Tracker, context
from tokentrail._export import KINDS
from tokentrail._stats._catalog import STATS
from tokentrail.errors import ConfigurationError, MissingExtraError
from tokentrail.server import Access, create_app, create_router

API = "/api/v1"
CASES = json.loads((Path(__file__).parent.parent / "cases" / "http.json").read_text(encoding="utf-8"))
PATHS = {"bucket": "token-statistics", "limit": "llm-calls", "startTime": "detailed-stats"}


@pytest.mark.parametrize("case", CASES, ids=lambda case: case["name"])
async def test_the_seeds_cases(asker: httpx.AsyncClient, case: dict[str, Any]) -> None:
    """What the seeds answered with a 500, or with the whole table."""
    (name,) = case["input"]
    answer = await asker.get(f"{API}/{PATHS[name]}?{name}={case['input'][name]}")
    if "equals" in case["expected"]:
        assert answer.json()["start_date"] == case["expected"]["equals"]
    else:
        assert answer.status_code == case["expected"]["http"]
        assert answer.json()["detail"].startswith(f"{name}:")


SIMPLE = [each for each in STATS.values() if not any(parameter.required for parameter in each.parameters)]


@pytest.mark.parametrize("statistic", SIMPLE, ids=lambda each: each.name)
async def test_every_statistic_is_answered_as_python_does(
    asker: httpx.AsyncClient, still_tracker: Tracker, statistic: Any
) -> None:
    """The table of statistics is the table of routes, and the answers are the same models."""
    if statistic.path == "running-totals":
        pytest.skip("told by the tracker")
    still_tracker.flush()
    answer = await asker.get(f"{API}/{statistic.path}")
    assert answer.status_code == 200, answer.text
    expected = statistic.ask(Stats(still_tracker.database_url)).model_dump(mode="json")
    found = answer.json()
    assert _lasting(found) == _lasting(expected)


def _lasting(answer: Any) -> Any:
    """Without what a clock changes."""
    if isinstance(answer, dict):
        return {name: _lasting(value) for name, value in answer.items() if name not in ("now", "as_of")}
    return [_lasting(each) for each in answer] if isinstance(answer, list) else answer


WRONG = (
    ("llm-calls", "limit=0"), ("llm-calls", "limit=1.5"), ("llm-calls", "limit=NaN"), ("llm-calls", "limit="),
    ("llm-calls", "limit=1&limit=2"), ("llm-calls", "offset=-1"), ("llm-calls", "cursor=nonsense"),
    ("llm-calls", "is_streaming=perhaps"), ("llm-calls", "modle=gpt"), ("llm-calls", "provider="),
    ("llm-calls", "user_id=%00"), ("overview", "start=yesterday"), ("overview", "start=0000-01-01"),
    ("overview", "end=10000-01-01"), ("overview", "end=2026-13-01"), ("overview", "tz=Mars/Olympus"),
    ("overview", "start=2026-02-01&end=2026-01-01"), ("breakdown", "by=prompt"), ("breakdown", "by=model,x"),
    ("breakdown", "order=-nothing"), ("timeseries", "granularity=fortnight"),
    ("timeseries", "granularity=minute&start=1926-01-01&end=2026-01-01"), ("token-statistics", "bucket=x"),
    ("export", "type=secrets"), ("export", "format=exe"), ("export", "limit=-1"), ("active", "limit=x"),
    ("recent/traces", "limit=-5"), ("recent/errors", "since=99999999999999999999"),
    ("running-totals", "format=xml"), ("running-totals", "include_active=2"), ("active/stream", "limit=1"),
)  # fmt: skip


@pytest.mark.parametrize(("path", "query"), WRONG)
async def test_what_is_wrong_is_named(asker: httpx.AsyncClient, path: str, query: str) -> None:
    """422, and a sentence that begins with the parameter."""
    answer = await asker.get(f"{API}/{path}?{query}")
    assert answer.status_code == 422, answer.text
    names = {part.partition("=")[0] for part in query.split("&")}
    assert answer.json()["detail"].partition(":")[0] in names


@pytest.mark.parametrize(
    ("path", "allowed"), [("feedback", "GET, POST"), ("calls", "POST"), ("llm-calls/some-id", "GET")]
)
async def test_a_method_that_is_not_there(asker: httpx.AsyncClient, path: str, allowed: str) -> None:
    """405 names all that are, also where they are routes of their own."""
    answer = await asker.options(f"{API}/{path}")
    assert (answer.status_code, answer.headers["allow"]) == (405, allowed)


async def test_limits_are_clamped_and_echoed(asker: httpx.AsyncClient) -> None:
    """Too much is taken for the most there is."""
    for text in ("20000", "1" + "0" * 20):
        assert (await asker.get(f"{API}/llm-calls", params={"limit": text})).json()["limit"] == 10_000
    far = await asker.get(f"{API}/llm-calls", params={"offset": "1000000000000000000000"})
    assert (far.json()["items"], far.json()["offset"], far.json()["total"]) == ([], 1_000_000, 5)


async def test_names_of_the_seeds_are_understood(asker: httpx.AsyncClient) -> None:
    """camelCase, repeated, with wildcards, in any case."""
    found = await asker.get(f"{API}/llm-calls?sessionId=none&sessionId=SHAR*&model=GPT-*&isStreaming=false")
    assert found.json()["total"] == 4
    assert (await asker.get(f"{API}/breakdown?by=provider,model")).json()["by"] == ["provider", "model"]


async def test_pages_never_overlap(client: httpx.AsyncClient, tracker: Tracker) -> None:
    """Also where many calls began at the same moment, and while more are written."""
    moment = {"started_at": "2026-01-01T00:00:00Z"}
    for _ in range(20):
        tracker.record(model="tied", usage=USAGE, started_at=_at(moment["started_at"]))
    seen: list[str] = []
    asked: dict[str, Any] = {"limit": 3, "model": "tied"}
    while True:
        page = (await client.get(f"{API}/llm-calls", params=asked)).json()
        seen += [item["id"] for item in page["items"]]
        tracker.record(model="tied", usage=USAGE)
        if page["next_cursor"] is None:
            break
        asked["cursor"] = page["next_cursor"]
    assert len(seen) == len(set(seen)) == 20
    assert seen == sorted(seen, reverse=True)
    by_offset = (await client.get(f"{API}/llm-calls?model=tied&end=2026-02-01&offset=3&limit=3")).json()
    assert [item["id"] for item in by_offset["items"]] == seen[3:6]


def _at(text: str) -> Any:
    return datetime.fromisoformat(text)


async def test_single_calls(asker: httpx.AsyncClient) -> None:
    """By id; one that is not there is 404 with a sentence."""
    page = (await asker.get(f"{API}/errors")).json()
    assert [item["error_type"] for item in page["items"]] == ["RateLimitError"]
    call = (await asker.get(f"{API}/llm-calls/{page['items'][0]['call_id']}")).json()
    assert {name: call[name] for name in ("id", "started_at", "error_type")} == {
        name: page["items"][0][name] for name in ("id", "started_at", "error_type")
    }
    assert (await asker.get(f"{API}/llm-calls/none")).status_code == 404
    assert (await asker.get(f"{API}/llm-calls/%00")).status_code in (404, 422)


async def test_kinds_of_calls_and_everything(asker: httpx.AsyncClient) -> None:
    """Embedding calls are a list of their own; `data` has all lists at once."""
    embeddings = (await asker.get(f"{API}/embedding-calls")).json()
    assert [item["call_type"] for item in embeddings["items"]] == ["embedding"]
    assert (await asker.get(f"{API}/embedding-calls?call_type=chat")).status_code == 422
    data = (await asker.get(f"{API}/data?limit=2")).json()
    assert data["overview"]["total_calls"] == 5
    assert len(data["llm_calls"]["items"]) == 2
    assert data["total_count"]["errors"] == 1


async def test_running_totals(asker: httpx.AsyncClient) -> None:
    """JSON; YAML when asked, by either way; filters with wildcards, whatever their case."""
    plain = (await asker.get(f"{API}/running-totals?provider=OPEN*&model=gpt-4?")).json()
    assert list(plain["providers"]["openai"]["models"]) == ["gpt-4o"]
    total = plain["providers"]["openai"]["models"]["gpt-4o"]["total"]
    assert (total["requests"], total["errors"], total["input_tokens"]) == (4, 1, 3600)
    for ask in ({"params": {"format": "yaml"}}, {"headers": {"accept": "application/yaml"}}):
        page = await asker.get(f"{API}/running-totals", **ask)  # type: ignore[arg-type]
        assert page.headers["content-type"].startswith("application/yaml")
        assert yaml.safe_load(page.text)["providers"]["openai"]["rollup"]["total"]["requests"] == 5
    assert (await asker.get(f"{API}/running-totals?model=none*")).json()["providers"] == {}


async def test_recent(asker: httpx.AsyncClient) -> None:
    """Newest first, with a sequence that `since` takes."""
    traces = (await asker.get(f"{API}/recent/traces")).json()["items"]
    assert len(traces) == 5
    seqs = [trace["seq"] for trace in traces]
    assert seqs == sorted(seqs, reverse=True)
    newer = (await asker.get(f"{API}/recent/traces", params={"since": seqs[2]})).json()["items"]
    assert [trace["seq"] for trace in newer] == [seq for seq in seqs if seq > seqs[2]]
    errors = (await asker.get(f"{API}/recent/errors")).json()["items"]
    assert [error["error_type"] for error in errors] == ["RateLimitError"]


async def test_active(client: httpx.AsyncClient, tracker: Tracker) -> None:
    """Running calls are seen, also by a server that has only the URL."""
    tracker.start(model="first", provider="openai")
    tracker.start(model="second", provider="openai", is_streaming=True)
    page = (await client.get(f"{API}/active")).json()
    assert [call["model"] for call in page["items"]] == ["second", "first"]
    assert page["total"] == 2
    assert (await client.get(f"{API}/active?model=SEC*")).json()["total"] == 1
    assert (await client.get(f"{API}/health")).json()["active"] == 2
    totals = (await client.get(f"{API}/running-totals")).json()
    assert totals["active_requests"] == 2
    assert totals["total_requests"] == 7


async def test_export(asker: httpx.AsyncClient) -> None:
    """CSV by default, with a name; JSON lines when asked."""
    page = await asker.get(f"{API}/export?type=llm-calls&format=csv")
    assert page.headers["content-type"] == "text/csv; charset=utf-8"
    assert page.headers["content-disposition"].startswith('attachment; filename="tokentrail-llm-calls-')
    assert page.text.startswith("\ufeffid,timestamp,model_name,")
    assert len(page.text.splitlines()) == 5
    lines = (await asker.get(f"{API}/export?type=errors&format=jsonl")).text.splitlines()
    assert [json.loads(line)["error_type"] for line in lines] == ["RateLimitError"]


@pytest.mark.parametrize("kind", KINDS)
async def test_an_export_says_whether_it_is_cut(
    client: httpx.AsyncClient, tracker: Tracker, kind: str
) -> None:
    """Of each kind as many rows come as were said; that a limit cuts them is told before the rows."""
    with context(session_id="s", organization_id="acme"):
        for name in ("search", "fetch"):
            tracker.record_tool_call(name, status="error" if name == "fetch" else "success")
            tracker.record_message("hello")
    for feedback_id, opinion in (("1", "like"), ("2", "dislike"), ("3", "like"), ("3", "cancel")):
        tracker.record_feedback(feedback_id, opinion, message_id=feedback_id)
    tracker.record_error("no disk")
    asked = f"{API}/export?type={kind}&format=jsonl"
    whole = await client.get(asked)
    rows = whole.text.splitlines()
    assert len(rows) >= 1
    assert (whole.headers["x-total-count"], whole.headers["x-truncated"]) == (str(len(rows)), "false")
    page = await client.get(f"{asked}&limit=1")
    assert page.text.splitlines() == rows[:1]
    assert (page.headers["x-total-count"], page.headers["x-truncated"]) == (
        str(len(rows)),
        "true" if len(rows) > 1 else "false",
    )
    for filters in ("status=success", "status=error", "call_type=embedding", "organization_id=acme"):
        some = await client.get(f"{asked}&{filters}")
        if some.status_code == 200:
            assert some.headers["x-total-count"] == str(len(some.text.splitlines())), filters


# --- writing -------------------------------------------------------------------------------------


async def test_a_call_of_another_program(client: httpx.AsyncClient) -> None:
    """Recorded with its usage in any shape; sent again, it changes nothing."""
    call_id = str(uuid.uuid4())
    body = {
        "id": call_id,
        "model": "claude-x",
        "provider": "anthropic",
        "usage": {"input_tokens": 10, "cache_read_input_tokens": 90, "output_tokens": 5},
        "started_at": "2026-03-01T12:00:00+02:00",
        "duration_ms": 1500,
        "user_id": "carol",
        "tags": ["batch"],
    }
    for _ in range(2):
        answer = await client.post(f"{API}/calls", json=body)
        assert (answer.status_code, answer.json()) == (201, {"id": call_id})
    found = (await client.get(f"{API}/llm-calls?user_id=carol")).json()
    assert found["total"] == 1
    call = found["items"][0]
    assert (call["id"], call["input_tokens"], call["total_tokens"]) == (call_id, 100, 105)
    assert (call["started_at"], call["source"], call["tags"]) == ("2026-03-01T10:00:00Z", "http", ["batch"])


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("model", ""), ("model", None), ("status", "fine"), ("started_at", "2026-03-01T12:00:00"),
        ("started_at", "9999-01-01T00:00:00Z"), ("duration_ms", -1), ("duration_ms", "1e999"), ("id", "mine"),
        ("usage", [1]), ("surprise", 1), ("tags", "x"), ("cost_usd", -1), ("user_id", "a\x00b"),
    ],
)  # fmt: skip
async def test_a_call_that_is_none(asker: httpx.AsyncClient, field: str, value: Any) -> None:
    """The sentence names the field."""
    answer = await asker.post(f"{API}/calls", json={"model": "m", field: value})
    assert answer.status_code == 422
    assert answer.json()["detail"].partition(":")[0] == field


async def test_feedback_over_http(client: httpx.AsyncClient) -> None:
    """Told again under the same id, the later counts; cancelled, it is gone."""
    body = {"feedback_id": "f1", "feedback_type": "like", "user_id": "carol"}
    for kind, total in (("like", 1), ("dislike", 1), ("cancel", 0)):
        answer = await client.post(f"{API}/feedback", json={**body, "feedback_type": kind})
        assert (answer.status_code, answer.json()) == (201, {"id": "f1"})
        page = (await client.get(f"{API}/feedback?user_id=carol")).json()
        assert page["total"] == total
    assert (await client.post(f"{API}/feedback", json={"feedback_type": "meh"})).status_code == 422


# --- who may what --------------------------------------------------------------------------------

ACME = {"organization_id": "acme"}


async def test_scopes(tracker: Tracker) -> None:
    """Each token does what it may, and no more."""
    scopes = {"r" * 43: {"read"}, "e" * 43: {"export"}, "w" * 43: {"write"}}
    app = create_app(tracker, tokens={token: Access(scopes=one) for token, one in scopes.items()})
    body = {"model": "m"}
    for token, may in scopes.items():
        async with client_of(app, token) as client:
            expected = {"read": 200, "export": 200, "write": 201}
            expected = {scope: code if scope in may else 403 for scope, code in expected.items()}
            assert (await client.get(f"{API}/overview")).status_code == expected["read"]
            assert (await client.get("/metrics")).status_code == expected["read"]
            assert (await client.get(f"{API}/export")).status_code == expected["export"]
            assert (await client.post(f"{API}/calls", json=body)).status_code == expected["write"]


@pytest.mark.parametrize("by_url", [False, True])
async def test_one_tenant_never_sees_anothers_rows(tracker: Tracker, by_url: bool) -> None:
    """No GET of the whole API, asked as acme, has a word of its rival's; and acme's own is there."""
    tracker.start(model="gpt-4o", provider="openai", organization_id="rival", user_id="bob")
    tracker.start(model="gpt-4o", provider="openai", organization_id="acme", user_id="alice")
    messages = {}
    for organization, user in (("rival", "bob"), ("acme", "alice")):
        who: dict[str, Any] = {"organization_id": organization, "user_id": user, "session_id": "shared"}
        messages[organization] = tracker.record_message(f"of {organization}", **who)
        tracker.record_tool_call(f"tool of {organization}", message_id=messages[organization], **who)
        tracker.record_feedback(f"f-{organization}", "like", message_id=messages[organization], **who)
        tracker.record_error(ValueError(f"error of {organization}"), **who)
    tracker.flush()
    rivals = Stats(tracker.database_url).find(organization_id="rival")
    source = tracker.database_url if by_url else tracker
    app = create_app(source, tokens={TOKEN: Access(where=ACME)})
    texts = []
    async with client_of(app) as client:
        for path, verbs in app.openapi()["paths"].items():
            if "get" not in verbs or path.endswith("/stream"):
                continue
            for call_id in [rivals[0].id] if "{" in path else [""]:
                filled = path.replace("{call_id}", call_id).replace("{session_id}", "shared")
                filled = filled.replace("{message_id}", messages["rival"])
                answer = await client.get(filled)
                assert answer.status_code in (200, 403, 404), (path, answer.text)
                texts.append((path, answer.text))
        assert all(page["total"] == 1 for page in _pages(dict(texts), "messages", "tool-calls", "feedback"))
        hidden = ("rival", "bob", "text-embedding-3-small", *(call.id for call in rivals))
        for path, text in texts:
            for word in hidden:
                assert word not in text.replace(path, ""), (path, word)
        overview = dict(texts)[f"{API}/overview"]
        assert json.loads(overview)["total_calls"] == 3
        assert json.loads(dict(texts)[f"{API}/active"])["total"] == 1
        (session,) = json.loads(dict(texts)[f"{API}/sessions"])["items"]
        assert (session["calls"], session["total_tokens"]) == (3, 3000)
        assert 'status="success"} 2.0' in dict(texts)["/metrics"]
        assert len(dict(texts)[f"{API}/export"].splitlines()) == 4
        assert (await client.get(f"{API}/overview?organization_id=rival")).status_code == 403
        assert (await client.get(f"{API}/overview?organization_id=*")).status_code == 403
        assert (await client.get(f"{API}/overview?organization_id=acme")).status_code == 200
        # What it writes is its own.
        foreign = {"model": "m", "organization_id": "rival"}
        assert (await client.post(f"{API}/calls", json=foreign)).status_code == 403
        assert (await client.post(f"{API}/calls", json={"model": "mine"})).status_code == 201
        assert (await client.get(f"{API}/llm-calls?model=mine")).json()["items"][0][
            "organization_id"
        ] == "acme"


def _pages(texts: dict[str, str], *names: str) -> list[Any]:
    return [json.loads(texts[f"{API}/{name}"]) for name in names]


def test_accesses_are_checked() -> None:
    """A scope or a bound that is none is refused when it is made."""
    for wrong in ({"scopes": {"admin"}}, {"where": {"model": "x"}}, {"where": {"client_id": ""}}):
        with pytest.raises(ConfigurationError):
            Access(**wrong)  # type: ignore[arg-type]


# --- in an app of one's own ----------------------------------------------------------------------


def _user(user: str = "") -> str:
    if not user:
        raise HTTPException(401, "who are you?")
    return user


async def test_the_app_mounted_needs_no_lifespan(tracker: Tracker) -> None:
    """Below a prefix, in an app that knows nothing of it."""
    outer = FastAPI()
    outer.mount("/usage", create_app(tracker, token=TOKEN))
    async with client_of(outer) as client:
        assert (await client.get("/usage/healthz")).json() == {"status": "ok"}
        assert (await client.get(f"/usage{API}/overview")).json()["total_calls"] == 5
        assert (await client.get("/usage/metrics")).status_code == 200
    async with client_of(outer, token=None) as client:
        assert (await client.get("/usage/healthz")).status_code == 200
        assert (await client.get(f"/usage{API}/overview")).status_code == 401


async def test_the_router_with_the_apps_own_authentication(tracker: Tracker) -> None:
    """Whoever the app lets in may ask; what is wrong is still a sentence."""
    outer = FastAPI()
    outer.include_router(create_router(tracker, dependencies=[Depends(_user)]), prefix="/llm")
    async with client_of(outer, token=None) as client:
        assert (await client.get(f"/llm{API}/overview")).status_code == 401
        # The app's own parameter is not one of ours, so it travels another way in real apps.
        answer = await client.get(f"/llm{API}/overview?user=me")
        assert answer.status_code == 422
    outer.dependency_overrides[_user] = lambda: "me"
    async with client_of(outer, token=None) as client:
        assert (await client.get(f"/llm{API}/overview")).json()["total_calls"] == 5
        assert (await client.get(f"/llm{API}/llm-calls?limit=-1")).status_code == 422
        assert (await client.post(f"/llm{API}/calls", json={"model": "m"})).status_code == 201


async def test_the_router_with_an_access_of_the_app(tracker: Tracker) -> None:
    """The app says whose rows its user sees."""
    outer = FastAPI()

    def tenant() -> Access:
        return Access(scopes={"read"}, where=ACME)

    outer.include_router(create_router(tracker, access=tenant))
    async with client_of(outer, token=None) as client:
        assert (await client.get(f"{API}/overview")).json()["total_calls"] == 3
        assert (await client.get(f"{API}/export")).status_code == 403


async def test_the_router_alone_needs_a_token(tracker: Tracker) -> None:
    """Nothing is open because nobody said who may ask."""
    outer = FastAPI()
    outer.include_router(create_router(tracker, token=TOKEN))
    async with client_of(outer, token=None) as client:
        assert (await client.get(f"{API}/overview")).status_code == 401
    async with client_of(outer) as client:
        assert (await client.get(f"{API}/overview")).status_code == 200
    with pytest.raises(ConfigurationError, match="token"):
        create_router(tracker, token=TOKEN, dependencies=[])


async def test_a_tracker_that_is_off_says_how_to_turn_it_on(tmp_path: Path) -> None:
    """Empty answers that help."""
    tracker = Tracker(f"sqlite:///{tmp_path}/off.db", enabled=False)
    async with client_of(create_app(tracker, token=TOKEN)) as client:
        for path in ("active", "recent/traces", "running-totals", "health"):
            answer = (await client.get(f"{API}/{path}")).json()
            assert answer["enabled"] is False
            assert "TOKENTRAIL_ENABLED" in answer["hint"]
        refused = await client.post(f"{API}/calls", json={"model": "m"})
        assert (refused.status_code, "TOKENTRAIL_ENABLED" in refused.json()["detail"]) == (503, True)
    tracker.close()


async def test_a_store_that_is_away_is_503_without_a_secret() -> None:
    """Nothing of its URL reaches the other side."""
    app = create_app("postgresql+psycopg://someone:hunter2@127.0.0.1:1/nothing", token=TOKEN)
    async with client_of(app) as client:
        answer = await client.get(f"{API}/overview")
    assert answer.status_code == 503
    assert "hunter2" not in answer.text
    assert "someone" not in answer.text


async def test_a_fault_of_ours_is_500_with_a_number(
    tracker: Tracker, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """No traceback, statement or path goes out; the log has it, under the same number."""
    app = create_app(tracker, token=TOKEN)

    def fall_over(*_: object, **__: object) -> None:
        raise RuntimeError("canary: SELECT secret FROM /etc/passwd")

    monkeypatch.setattr(Stats, "overview", fall_over)
    async with client_of(app) as client:
        answer = await client.get(f"{API}/overview")
    assert answer.status_code == 500
    assert "canary" not in answer.text
    assert answer.json()["detail"].split()[-1].rstrip(".") in caplog.text
    assert TOKEN not in caplog.text


def test_a_missing_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """The error has the line that installs it."""

    for name in [
        name for name in sys.modules if name.partition(".")[0] == "fastapi" or "tokentrail.server" in name
    ]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "fastapi", None)
    with pytest.raises(MissingExtraError, match=r"pip install 'tokentrail\[server\]'"):
        __import__("tokentrail.server")


async def test_conversations_over_http(tmp_path: Path) -> None:
    """Messages, their details and the analysis of a session; one that nobody knows is 404."""
    with Tracker(f"sqlite:///{tmp_path}/usage.db") as tracker:
        message = tracker.record_message("hello", session_id="s", user_id="u")
        tracker.record(model="m", session_id="s", message_id=message, usage={"total_tokens": 5})
        tracker.flush()
        async with client_of(create_app(tracker, token=TOKEN)) as client:
            page = (await client.get(f"{API}/messages")).json()
            assert [item["id"] for item in page["items"]] == [message]
            details = (await client.get(f"{API}/messages/{message}/details")).json()
            analysis = (await client.get(f"{API}/sessions/s/analysis")).json()
            assert details["message"]["id"] == message
            assert [call["message_id"] for call in details["llm_calls"]] == [message]
            assert analysis["found"] is True
            for path in ("messages/nobody/details", "sessions/nobody/analysis"):
                assert (await client.get(f"{API}/{path}")).status_code == 404
