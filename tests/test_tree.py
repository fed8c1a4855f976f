"""The house: import directions, quiet imports, and every test file is collected."""

from __future__ import annotations

import ast
import importlib.metadata
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
ROOMS = ("vigil", "train", "serve", "drift", "infra", "policies")
# infra renders the settings that the code reads, and shows the metrics that it counts.
SETTINGS = {"train.settings", "serve.settings", "drift.settings"}
ALLOWED = {
    "vigil": set(),
    "train": set(),
    "serve": {"train", "drift.settings"},
    "drift": {
        "train",
        "serve.applications",
        "serve.exposition",
        "serve.metrics",
        "serve.model.handles",
        "serve.model.report",
    },
    "infra": {"serve.applications", "serve.metrics", *SETTINGS},
    "policies": {"infra.tags"},
}


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
    for file in (ROOT / room).rglob("*.py"):
        for name in imports(file):
            other = name.split(".")[0]
            if other in ROOMS and other not in ("vigil", room):
                assert any(
                    name == allowed or name.startswith(f"{allowed}.") for allowed in ALLOWED[room]
                ), f"{file.name}: {name}"


def test_manifests_know_no_pulumi_and_few_know_the_settings_of_other_rooms() -> None:
    for file in (ROOT / "infra").rglob("*.py"):
        names = imports(file)
        if file.parent.name in ("manifests", "dashboards"):
            assert not any(name.split(".")[0].startswith("pulumi") for name in names), file
        if file.parent.name != "manifests" and file.name not in (
            "fields.py",
            "stack_keys.py",
            "ray_changes.py",
        ):
            assert not any(name.startswith(tuple(SETTINGS)) for name in names), file
        assert file.parent.name == "dashboards" or not any(
            name.startswith("serve.metrics") for name in names
        ), file


def test_nothing_at_the_top_of_infra_bears_the_name_of_a_library() -> None:
    # Pulumi runs infra/ as a folder: it stands first on the path, and its modules would hide others.
    taken = set(sys.stdlib_module_names) | set(importlib.metadata.packages_distributions())
    assert {file.stem for file in (ROOT / "infra").iterdir()} & (
        taken - {"__init__", "__main__"}
    ) == set()


def test_only_the_registry_talks_to_mlflow() -> None:
    users = {
        str(file.parent.relative_to(ROOT))
        for room in ROOMS
        for file in (ROOT / room).rglob("*.py")
        if any(name.split(".")[0] == "mlflow" for name in imports(file))
    }
    assert users == {"train/registry"}


def test_help_imports_no_room_that_is_slow() -> None:
    code = "import sys, vigil.__main__; sys.exit(bool({'ray', 'mlflow', 'sklearn', 'numba'} & sys.modules.keys()))"
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=False).returncode == 0


def test_a_replica_imports_no_library_that_only_training_needs() -> None:
    """Each would cost every replica tens of megabytes, and seconds of its start. Nor what sends traces, where there are none."""
    unwanted = {
        "sklearn",
        "skops",
        "jwt",
        "ray.train",
        "ray.data",
        "serve.http.traces",
        "opentelemetry.exporter.otlp.proto.http",
    }
    code = f"import sys, serve.http.app; print(sorted({unwanted} & sys.modules.keys()))"
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", code],
        cwd=ROOT,
        check=True,
        capture_output=True,
        text=True,
    )
    assert done.stdout.strip() == "[]"


def test_every_test_file_is_collected(request: pytest.FixtureRequest) -> None:
    if request.config.args != request.config.getini("testpaths"):
        pytest.skip("only a part of the suite was asked for")
    collected = {item.path for item in request.session.items}
    assert set((ROOT / "tests").rglob("test_*.py")) == collected
