"""The shape of the house, and what importing it costs."""

from __future__ import annotations

import ast
import importlib
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import tokentrail

SOURCE = Path(tokentrail.__file__).parent
ROOT = SOURCE.parent.parent


def test_the_street_runs_one_way() -> None:
    """Every import contract of pyproject.toml holds."""
    lint = Path(sys.executable).parent / "lint-imports"
    found = lint if lint.exists() else shutil.which("lint-imports")
    if found is None:
        pytest.skip("import-linter is not installed")
    done = subprocess.run([str(found)], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout


def test_importing_is_light() -> None:
    """`import tokentrail` loads none of the large libraries, starts no thread and opens no file."""
    code = (
        "import sys, threading, tokentrail\n"
        "heavy = {'litellm', 'langchain_core', 'sqlalchemy', 'sqlmodel', 'pydantic', 'alembic', 'asyncio',"
        " 'genai_prices', 'typer', 'rich', 'orjson', 'fastapi', 'starlette',"
        " 'opentelemetry'} & set(sys.modules)\n"
        "assert not heavy, heavy\n"
        "assert threading.active_count() == 1"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_public_names_are_sorted_and_real() -> None:
    """`__all__` is sorted, and each name in it can be had."""
    assert tokentrail.__all__ == sorted(tokentrail.__all__)
    for name in tokentrail.__all__:
        assert getattr(tokentrail, name) is not None


def test_submodules_load_on_first_touch() -> None:
    """`tokentrail.models.LLMCall` works after nothing but `import tokentrail`."""
    code = "import tokentrail; tokentrail.models.LLMCall; tokentrail.stats.Stats; tokentrail.errors"
    subprocess.run([sys.executable, "-c", code], check=True)


def _modules() -> list[Path]:
    return sorted(SOURCE.rglob("*.py"))


@pytest.mark.parametrize("path", _modules(), ids=lambda path: str(path.relative_to(SOURCE)))
def test_nobody_inside_uses_the_front_door(path: Path) -> None:
    """Inner modules import each other by full path, and have a docstring."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    assert ast.get_docstring(tree), "a module says what it is"
    if path == SOURCE / "__init__.py":
        return
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and node.module == "tokentrail":
            names = {alias.name for alias in node.names}
            public = set(tokentrail._HOMES)
            assert not names & public, f"{path.name}: import {names & public} from their homes"


OUTSIDE = {
    "sqlmodel": ("models", "stores", "_asking.py"),
    "sqlalchemy": ("models", "stores", "_asking.py"),
    "litellm": ("litellm", "demo", "_install.py"),
    "langchain_core": ("langchain", "demo", "_install.py"),
    "typer": ("_cli",),
    "rich": ("_cli",),
    "genai_prices": ("_pricing",),
    "fastapi": ("server",),
    "starlette": ("server",),
    "prometheus_client": ("server",),
    "uvicorn": ("server",),
    "opentelemetry": ("otel.py",),
}


@pytest.mark.parametrize("library", OUTSIDE)
def test_outside_libraries_have_one_home(library: str) -> None:
    """A library is named only where the house says so."""
    homes = OUTSIDE[library]
    for path in _modules():
        place = str(path.relative_to(SOURCE))
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            named = (
                [alias.name for alias in node.names]
                if isinstance(node, ast.Import)
                else [node.module or ""]
                if isinstance(node, ast.ImportFrom)
                else []
            )
            if any(name.split(".")[0] == library for name in named):
                assert any(home in place for home in homes), f"{place} imports {library}"


def test_every_module_imports_alone() -> None:
    """No module needs another to be imported before it."""
    for path in _modules():
        name = ".".join(("tokentrail", *path.relative_to(SOURCE).with_suffix("").parts)).removesuffix(
            ".__init__"
        )
        if "migrations" in name or name.endswith("__main__"):
            continue
        importlib.import_module(name)


def test_server_loads_on_first_touch() -> None:
    """It is not in `__all__`, for `import *` must not need its extra."""
    assert callable(getattr(tokentrail, "server").create_app)  # noqa: B009  # the name is made when touched
