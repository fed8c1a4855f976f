"""One table in several layouts at every path of the running service: the same scores."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest

from tests.running import Vigil
from tests.serve.http.test_doors import LAYOUTS, Sheet

pytestmark = pytest.mark.platform
SOME = range(0, len(LAYOUTS), 7)


class Doors:
    """The paths of a service; each gives the scores of a sheet."""

    def __init__(self, platform: Vigil, folder: Path) -> None:
        self._platform = platform
        self._folder = folder

    def predict(self, sheet: Sheet) -> list[float]:
        return self._post("/predict", {"instances": sheet.records()})["anomaly_score"]

    def records(self, sheet: Sheet) -> list[float]:
        return _predictions(self._post("/invocations", {"dataframe_records": sheet.records()}))

    def split(self, sheet: Sheet) -> list[float]:
        records = sheet.records()
        data = [list(record.values()) for record in records]
        body = {"dataframe_split": {"columns": list(records[0]), "data": data}}
        return _predictions(self._post("/invocations", body))

    def text(self, sheet: Sheet) -> list[float]:
        encoding = sheet.layout.encoding
        headers = {"content-type": f"text/csv; charset={encoding}"}
        answer = self._send("/invocations", sheet.text(), headers)
        return _predictions(answer.json())

    def tensor(self, sheet: Sheet) -> list[float]:
        return _scores(self._post("/v2/models/vigil/infer", {"inputs": [_tensor(sheet)]}))

    def binary(self, sheet: Sheet) -> list[float]:
        data = np.array(sheet.values, "<f8").tobytes()
        tensor = _tensor(sheet) | {"parameters": {"binary_data_size": len(data)}}
        del tensor["data"]
        head = json.dumps({"inputs": [tensor]}).encode()
        headers = {"inference-header-content-length": str(len(head))}
        return _scores(self._send("/v2/models/vigil/infer", head + data, headers).json())

    def stream(self, sheet: Sheet) -> list[float]:
        source = self._folder / "source"
        source.mkdir()
        lines = [
            json.dumps({"id": i, "features": row}) + "\n" for i, row in enumerate(sheet.records())
        ]
        (source / "a.jsonl").write_text("".join(lines))
        places = [
            word
            for name in ("source", "sink", "dead-letters")
            for word in (f"--{name}", f"file:{self._folder / name}")
        ]
        self._platform.run("stream", "consume", *places, "--until-end")
        written = (self._folder / "sink" / "a.jsonl").read_text().splitlines()
        return [json.loads(line)["anomaly_score"] for line in written]

    def _post(self, path: str, body: dict[str, Any]) -> dict[str, Any]:
        headers = {"content-type": "application/json"}
        return self._send(path, json.dumps(body).encode(), headers).json()

    def _send(self, path: str, body: bytes, headers: dict[str, str]) -> httpx.Response:
        url = self._platform.url + path
        answer = httpx.post(url, content=body, headers=headers, timeout=30, trust_env=False)
        assert answer.status_code == 200, answer.text
        return answer


def _tensor(sheet: Sheet) -> dict[str, Any]:
    shape = [len(sheet.values), len(sheet.names)]
    return {"name": "features", "datatype": "FP64", "shape": shape, "data": sheet.values}


def _predictions(answer: dict[str, Any]) -> list[float]:
    return [one["anomaly_score"] for one in answer["predictions"]]


def _scores(answer: dict[str, Any]) -> list[float]:
    (output,) = [one for one in answer["outputs"] if one["name"] == "anomaly_score"]
    return output["data"]


@pytest.mark.parametrize("number", SOME)
def test_a_table_has_the_same_scores_at_every_path(
    platform: Vigil, tmp_path: Path, number: int
) -> None:
    names = tuple(platform.get("/readyz")[1]["features"])
    layout = LAYOUTS[number]
    order = names if number % 2 else names[::-1]
    values = np.random.default_rng(number).uniform(-50, 200, (3, len(names))).tolist()
    sheet = Sheet(replace(layout, order=order), values, names)
    expected = platform.post("/predict", {"instances": values})[1]["anomaly_score"]
    doors = Doors(platform, tmp_path)
    paths: tuple[Callable[[Sheet], list[float]], ...] = (
        doors.predict,
        doors.records,
        doors.split,
        doors.text,
        doors.tensor,
        doors.binary,
        doors.stream,
    )
    for path in paths:
        assert path(sheet) == expected, path.__name__
