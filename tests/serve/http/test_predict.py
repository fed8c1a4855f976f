"""What `/predict` accepts, refuses and answers."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from serve.http.predict import decode_predict, encode_predict
from serve.model.loaded import LoadedModel
from serve.model.scored_batch import ScoredBatch
from vigil.errors import BodyTooLarge, InvalidFeatures, MalformedRequest, VigilError

NAMES: tuple[str, ...] = ("cpu", "memory", "disk", "net")
NUMBERS = st.floats(-3e38, 3e38) | st.integers(-(2**63), 2**64 - 1)


def decode(body: Any) -> tuple[np.ndarray[Any, Any], bool]:
    encoded = body if isinstance(body, bytes) else json.dumps(body).encode()
    rows = decode_predict(encoded, NAMES, 3)
    return rows.X, rows.is_single


@pytest.mark.parametrize(
    ("body", "kind", "status"),
    [
        pytest.param(b"", MalformedRequest, 400, id="no body"),
        pytest.param(b'{"features": [1, 2', MalformedRequest, 400, id="cut off"),
        pytest.param(b'{"features": [NaN, 1, 1, 1]}', InvalidFeatures, 422, id="NaN"),
        pytest.param(b'{"features": [1e999, 1, 1, 1]}', InvalidFeatures, 422, id="beyond float64"),
        pytest.param([1, 2, 3, 4], MalformedRequest, 400, id="not an object"),
        pytest.param(None, MalformedRequest, 400, id="null"),
        pytest.param({"rows": [[1, 2, 3, 4]]}, MalformedRequest, 400, id="neither key"),
        pytest.param(
            {"features": [1, 2, 3, 4], "instances": [[1, 2, 3, 4]]},
            MalformedRequest,
            400,
            id="both keys",
        ),
        pytest.param({"instances": []}, MalformedRequest, 400, id="no rows"),
        pytest.param({"instances": {"cpu": 1}}, MalformedRequest, 400, id="rows are no list"),
        pytest.param({"instances": [[1, 2, 3, 4]] * 4}, BodyTooLarge, 413, id="too many rows"),
    ],
)
def test_a_body_of_another_form_is_refused(body: Any, kind: type[VigilError], status: int) -> None:
    with pytest.raises(VigilError) as caught:
        decode(body)
    assert (type(caught.value), caught.value.status) == (kind, status)
    assert caught.value.body()["error"]


GOOD = [1, 2, 3, 4]


@pytest.mark.parametrize(
    ("rows", "field", "row", "told"),
    [
        pytest.param(
            [GOOD, [1, 2, 3]], None, 1, "'net' is the first that is missing", id="too short"
        ),
        pytest.param(
            [GOOD, [1, 2, 3, 4, 5]], None, 1, "5 features, the model needs 4", id="too long"
        ),
        pytest.param([[]], None, 0, "'cpu'", id="empty row"),
        pytest.param([GOOD, {"cpu": 1}], None, 1, "row 1", id="object among lists"),
        pytest.param(
            [dict(zip(NAMES, GOOD, strict=True)), GOOD],
            None,
            1,
            "all objects",
            id="list among objects",
        ),
        pytest.param(
            [dict(zip(NAMES, GOOD, strict=True)) | {"gpu": 1}],
            "gpu",
            0,
            "no feature 'gpu'",
            id="unknown",
        ),
        pytest.param(
            [{"cpu": 1, "memory": 1, "net": 1}], "disk", 0, "'disk' is missing", id="missing"
        ),
        pytest.param(
            [dict(zip(NAMES, GOOD, strict=True)) | {"disk": None}],
            "disk",
            0,
            "the value is missing",
            id="null in an object",
        ),
        pytest.param([GOOD, [1, None, 3, 4]], "memory", 1, "the value is missing", id="null"),
        pytest.param([GOOD, [1, 2, "3", 4]], "disk", 1, "'3' is not", id="string"),
        pytest.param([[True, [True], 3, 4]], "memory", 0, "[true] is not", id="in a list"),
        pytest.param([GOOD, [1, 2, 3, [4]]], "net", 1, "[4] is not", id="nested"),
        pytest.param([[[1], [2], [3], [4]]], "cpu", 0, "[1] is not", id="all nested"),
        pytest.param([GOOD, 5], None, 1, "not a list", id="number for a row"),
        pytest.param([GOOD, None], None, 1, "not a list", id="null for a row"),
    ],
)
def test_a_row_that_does_not_fit_is_named(
    rows: list[Any], field: str | None, row: int, told: str
) -> None:
    with pytest.raises(InvalidFeatures) as caught:
        decode({"instances": rows})
    error = caught.value
    assert (error.status, error.field, error.row) == (422, field, row)
    assert told in error.message


@pytest.mark.parametrize("features", [5, "1234", None, [1, 2, 3], [[1, 2, 3, 4]], {"cpu": 1}, {}])
def test_a_single_row_that_does_not_fit_is_refused(features: Any) -> None:
    with pytest.raises(InvalidFeatures) as caught:
        decode({"features": features})
    assert caught.value.row == 0


@settings(max_examples=50, deadline=None)
@given(
    rows=st.lists(st.tuples(*[NUMBERS] * len(NAMES)), min_size=1, max_size=3),
    order=st.permutations(NAMES),
)
def test_lists_and_objects_of_the_same_rows_are_equal(
    rows: list[tuple[float, ...]], order: list[str]
) -> None:
    named = [dict(zip(NAMES, row, strict=True)) for row in rows]
    objects = [{name: row[name] for name in order} for row in named]
    (X, single), (Y, _) = decode({"instances": rows}), decode({"instances": objects})
    assert (X.shape, X.dtype, single) == ((len(rows), len(NAMES)), np.float64, False)
    np.testing.assert_array_equal(X, np.array(rows, dtype=np.float64))
    np.testing.assert_array_equal(X, Y)
    one, single = decode({"features": objects[0]})
    assert single
    np.testing.assert_array_equal(one, X[:1])


def encode(
    model: LoadedModel,
    rows: np.ndarray[Any, Any],
    scores: list[float] | None = None,
    *,
    single: bool = False,
    reasons: int = 3,
) -> dict[str, Any]:
    given = model.bundle.forest.score(rows) if scores is None else np.array(scores)
    answer = encode_predict(
        model,
        ScoredBatch(rows, given, model.bundle.threshold.value),
        is_single=single,
        drift_score=0.25,
        request_id="abc",
        max_reasons=reasons,
    )
    return json.loads(answer)


def test_one_row_gives_values_and_many_give_columns(model: LoadedModel) -> None:
    rows = np.array([[10.0] * 4, [10, 10, 90, 10]])
    many, one = encode(model, rows, [0.1, 0.9]), encode(model, rows[1:], [0.9], single=True)
    about = {
        "threshold": model.bundle.threshold.value,
        "drift_score": 0.25,
        "model_version": "7",
        "model_digest": "d" * 64,
    }
    assert many["prediction"] == [1, -1]
    assert many["is_anomaly"] == [False, True]
    assert {key: one[key] for key in ("prediction", "is_anomaly", "anomaly_score", "reasons")} == {
        key: many[key][1] for key in ("prediction", "is_anomaly", "anomaly_score", "reasons")
    }
    for answer in (many, one):
        assert answer | about | {"request_id": "abc"} == answer


def test_a_score_equal_to_the_threshold_is_normal(model: LoadedModel) -> None:
    limit = model.bundle.threshold.value
    found = encode(model, np.full((2, 4), 10.0), [limit, np.nextafter(limit, 1)])
    assert (found["is_anomaly"], found["prediction"]) == ([False, True], [1, -1])


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 10_000), most=st.integers(0, 6))
def test_only_anomalies_have_reasons_and_shares_are_shares(
    model: LoadedModel, seed: int, most: int
) -> None:
    found = encode(model, np.random.default_rng(seed).normal(10, 2, (20, 4)), reasons=most)
    for anomalous, reasons in zip(found["is_anomaly"], found["reasons"], strict=True):
        shares = [reason["share"] for reason in reasons]
        assert len(reasons) == (min(most, 4) if anomalous else 0)
        assert sum(shares) <= 1 + 4 * 5e-5  # each is rounded to four digits
        assert all(share >= 0 for share in shares)


def test_the_reason_is_the_feature_that_is_off(model: LoadedModel) -> None:
    (reasons,) = encode(model, np.array([[10.0, 10, 90, 10]]), scores=[0.9])["reasons"]
    assert (reasons[0]["feature"], reasons[0]["value"]) == ("disk", 90)
    assert reasons[0]["z"] > 50


@pytest.mark.parametrize("bad", [b"null", b"1" + b"0" * 400, b"1e39", b"-1e300", b"1e400"])
def test_values_that_are_no_float32_numbers(bad: bytes) -> None:
    row = b", ".join([b"1.5"] * (len(NAMES) - 1) + [bad])
    with pytest.raises(InvalidFeatures, match="feature 'net'"):
        decode(b'{"features": [' + row + b"]}")


@pytest.mark.parametrize("body", [b"[" * 100_000, b'{"features": "\xff"}'])
def test_bodies_that_break_the_parser(body: bytes) -> None:
    with pytest.raises(MalformedRequest):
        decode(body)


def test_a_history_is_its_last_row_and_those_before_it() -> None:
    history = [[1.0, 2.0, 3.0, 4.0], [2.0, 2.0, 2.0, 2.0], [6.0, 5.0, 4.0, 3.0]]
    for rows in (history, [dict(zip(NAMES, row, strict=True)) for row in history]):
        sent = decode_predict(json.dumps({"history": rows}).encode(), NAMES, 9)
        assert sent.is_single
        np.testing.assert_array_equal(sent.X, history[-1:])
        np.testing.assert_array_equal(sent.past, history[:-1])
    for body, said in (
        ({"history": []}, "`history`"),
        ({"history": history, "features": [1, 2]}, "send"),
    ):
        with pytest.raises(MalformedRequest, match=said):
            decode_predict(json.dumps(body).encode(), NAMES, 9)
    with pytest.raises(InvalidFeatures, match="'memory' is the first that is missing"):
        decode_predict(b'{"history": [[1]]}', NAMES, 9)
