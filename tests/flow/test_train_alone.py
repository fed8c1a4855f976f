"""`vigil train` without a platform: a Ray of its own, and the local database."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from tests.running import Vigil, free_port


def test_bad_file_fails_before_anything_starts(tmp_path: Path) -> None:
    bad = tmp_path / "bad.csv"
    bad.write_text("a,b\n1,2\n3,oops\n")
    told = Vigil(tmp_path, free_port()).run("train", "--data", str(bad), code=1)
    assert "line 3" in told
    assert "'b'" in told


@pytest.mark.timeout(180)
def test_trains_registers_and_repeats_for_one_key(tmp_path: Path) -> None:
    rows = np.random.default_rng(0).normal(size=(1500, 4))
    pd.DataFrame(rows, columns=list("abcd")).assign(steady=1.0).to_csv(
        tmp_path / "t.csv", index=False
    )
    vigil = Vigil(tmp_path, free_port())
    first = vigil.json("train", "--data", str(tmp_path / "t.csv"), "--key", "once")
    assert first["verdict"]["passed"] is True
    assert (
        vigil.json("train", "--data", str(tmp_path / "t.csv"), "--key", "once")["version"]
        == first["version"]
        == "1"
    )
    (model,) = vigil.json("models")["models"]
    assert model["aliases"] == ["challenger"]
    assert vigil.json("promote", "1")["digest"] == first["digest"]
