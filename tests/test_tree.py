"""The house: import directions, quiet imports, and every test file is collected."""

from __future__ import annotations

import ast
import importlib.metadata
import subprocess
import sys
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

from tests.running import printed_by
from tests.tree_figures import (
    FMT_SKIP,
    MAX_COMPLEXITY,
    MAX_LINES,
    MAX_NODES_MEDIAN,
    MAX_STATEMENTS,
    MAX_TOKENS_A_LINE,
    ROOMS,
    complexity,
    functions,
    is_packed,
    measure,
    shared_names,
    statements,
)

ROOT = Path(__file__).parent.parent
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
    # The rules that the API server judges by are applied with the stack.
    "infra": {"serve.applications", "serve.metrics", "policies.admission", *SETTINGS},
    "policies": {"infra.tags"},
}

# Functions that are still longer or more complex than the limits. None may be added.
TOO_LONG: set[str] = set()
# Every module has its own: an entry point, a logger, what Serve builds, what Alembic looks for.
EVERYWHERE = {"main", "log", "build", "upgrade", "revision", "down_revision"}
ALL_FILES = sorted(file for room in (*ROOMS, "tests") for file in (ROOT / room).rglob("*.py"))
ROOM_FILES = [file for file in ALL_FILES if file.relative_to(ROOT).parts[0] in ROOMS]


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
    # Pulumi runs infra/ as a folder: it stands first on the path, and would hide libraries.
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
    slow = {"ray", "mlflow", "sklearn", "numba"}
    code = f"import sys, vigil.__main__; sys.exit(bool({slow} & sys.modules.keys()))"
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=False).returncode == 0


def test_a_replica_imports_no_library_that_only_training_needs() -> None:
    """Each costs tens of megabytes and seconds of a start; so does what sends traces."""
    unwanted = {
        "sklearn",
        "skops",
        "jwt",
        "ray.train",
        "ray.data",
        "serve.http.traces",
        "opentelemetry.exporter.otlp.proto.http",
        "sqlalchemy",
        "alembic",
        "apprise",
        "pandas",
        "pyarrow",
    }
    assert loaded_with("serve.http.app") & unwanted == set()


def test_the_drift_monitor_imports_no_library_that_only_training_needs() -> None:
    unwanted = {"pandas", "sklearn", "skops", "scipy.stats", "ray.train", "ray.data", "mlflow"}
    assert loaded_with("drift.monitor") & unwanted == set()


def loaded_with(module: str) -> set[str]:
    """What a worker of Ray has imported with a module."""
    code = f"import sys, serve.ray_worker, {module}; print(*sys.modules)"
    return set(printed_by(code).split())


def test_every_test_file_is_collected(request: pytest.FixtureRequest) -> None:
    if request.config.args != request.config.getini("testpaths"):
        pytest.skip("only a part of the suite was asked for")
    collected = {item.path for item in request.session.items}
    assert set((ROOT / "tests").rglob("test_*.py")) == collected


def name_of(file: Path) -> str:
    """The dotted name of a module."""
    return ".".join(file.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")


def test_files_are_short_and_formatted_without_exceptions() -> None:
    assert [str(f) for f in ROOM_FILES if len(f.read_text().splitlines()) > MAX_LINES] == []
    assert [str(f) for f in ALL_FILES if FMT_SKIP.search(f.read_text())] == []


def test_functions_do_one_thing() -> None:
    too_long = {
        f"{name_of(file)}.{function.name}"
        for file in ROOM_FILES
        for function in functions(ast.parse(file.read_text()))
        if complexity(function) > MAX_COMPLEXITY or statements(function) > MAX_STATEMENTS
    }
    assert too_long - TOO_LONG == set()
    assert TOO_LONG - too_long == set(), "these are short now: take them out of TOO_LONG"


def test_one_assignment_a_line() -> None:
    packed = [
        f"{file}:{node.lineno}"
        for file in ROOM_FILES
        for node in ast.walk(ast.parse(file.read_text()))
        if isinstance(node, ast.Assign) and is_packed(node)
    ]
    assert packed == []


def test_the_tree_reads_as_easily_as_it_should() -> None:
    figures = measure(ROOM_FILES)
    assert figures.nodes_median <= MAX_NODES_MEDIAN
    assert figures.tokens_a_line <= MAX_TOKENS_A_LINE


def test_public_names_are_unique() -> None:
    assert shared_names(ROOM_FILES).keys() - EVERYWHERE == set()


def test_no_two_files_import_each_other() -> None:
    modules = {name_of(file): file for file in ROOM_FILES}
    order: TopologicalSorter[str] = TopologicalSorter()
    for name, file in modules.items():
        found = imports(file)
        found |= {one.rpartition(".")[0] for one in found}
        order.add(name, *(found & modules.keys() - {name}))
    order.prepare()  # raises CycleError, which names the circle


def test_an_import_sets_no_environment_and_reads_no_file() -> None:
    modules = [name_of(file) for file in ROOM_FILES if file.name != "__main__.py"]
    audit = [sys.executable, "-W", "ignore", "-m", "tests.import_audit", str(ROOT), *modules]
    done = subprocess.run(
        audit,
        cwd=ROOT,
        check=False,
        capture_output=True,
        text=True,
    )
    assert (done.returncode, done.stdout) == (0, ""), done.stderr
