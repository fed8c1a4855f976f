"""MLflow's scoring protocol: every form of the same rows decodes to them.

Every malformed one is refused.
"""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest

from serve.http.invocations import decode_invocations, encode_invocations
from serve.model.loaded import LoadedModel
from serve.model.scored_batch import ScoredBatch
from vigil.errors import BodyTooLarge, InvalidFeatures, MalformedRequest, VigilError

NAMES = ("cpu", "memory", "disk", "net")
ROWS = [[1.0, 2.0, 3.0, 4.0], [5.0, 6.0, 7.0, 8.0]]
MIXED = ["net", "cpu", "disk", "memory"]
SHUFFLED = [[4.0, 1.0, 3.0, 2.0], [8.0, 5.0, 7.0, 6.0]]
RECORDS: list[dict[str, float]] = [dict(zip(NAMES, row, strict=True)) for row in ROWS]


def decode(body: Any, kind: str = "application/json", most: int = 10) -> np.ndarray[Any, Any]:
    sent = body if isinstance(body, bytes) else json.dumps(body).encode()
    return decode_invocations(sent, kind, NAMES, most).X


@pytest.mark.parametrize(
    "body",
    [
        {"dataframe_split": {"columns": MIXED, "data": SHUFFLED}},
        {"dataframe_split": {"data": ROWS}},
        {"dataframe_records": RECORDS},
        {"instances": ROWS},
        {"inputs": ROWS},
        {"inputs": {name: [row[name] for row in RECORDS] for name in MIXED}},
    ],
)
def test_forms_of_the_same_rows(body: dict[str, Any]) -> None:
    np.testing.assert_array_equal(decode(body), ROWS)


def test_csv_with_its_columns_in_any_order() -> None:
    body = b"net,cpu,disk,memory\n4,1,3,2\n\n8,5,7,6\n"
    np.testing.assert_array_equal(decode(body, "text/csv"), ROWS)


@pytest.mark.parametrize(
    ("body", "kind", "error"),
    [
        (b"[", "application/json", MalformedRequest),
        (b"{}", "application/json", MalformedRequest),
        (b'{"instances": [[1,2,3,4]], "inputs": []}', "application/json", MalformedRequest),
        (
            b'{"dataframe_split": {"columns": ["a", "a"], "data": []}}',
            "application/json",
            MalformedRequest,
        ),
        (b'{"dataframe_split": 3}', "application/json", MalformedRequest),
        (b'{"inputs": {"cpu": [1], "net": [1, 2]}}', "application/json", MalformedRequest),
        (b'{"instances": []}', "application/json", MalformedRequest),
        (b"\xff\xfe", "text/csv", MalformedRequest),
        (b"", "text/csv", MalformedRequest),
        (b"<x/>", "text/xml", MalformedRequest),
        (
            b'{"dataframe_split": {"columns": ["cpu"], "data": [[1, 2]]}}',
            "application/json",
            InvalidFeatures,
        ),
        (b'{"dataframe_records": [{"cpu": 1}]}', "application/json", InvalidFeatures),
        (b"cpu,memory,disk,net\n1,2,3,nan\n", "text/csv", InvalidFeatures),
        (b"cpu,memory,disk,net\n1,2,3,four\n", "text/csv", InvalidFeatures),
        (b"cpu,memory,disk,swap\n1,2,3,4\n", "text/csv", InvalidFeatures),
    ],
)
def test_malformed_requests(body: bytes, kind: str, error: type[VigilError]) -> None:
    with pytest.raises(error):
        decode(body, kind)


def test_too_many_rows() -> None:
    with pytest.raises(BodyTooLarge):
        decode({"instances": ROWS}, most=1)


def test_answer_has_one_prediction_for_each_row(model: LoadedModel) -> None:
    limit = model.bundle.threshold.value
    scores = np.array([limit, np.nextafter(limit, 1)])
    answer = json.loads(encode_invocations(model, ScoredBatch(np.zeros((2, 4)), scores, limit)))
    assert [p["prediction"] for p in answer["predictions"]] == [1, -1]
    assert answer["predictions"][0]["anomaly_score"] == limit
    assert answer["model_version"] == "7"
