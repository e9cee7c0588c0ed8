"""The tables: what a user's own `select` means, on SQLite and on PostgreSQL."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from alembic.config import Config
from alembic.script import ScriptDirectory
from sqlmodel import Session, SQLModel, create_engine, func, select

from tokentrail._neighbours import FIELDS_OF
from tokentrail._records import COLUMN_OF, FIELDS, to_us
from tokentrail.models import LLMCall
from tokentrail.models._neighbours import NEIGHBOURS
from tokentrail.stores import open_store
from tokentrail.stores.migrations import VERSIONS

NOON = datetime(2026, 1, 31, 12, 0, 0, 123456, tzinfo=UTC)


@pytest.fixture(scope="module", params=("sqlite", "postgresql"))
def engine(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, postgres: Callable[[], str]
) -> Iterator[sa.Engine]:
    """A database with three calls in it, as a user would open it."""
    folder = tmp_path_factory.mktemp("models")
    url = postgres() if request.param == "postgresql" else f"sqlite:///{folder}/usage.db"
    store = open_store(url)
    store.append(
        [
            {
                "id": f"call-{number}",
                "finality": (1, 2, 5)[number],
                "started_at": to_us(NOON) + number * 3_600_000_000,
                "status": "success",
                "model": "gpt-4o",
                "cost_nanos": (1, 10_000_000, 2_500_000_000)[number],
                "duration_us": 1500,
                "tags": ["beta", "it's"],
                "is_streaming": number == 1,
            }
            for number in range(3)
        ]
    )
    store.close()
    opened = create_engine(url)
    yield opened
    opened.dispose()


def ids(engine: sa.Engine, *where: Any) -> list[str]:
    with Session(engine) as session:
        return sorted(session.exec(select(LLMCall.id).where(*where)))


def test_the_table_and_the_fields_line_up() -> None:
    """Every public field is an attribute and a column, in the same order, and there are no others."""
    columns = [COLUMN_OF.get(name, name) for name in FIELDS]
    assert list(LLMCall.__table__.columns.keys()) == columns
    assert list(LLMCall.model_fields) == list(FIELDS)
    for name, column in zip(FIELDS, columns, strict=True):
        assert sa.inspect(LLMCall).attrs[name].columns[0].name == column


@pytest.mark.parametrize("kind", FIELDS_OF)
def test_the_tables_of_neighbours_and_their_fields_line_up(kind: str) -> None:
    """Every public field of a kind is an attribute and a column of its table, and there are no others."""
    model: Any = NEIGHBOURS[kind]
    assert model.__tablename__ == kind
    assert set(model.model_fields) == set(FIELDS_OF[kind])
    for name in FIELDS_OF[kind]:
        assert sa.inspect(model).attrs[name].columns[0].name == COLUMN_OF.get(name, name)


def test_the_database_and_the_models_line_up(engine: sa.Engine) -> None:
    """The migrations build exactly the tables that the models describe."""
    found = sa.inspect(engine)
    for table in LLMCall.metadata.tables.values():
        assert [column["name"] for column in found.get_columns(table.name)] == table.columns.keys()
        assert found.get_pk_constraint(table.name)["constrained_columns"] == [
            column.name for column in table.primary_key
        ]
        nullable = {column["name"]: column["nullable"] for column in found.get_columns(table.name)}
        assert not [column.name for column in table.columns if not column.nullable and nullable[column.name]]


def test_every_migration_is_known() -> None:
    """The list of versions is the chain of migrations, so that a newer schema can be told from an older."""
    config = Config()
    config.set_main_option("script_location", "tokentrail.stores:migrations")
    config.set_main_option("path_separator", "os")
    scripts = ScriptDirectory.from_config(config)
    assert [script.revision for script in scripts.walk_revisions()][::-1] == list(VERSIONS)


def test_our_tables_stay_out_of_the_programs_metadata() -> None:
    """`SQLModel.metadata.create_all()` of a program makes its own tables and none of ours."""
    assert "llm_call" not in SQLModel.metadata.tables


def test_select_speaks_datetimes_and_dollars(engine: sa.Engine) -> None:
    """Comparisons take aware times and dollars, and rows give them back."""
    assert ids(engine, LLMCall.started_at > NOON, LLMCall.cost_usd > 0.01) == ["call-2"]
    assert ids(engine, LLMCall.cost_usd == 0.01) == ["call-1"]
    assert ids(engine, LLMCall.duration_ms < 1.6) == ["call-0", "call-1", "call-2"]
    with Session(engine) as session:
        row = session.get(LLMCall, "call-2")
    assert row is not None
    assert (row.started_at, row.cost_usd, row.duration_ms) == (NOON + timedelta(hours=2), 2.5, 1.5)
    assert row.started_at.tzinfo is UTC
    assert (row.tags, row.attributes, row.is_streaming) == (["beta", "it's"], {}, False)


@pytest.mark.parametrize(
    "same",
    [
        NOON.replace(tzinfo=None),
        NOON.astimezone(timezone(timedelta(hours=5, minutes=45))),
        "2026-01-31T12:00:00.123456",
    ],
)
def test_a_moment_is_a_moment(engine: sa.Engine, same: Any) -> None:
    """A naive time is UTC; an offset or ISO text means the same moment."""
    assert ids(engine, LLMCall.started_at <= same) == ["call-0"]


def test_sums_of_money_are_exact_dollars(engine: sa.Engine) -> None:
    """`sum` comes back in dollars, added up in whole nano-dollars."""
    with Session(engine) as session:
        total = session.exec(select(func.sum(LLMCall.cost_usd))).one()
        most = session.exec(select(func.max(LLMCall.cost_usd), func.min(LLMCall.started_at))).one()
    assert total == 2_510_000_001 / 1e9
    assert tuple(most) == (2.5, NOON)


def test_money_can_be_multiplied(engine: sa.Engine) -> None:
    """Dollars times a number are dollars: the number is not taken for dollars."""
    assert ids(engine, LLMCall.cost_usd * 2 > 4.9) == ["call-2"]


def test_finality_is_two_words(engine: sa.Engine) -> None:
    """Every rank from final on reads and compares as `final`."""
    assert ids(engine, LLMCall.finality == "final") == ["call-1", "call-2"]
    assert ids(engine, LLMCall.finality != "final") == ["call-0"]
    assert ids(engine, sa.column("finality").in_([5])) == ["call-2"]
    assert ids(engine, LLMCall.finality.in_(["final", "provisional"])) == ["call-0", "call-1", "call-2"]  # type: ignore[attr-defined]


def test_a_tag_is_found_in_its_text(engine: sa.Engine) -> None:
    """Tags are JSON text: an exact one is found with its quotes around."""
    assert len(ids(engine, LLMCall.tags.contains('"beta"'))) == 3  # type: ignore[attr-defined]
    assert ids(engine, LLMCall.tags.contains('"bet"')) == []  # type: ignore[attr-defined]


def test_booleans_compare(engine: sa.Engine) -> None:
    """`is_streaming` is a boolean in both databases."""
    assert ids(engine, LLMCall.is_streaming.is_(True)) == ["call-1"]  # type: ignore[union-attr]


def test_the_view_is_kind(engine: sa.Engine) -> None:
    """The view `calls` has every attribute, with ISO times, dollars, milliseconds and words."""
    with engine.connect() as connection:
        row = connection.execute(sa.text("SELECT * FROM calls WHERE id = 'call-1'")).mappings().one()
    assert list(row) == list(FIELDS)
    assert row["started_at"] == "2026-01-31T13:00:00.123456Z"
    assert row["ended_at"] is None
    assert (float(row["cost_usd"]), float(row["duration_ms"]), row["finality"]) == (0.01, 1.5, "final")


def test_rows_become_json() -> None:
    """A row is a pydantic model: its JSON has ISO times with Z and plain numbers."""
    row = LLMCall.from_record(
        {"id": "a", "finality": 2, "started_at": to_us(NOON), "status": "success", "cost_nanos": 5}
    )
    shown = row.model_dump(mode="json")
    assert (shown["started_at"], shown["cost_usd"], shown["tags"]) == (
        "2026-01-31T12:00:00.123456Z",
        5e-9,
        [],
    )
    assert (row.prompt_tokens, row.completion_tokens) == (None, None)


def test_times_scans_use_the_index(tmp_path: Path) -> None:
    """Newest calls, calls of a session and failed calls are found through an index."""
    open_store(f"sqlite:///{tmp_path}/usage.db").close()
    engine = create_engine(f"sqlite:///{tmp_path}/usage.db")
    questions = {
        "SELECT * FROM llm_call ORDER BY started_at DESC, id DESC LIMIT 50": "llm_call_started_at",
        "SELECT * FROM llm_call WHERE session_id = 'x' ORDER BY started_at": "llm_call_session_id",
        "SELECT * FROM llm_call WHERE user_id = 'x' ORDER BY started_at": "llm_call_user_id",
        "SELECT * FROM llm_call WHERE status <> 'success' ORDER BY started_at": "llm_call_not_success",
        "SELECT * FROM llm_call WHERE status = 'success' AND total_tokens = 0": "llm_call_zero_tokens",
    }
    with engine.connect() as connection:
        for question, index in questions.items():
            plan = connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {question}").all()
            assert index in str(plan), question
    engine.dispose()
