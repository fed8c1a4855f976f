"""A large table is scanned by Ray tasks, a split in each: the result is that of one process."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from tests.running import ROOT

SCAN = """
import json, sys
from pathlib import Path
from vigil.home import Home, use_ray_token
use_ray_token(Home(Path(sys.argv[2])))
import ray
from train.connect import connected
from train.table.reader import split_files
from train.table.scan import scan_table
from train.table.schema import Columns
from train.table.source import find_files
from train.table.split_scan import ScanPlan
from train.table.transform.grammar import parse_steps
from vigil.errors import DataError

splits = split_files(find_files(sys.argv[1] + "/*.parquet"), split_rows=600)
plan = ScanPlan(Columns(time="at"), 400, seed=3, steps=parse_steps("diff:1,ewm:3"))
alone = scan_table(splits, plan)
rows = []
with connected(None):
    together = scan_table(splits, plan, tasks=2, on_rows=rows.append, min_task_bytes=0)
    same = (
        (alone.sample.rows.X == together.sample.rows.X).all()
        and (alone.tail.X == together.tail.X).all()
        and alone.digests == together.digests
    )
    try:
        bad = split_files(find_files(sys.argv[1] + "/bad/*.parquet"), split_rows=600)
        scan_table(bad, plan, tasks=2, min_task_bytes=0)
    except DataError as error:
        refused = [type(error).__name__, error.message, error.field, error.row]
print(json.dumps({"same": bool(same), "rows": rows, "refused": refused}))
"""


@pytest.mark.timeout(300)
def test_tasks_find_what_one_process_finds_and_raise_what_it_raises(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    frame = pd.DataFrame({"at": np.arange(3000), "a": rng.normal(size=3000)})
    (tmp_path / "bad").mkdir()
    for part in range(3):
        rows = frame[1000 * part : 1000 * (part + 1)]
        rows.to_parquet(tmp_path / f"part-{part}.parquet", row_group_size=300, index=False)
        bad = rows.assign(a=np.where(rows["at"] == 2500, np.inf, rows["a"]))
        bad.to_parquet(tmp_path / "bad" / f"part-{part}.parquet", row_group_size=300, index=False)
    command = [sys.executable, "-W", "ignore", "-c", SCAN, str(tmp_path), str(tmp_path / "home")]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=280)
    assert done.returncode == 0, done.stderr
    outcome = json.loads(done.stdout.splitlines()[-1])
    assert outcome["same"]
    assert outcome["rows"] == [600, 1000, 1600, 2000, 2600, 3000]
    kind, message, field, row = outcome["refused"]
    assert (kind, field, row) == ("DataError", "a", 500)
    assert "part-2.parquet, row 501, column 'a': inf is not a finite float32 number" in message
