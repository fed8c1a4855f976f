"""What the image leaves out: nothing that is imported, and symbols that no loader reads."""

from __future__ import annotations

import ctypes
import shutil
import subprocess
import sys
from itertools import pairwise
from pathlib import Path

import msgspec
import pytest

from infra.trim_libraries import (
    WITHOUT_SOURCE,
    NothingFits,
    cut_symbols,
    remove_unused,
    replace_source,
)
from tests.image.dockerfile import ROOT, stages
from tests.image.trimmed_imports import PACKAGES
from tests.test_tree import ROOM_FILES, name_of

# What Ray and MLflow start beside Vigil's own modules, or import when they are asked for it.
STARTED = (
    "mlflow.server.auth",
    "mlflow.server.fastapi_app",
    "mlflow.sklearn",
    "ray._private.log_monitor",
    "ray._private.runtime_env.agent.main",
    "ray.autoscaler._private.monitor",
    "ray.dashboard.agent",
    "ray.dashboard.dashboard",
    "ray.dashboard.modules.reporter.reporter_agent",
    "ray.data",
    "ray.scripts.scripts",
    "ray.serve",
    "ray.train",
    "ray.tune",
    "matplotlib.backends.backend_agg",
    "psycopg2",
    "pyarrow.csv",
    "pyarrow.dataset",
    "pyarrow.fs",
    "pyarrow.parquet",
)


linux = pytest.mark.skipif(
    sys.platform != "linux",
    reason="the image has Linux' libraries, in the format ELF",
)


def in_image() -> list[str]:
    """Modules of the rooms that the image runs; `infra` needs libraries of its own."""
    names = [name_of(file) for file in ROOM_FILES if file.name != "__main__.py"]
    return [name for name in names if name.partition(".")[0] not in ("infra", "policies")]


def distributions_left_out() -> list[str]:
    """Distributions that the Dockerfile does not install."""
    words = stages()["requirements"].of("RUN")[0].words
    flags = pairwise(words)
    return [name for flag, name in flags if flag == "--no-emit-package"]


@linux
def test_nothing_that_is_imported_is_left_out() -> None:
    command = [sys.executable, "-W", "ignore", "-m", "tests.image.trimmed_imports"]
    done = subprocess.run(
        [*command, *in_image(), *STARTED, "--without", *distributions_left_out()],
        cwd=ROOT,
        check=False,
        capture_output=True,
        text=True,
    )
    assert (done.returncode, done.stdout) == (0, ""), done.stderr


def installed(folder: Path, *files: str) -> Path:
    """Libraries of these files."""
    for name in files:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    return folder


def test_what_fits_a_pattern_is_removed_and_nothing_else(tmp_path: Path) -> None:
    kept = ("a/core.py", "a/testing.py", "botocore/data/s3/x.gz", "botocore/data/endpoints.json")
    gone = ("a/tests/b/tests/c.py", "a/core.pyi", "botocore/data/ec2/x.gz")
    packages = installed(tmp_path, *kept, *gone)
    remove_unused(packages, ("**/tests", "**/*.pyi"))
    left = {str(path.relative_to(packages)) for path in packages.rglob("*") if path.is_file()}
    assert left == set(kept)


def test_a_pattern_that_fits_nothing_is_an_error(tmp_path: Path) -> None:
    packages = installed(tmp_path, "a/core.py")
    with pytest.raises(NothingFits, match=r"fits \*\*/tests"):
        remove_unused(packages, ("**/tests",))


def test_a_package_that_is_not_there_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(NothingFits, match="take it out of the list"):
        replace_source(tmp_path / "gone")


def test_packages_without_source_are_libraries_of_the_lock() -> None:
    assert [name for name in WITHOUT_SOURCE if not (PACKAGES / name).is_dir()] == []


@linux
def test_a_library_without_symbols_is_smaller_and_is_loaded(tmp_path: Path) -> None:
    original = Path(next(Path(msgspec.__file__).parent.glob("_core.*.so")))
    copy = Path(shutil.copy(original, tmp_path / "library.so"))
    cut_symbols(copy)
    assert copy.stat().st_size < original.stat().st_size
    assert ctypes.CDLL(str(copy)).PyInit__core


@linux
def test_a_program_without_symbols_runs(tmp_path: Path) -> None:
    copy = Path(shutil.copy("/bin/echo", tmp_path / "echo"))
    cut_symbols(copy)
    assert subprocess.check_output([copy, "a"]) == b"a\n"


def test_other_files_stay_as_they_are(tmp_path: Path) -> None:
    file = tmp_path / "text.py"
    file.write_bytes(b"\x7fELF is not enough\n" * 9)
    cut_symbols(file)
    assert file.read_bytes() == b"\x7fELF is not enough\n" * 9


def test_bytecode_stands_for_source_but_not_for_what_is_read_as_a_file(tmp_path: Path) -> None:
    read, ran = tmp_path / "package" / "migrations" / "first.py", tmp_path / "package" / "ran.py"
    read.parent.mkdir(parents=True)
    read.write_text("")
    ran.write_text("def place():\n    return __file__\n")
    replace_source(tmp_path / "package")
    assert read.exists()
    assert not ran.exists()
    code = "import package.ran as r; print(r.place(), r.place.__code__.co_filename)"
    said = subprocess.check_output([sys.executable, "-c", code], cwd=tmp_path, text=True)
    assert said.split() == [str(ran.with_suffix(".pyc")), str(ran)]
