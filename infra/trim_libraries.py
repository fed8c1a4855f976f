"""Takes out of an environment what never runs in Vigil's image: `python trim_libraries.py DIR`.

The Dockerfile calls it between the installation of the libraries and their bytecode. It imports
nothing but the standard library, for it runs before anything is installed.
"""

from __future__ import annotations

import compileall
import re
import shutil
import struct
import sys
from collections.abc import Iterator
from pathlib import Path
from py_compile import PycInvalidationMode
from typing import BinaryIO

# Below site-packages. One that fits nothing ends the build: an upgrade has moved something.
UNUSED = (
    # Tests, and what only compilers, type checkers and debuggers of web pages read.
    "**/test",
    "**/tests",
    "**/*.pyi",
    "**/*.pyx",
    "**/*.pxd",
    "**/*.pxi",
    "**/*.c",
    "**/*.h",
    "ray/dashboard/client/build/**/*.map",
    # Arrow Flight, and Arrow's libraries under the further names that only a linker asks for.
    "pyarrow/_flight.*",
    "pyarrow/libarrow_flight.*",
    "pyarrow/libarrow_python_flight.*",
    "pyarrow/libarrow_python*.so",
    "pyarrow/libarrow_python*.so.*.*.*",
    # Ray's workers in Java, its reinforcement learning and its language models.
    "ray/jars/*.jar",
    "ray/rllib",
    "ray/llm",
    # Databricks' cloud, which MLflow asks for where its address says so.
    "databricks/sdk",
    # GPUs, tests of dialects, and formats that no plot is saved in: plots are PNG.
    "numba/cuda",
    "fontTools/[!m]*/",
    "fontTools/misc/*.so",
    "sqlalchemy/testing",
    "matplotlib/mpl-data/fonts/[!t]*/",
    "matplotlib/mpl-data/sample_data",
    "PIL/_avif.*",
    "pillow.libs/libavif-*",
)
# boto3's descriptions of services: of those that Vigil calls, and of those that give a login.
AWS_SERVICES = frozenset(
    {
        "dynamodb",
        "kinesis",
        "kms",
        "s3",
        "secretsmanager",
        "signin",
        "sso",
        "sso-oidc",
        "sts",
    }
)
# The largest libraries whose Python is run as bytecode alone, without its source: a traceback names
# file and line, but does not show the line. Not one that reads its own source, as anyio does, or
# whose files Ray starts by their paths.
WITHOUT_SOURCE = (
    "aiohttp",
    "botocore",
    "graphql",
    "matplotlib",
    "mcp",
    "mlflow",
    "narwhals",
    "numpy",
    "opentelemetry",
    "pandas",
    "PIL",
    "pydantic",
    "pygments",
    "ray/data",
    "ray/serve",
    "ray/train",
    "ray/tune",
    "scipy",
    "sklearn",
    "sqlalchemy",
    "wcwidth",
    "websockets",
    "werkzeug",
)
_READ_AS_FILES = re.compile("migrations/")  # of MLflow's databases, by alembic
_ELF_64 = b"\x7fELF\x02\x01"
_HEADER_BYTES = 64


class NothingFits(Exception):
    """A pattern, or the name of a package, fits nothing that is installed."""


def trim(environment: Path) -> int:
    """Trim a virtual environment; returns how many bytes were taken out.

    Raises NothingFits for a pattern that is out of date.
    """
    before = _bytes_in(environment)
    for packages in environment.glob("lib/python*/site-packages"):
        remove_unused(packages)
        for name in WITHOUT_SOURCE:
            replace_source(packages / name)
    for file in _files(environment):
        cut_symbols(file)
    return before - _bytes_in(environment)


def remove_unused(
    packages: Path,
    patterns: tuple[str, ...] = UNUSED,
    services: frozenset[str] = AWS_SERVICES,
) -> None:
    """Remove what fits a pattern, and the descriptions of all other services of AWS.

    Raises NothingFits.
    """
    _remove(fitting(packages, patterns))
    described = packages.glob("botocore/data/*/")
    _remove([folder for folder in described if folder.name not in services])


def fitting(packages: Path, patterns: tuple[str, ...] = UNUSED) -> list[Path]:
    """Files and folders of libraries that fit patterns. Raises NothingFits."""
    found: list[Path] = []
    for pattern in patterns:
        fits = list(packages.glob(pattern))
        if not fits:
            raise NothingFits(f"nothing in {packages} fits {pattern}: take it out of the list")
        found += fits
    return found


def replace_source(package: Path) -> None:
    """Put bytecode in the place of a package's source, where Python imports it from, too.

    Raises NothingFits where there is no such package.
    """
    if not package.is_dir():
        raise NothingFits(f"{package} is not there: take it out of the list")
    compileall.compile_dir(
        package,
        rx=_READ_AS_FILES,
        quiet=1,
        legacy=True,  # beside the source, not in __pycache__
        workers=0,
        invalidation_mode=PycInvalidationMode.UNCHECKED_HASH,
    )
    for source in package.rglob("*.py"):
        if source.with_suffix(".pyc").exists():
            source.unlink()


def _remove(paths: list[Path]) -> None:
    for path in paths:
        if path.is_dir():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)


def cut_symbols(file: Path) -> None:
    """Cut symbols and debugging information off a library or program in ELF's 64-bit format.

    A loader reads what the program headers name, and nothing behind the last of it: there stand
    the sections of linkers and debuggers alone. Nothing is moved as `strip` moves it, which
    damages libraries that patchelf has changed (https://github.com/NixOS/patchelf/issues/10).
    """
    with file.open("rb+") as image:
        header = image.read(_HEADER_BYTES)
        if header.startswith(_ELF_64):
            image.truncate(_loaded_bytes(image, header))
            image.seek(0)
            image.write(_without_sections(header))


def _loaded_bytes(image: BinaryIO, header: bytes) -> int:
    """How far a file reaches that is loaded by its program headers, see `man 5 elf`."""
    (start,) = struct.unpack_from("<Q", header, 32)  # e_phoff
    size, count = struct.unpack_from("<HH", header, 54)  # e_phentsize, e_phnum
    image.seek(start)
    table = image.read(size * count)
    ends = [_segment_end(table, size * index) for index in range(count)]
    return max(start + len(table), *ends)


def _segment_end(table: bytes, at: int) -> int:
    (offset,) = struct.unpack_from("<Q", table, at + 8)  # p_offset
    (size,) = struct.unpack_from("<Q", table, at + 32)  # p_filesz
    return offset + size


def _without_sections(header: bytes) -> bytes:
    """The header of a file that has no table of sections."""
    changed = bytearray(header)
    struct.pack_into("<Q", changed, 40, 0)  # e_shoff
    struct.pack_into("<HH", changed, 60, 0, 0)  # e_shnum, e_shstrndx
    return bytes(changed)


def _files(folder: Path) -> Iterator[Path]:
    """Files, but no links: they lead to the Python that the environment was made of."""
    return (path for path in folder.rglob("*") if path.is_file() and not path.is_symlink())


def _bytes_in(folder: Path) -> int:
    return sum(path.stat().st_size for path in _files(folder))


if __name__ == "__main__":
    taken = trim(Path(sys.argv[1]))
    sys.stdout.write(f"{taken / 1e6:.0f} MB were taken out\n")
