"""A LiteLLM proxy as its users run it: `litellm --config`, our handler named in it, a provider behind it."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Mapping
from http.client import HTTPConnection, HTTPResponse
from pathlib import Path
from typing import Any

from tokentrail.demo.provider import FakeProvider
from tokentrail.models import LLMCall
from tokentrail.stats import Stats

START = 180.0
"""Seconds for a proxy to come up: it loads all of LiteLLM, on a machine that may be busy."""

_AUTH = """
from litellm.proxy._types import UserAPIKeyAuth


async def who(request, api_key):
    if api_key != "sk-good":
        raise PermissionError("no such key")
    team = {"team_id": "team-1", "team_alias": "One", "org_id": "org-1"}
    return UserAPIKeyAuth(api_key=api_key, key_alias="shop", user_id="employee", **team)
"""


class Proxy:
    """A running proxy; a context manager that stops it as a service manager would."""

    def __init__(self, folder: Path, provider: FakeProvider) -> None:
        self.folder = folder
        self.provider = provider
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        (folder / "who.py").write_text(_AUTH, encoding="utf-8")
        (folder / "config.yaml").write_text(json.dumps(self._config()), encoding="utf-8")
        self._process = self._started()

    def _config(self) -> dict[str, Any]:
        openai = {"api_base": f"{self.provider.url}/v1", "api_key": "sk-secret-canary", "max_retries": 0}
        claude = {"api_base": self.provider.url, "api_key": "sk-ant-secret-canary"}
        models = {
            "public": {"model": "openai/gpt-4o-mini", **openai},
            "endless": {"model": "openai/endless", **openai},
            "shaky": {"model": "anthropic/claude-haiku-4-5", **claude},
        }
        return {
            "model_list": [{"model_name": name, "litellm_params": how} for name, how in models.items()],
            "litellm_settings": {"callbacks": "tokentrail.integrations.litellm.proxy_handler"},
            "router_settings": {"num_retries": 1, "retry_after": 0},
            "general_settings": {
                "master_key": "sk-0123456789abcdef0123456789abcdef01234567",
                "custom_auth": "who.who",
            },
        }

    def _started(self) -> subprocess.Popen[bytes]:
        environment = {
            **os.environ,
            "TOKENTRAIL_DATABASE_URL": self.database_url,
            "TOKENTRAIL_DATA_DIR": str(self.folder / "data"),
            "LITELLM_LOCAL_MODEL_COST_MAP": "True",
            "NO_PROXY": "*",
        }
        command = [str(Path(sys.executable).parent / "litellm"), "--config", "config.yaml"]
        with (self.folder / "proxy.log").open("wb") as log:
            return subprocess.Popen(
                [*command, "--host", "127.0.0.1", "--port", str(self.port)],
                cwd=self.folder,
                env=environment,
                stdout=log,
                stderr=log,
            )

    @property
    def database_url(self) -> str:
        """Where the proxy's calls are kept."""
        return f"sqlite:///{self.folder / 'usage.db'}"

    def __enter__(self) -> Proxy:
        deadline = time.monotonic() + START
        while not self._is_up():
            assert self._process.poll() is None, self.log
            assert time.monotonic() < deadline, self.log
            time.sleep(0.2)
        return self

    def _is_up(self) -> bool:
        try:
            connection = HTTPConnection("127.0.0.1", self.port, timeout=5)
            connection.request("GET", "/health/liveliness")
            return connection.getresponse().status == 200
        except OSError:
            return False

    def __exit__(self, *_: object) -> None:
        self._process.send_signal(signal.SIGTERM)
        self._process.wait(30)

    @property
    def log(self) -> str:
        """What the proxy printed."""
        return (self.folder / "proxy.log").read_text(encoding="utf-8", errors="replace")[-4000:]

    def send(
        self, path: str, body: Mapping[str, Any], headers: Mapping[str, str], key: str
    ) -> tuple[HTTPConnection, HTTPResponse]:
        """Ask something, and leave the answer on the wire."""
        connection = HTTPConnection("127.0.0.1", self.port, timeout=60)
        told = {"content-type": "application/json", "authorization": f"Bearer {key}", **headers}
        connection.request("POST", path, json.dumps(body), told)
        return connection, connection.getresponse()

    def ask(
        self, path: str, headers: Mapping[str, str] | None = None, key: str = "sk-good", **body: Any
    ) -> int:
        """Ask something and read the answer; returns the HTTP status."""
        connection, response = self.send(path, body, headers or {}, key)
        response.read()
        connection.close()
        return response.status

    def rows(self, count: int, **where: Any) -> list[LLMCall]:
        """The calls there are, oldest first, once there are `count`, each with its final end."""
        stats = Stats(self.database_url)
        deadline = time.monotonic() + 60
        try:
            while True:
                rows = stats.calls(**where).items[::-1]
                settled = [row for row in rows if row.finality == "final"]
                if len(settled) >= count or time.monotonic() > deadline:
                    return rows
                time.sleep(0.05)
        finally:
            stats.close()
