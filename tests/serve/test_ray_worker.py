"""Serve in a worker of Ray goes without pandas; whoever wants pandas still has it."""

from __future__ import annotations

from tests.running import printed_by

CODE = """
import sys
import serve.ray_worker
import ray.serve
print("pandas" in sys.modules, "pyarrow" in sys.modules)
import pandas
print(len(pandas.DataFrame([1, 2])))
"""


def test_serve_loads_no_pandas_and_others_can() -> None:
    assert printed_by(CODE).splitlines() == ["False False", "2"]
