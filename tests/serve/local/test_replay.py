"""What `vigil replay` says of a request, of which not all rows need be captured."""

from __future__ import annotations

import numpy as np

from serve.local.replay import Replayed
from tests.scoring import small_model
from train.table.captured import CapturedRequest
from train.table.numbering import Numbering
from train.table.table import Table


def replayed(numbering: Numbering) -> Replayed:
    model = small_model()
    rows = Table(np.random.default_rng(1).normal(10, 1, (len(numbering), 4)), model.bundle.names)
    scores = model.bundle.forest.score(rows.X)
    return Replayed.by(model, CapturedRequest(rows, scores, "7", numbering))


def test_rows_have_their_own_numbers_and_the_missing_ones_are_named() -> None:
    """Of 1,000 rows the first 500 lay in a window that was judged a data break."""
    half = replayed(np.array([(number, 1000) for number in range(500, 1000)]))
    answer = half.to_json("incident")
    assert answer["row_numbers"] == list(range(500, 1000))
    assert answer["missing_rows"] == [(0, 499)]
    assert [row[0] for row in half.table_rows()] == answer["row_numbers"]
    assert "not captured: rows 0-499" in half.summary()
    assert "broken" in half.summary()


def test_nothing_is_said_of_missing_rows_where_there_are_none() -> None:
    whole = replayed(np.array([(0, 2), (1, 2)]))
    assert (whole.to_json("r")["missing_rows"], "captured" in whole.summary()) == ([], False)


def test_a_row_alerted_by_the_threshold_that_it_had() -> None:
    whole = replayed(np.array([(0, 2), (1, 2)]))
    alerts = np.array([True, False])
    answered = whole.request._replace(alerts=alerts)
    assert Replayed.by(whole.model, answered).to_json("r")["prediction"] == [-1, 1]
