"""Every kind of store, open and empty."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tokentrail.stores import open_store
from tokentrail.stores.base import Store

KINDS = ("memory", "sqlite", "postgresql")


@pytest.fixture(scope="module")
def all_stores(
    tmp_path_factory: pytest.TempPathFactory, postgres: Callable[[], str]
) -> Iterator[dict[str, Store]]:
    """One store of each kind, for the tests of a module."""
    folder: Path = tmp_path_factory.mktemp("stores")
    urls = {"memory": "memory://", "sqlite": f"sqlite:///{folder}/usage.db", "postgresql": postgres()}
    stores = {kind: open_store(urls[kind]) for kind in KINDS}
    yield stores
    for store in stores.values():
        store.close()
