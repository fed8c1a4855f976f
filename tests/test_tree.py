"""The house: import directions, quiet imports, and every test file is collected."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
ROOMS = ("train", "serve", "drift", "infra", "policies")
ALLOWED = {"train": set(), "serve": {"train"}, "drift": {"train", "serve.metrics"}, "policies": {"infra.tags"}}


def imports(file: Path) -> set[str]:
    found = set()
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found |= {f"{node.module}.{alias.name}" for alias in node.names}
    return found


@pytest.mark.parametrize("room", ALLOWED)
def test_rooms_import_only_what_the_design_allows(room: str) -> None:
    for file in (ROOT / room).glob("*.py"):
        for name in imports(file):
            other = name.split(".")[0]
            if other in ROOMS and other != room:
                assert any(name == allowed or name.startswith(f"{allowed}.") for allowed in ALLOWED[room]), f"{file.name}: {name}"


def test_only_the_registry_talks_to_mlflow() -> None:
    users = {
        f"{r}/{f.name}" for r in ROOMS for f in (ROOT / r).glob("*.py") if any(n.split(".")[0] == "mlflow" for n in imports(f))
    }
    assert users == {"train/registry.py"}


def test_help_imports_no_room_that_is_slow() -> None:
    code = "import sys, vigil; sys.exit(bool({'ray', 'mlflow', 'sklearn', 'numba'} & sys.modules.keys()))"
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=False).returncode == 0


def test_every_test_file_is_collected(request: pytest.FixtureRequest) -> None:
    if request.config.args != request.config.getini("testpaths"):
        pytest.skip("only a part of the suite was asked for")
    collected = {item.path for item in request.session.items}
    assert set((ROOT / "tests").rglob("test_*.py")) == collected
