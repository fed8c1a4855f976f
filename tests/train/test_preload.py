"""Imports ahead of need: in a thread, beside a Ray that starts."""

from __future__ import annotations

import sys

from tests.running import printed_by
from train.preload import preload

AHEAD = """
import sys
import ray
import train.connect
before = set(sys.modules)
from train.preload import TO_FIT, TO_REGISTER, preload
preload(TO_FIT).join()
print(*({"mlflow", "skops", "matplotlib"} & sys.modules.keys()))
preload(TO_REGISTER).join()
print(*(name for name in (*TO_FIT, *TO_REGISTER) if name not in sys.modules))
print(*(name for name in sys.modules.keys() - before if name.split(".")[0] == "ray"))
"""


def test_all_is_imported_and_nothing_of_ray() -> None:
    assert printed_by(AHEAD) == ""


def test_a_module_that_is_missing_fails_where_it_is_needed() -> None:
    thread = preload(["no_such_module", "zipfile"])
    thread.join()
    assert "zipfile" in sys.modules
