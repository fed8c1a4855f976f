"""Libraries that a training needs later, imported while it waits for processes to start."""

from __future__ import annotations

import importlib
from collections.abc import Sequence
from contextlib import suppress
from threading import Thread

# None imports Ray, which may be starting meanwhile: two threads that import modules of one package
# in a circle get them half made.
TO_FIT = ("sklearn.ensemble",)  # while Ray starts
# While the workers of the fit start, and not before: Python runs one thread at a time, and this one
# would take the time of what reads the table.
TO_REGISTER = (
    "scipy.stats",
    "skops.io",
    "mlflow.sklearn",
    "mlflow.models",
    "train.registry.record",
    "matplotlib.figure",
)


def preload(modules: Sequence[str]) -> Thread:
    """Import `modules` in a thread, which is returned.

    A module that cannot be imported says so where it is needed.
    """
    thread = Thread(target=_import, args=(modules,), daemon=True)
    thread.start()
    return thread


def _import(modules: Sequence[str]) -> None:
    for module in modules:
        with suppress(Exception):
            importlib.import_module(module)
