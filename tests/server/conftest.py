"""A tracker with some calls, and clients that hold tokens for the app over it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import httpx
import pytest
from fastapi import FastAPI

from server_rig import TOKEN, client_of, fill
from tokentrail import Tracker
from tokentrail.server import create_app


@pytest.fixture
def tracker(tmp_path: Path) -> Iterator[Tracker]:
    """Two organisations' calls: three of acme's, one of them failed, and two of rival's."""
    with Tracker(f"sqlite:///{tmp_path}/usage.db", summary_interval=0) as made:
        fill(made)
        yield made


@pytest.fixture(scope="module")
def still_tracker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Tracker]:
    """The same, for tests that only ask."""
    folder = tmp_path_factory.mktemp("still")
    with Tracker(f"sqlite:///{folder}/usage.db", summary_interval=0, data_dir=folder / "data") as made:
        fill(made)
        yield made


@pytest.fixture(scope="module", params=["tracker", "url"])
def still_app(request: pytest.FixtureRequest, still_tracker: Tracker) -> FastAPI:
    """The app over a tracker, and over the URL of its database, for tests that only ask."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TOKENTRAIL_DATA_DIR", str(still_tracker.settings.data_dir))
        return create_app(
            still_tracker if request.param == "tracker" else still_tracker.database_url, token=TOKEN
        )


@pytest.fixture
async def asker(still_app: FastAPI) -> AsyncIterator[httpx.AsyncClient]:
    """A client with the token of the still app."""
    async with client_of(still_app) as made:
        yield made


@pytest.fixture(params=["tracker", "url"])
def app(request: pytest.FixtureRequest, tracker: Tracker) -> FastAPI:
    """The app over a tracker, and over the URL of its database."""
    return create_app(tracker if request.param == "tracker" else tracker.database_url, token=TOKEN)


@pytest.fixture
async def client(app: FastAPI) -> AsyncIterator[httpx.AsyncClient]:
    """A client with the token of the app."""
    async with client_of(app) as made:
        yield made
