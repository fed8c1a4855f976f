"""Import modules, and print what of them the image does not have.

`python -m tests.image.trimmed_imports MODULE... --without DISTRIBUTION...`
"""

from __future__ import annotations

import argparse
import importlib
import importlib.metadata
import sys
import sysconfig
from collections.abc import Iterator
from pathlib import Path

from infra.trim_libraries import fitting

PACKAGES = Path(sysconfig.get_path("purelib"))


def left_out(distributions: list[str]) -> set[Path]:
    """Files, and folders, that the image's list takes out, and those of whole distributions."""
    found = set(fitting(PACKAGES))
    for name in distributions:
        files = importlib.metadata.files(name) or []
        found |= {Path(str(file.locate())) for file in files}
    return found


def loaded() -> Iterator[Path]:
    """The files of all modules that have been imported."""
    for module in list(sys.modules.values()):
        file = getattr(module, "__file__", None)
        if file is not None:
            yield Path(file)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("modules", nargs="+")
    parser.add_argument("--without", nargs="+", default=[])
    given = parser.parse_args()
    missing = left_out(given.without)
    for module in given.modules:
        importlib.import_module(module)
    for file in sorted(loaded()):
        if missing & {file, *file.parents}:
            print(file.relative_to(PACKAGES))


if __name__ == "__main__":
    main()
