"""The Open Inference Protocol over gRPC through the whole platform, by tritonclient's client."""

from __future__ import annotations

import queue
from typing import Any

import numpy as np
import pytest
from tritonclient.grpc import InferenceServerClient, InferInput
from tritonclient.utils import InferenceServerException

from tests.running import Vigil

pytestmark = pytest.mark.platform


def client(vigil: Vigil) -> Any:
    assert vigil.platform.grpc is not None
    return InferenceServerClient(vigil.platform.grpc)


def features(X: np.ndarray) -> list[InferInput]:
    tensor = InferInput("features", list(X.shape), "FP64")
    tensor.set_data_from_numpy(X)
    return [tensor]


def rows(vigil: Vigil, count: int) -> np.ndarray:
    names = vigil.get("/readyz")[1]["features"]
    return np.random.default_rng(0).uniform(0, 200, (count, len(names)))


def test_calls_have_the_scores_of_http_and_the_status_of_their_errors(platform: Vigil) -> None:
    X = rows(platform, 3)
    expected = platform.post("/predict", {"instances": X.tolist()})[1]
    with client(platform) as made:
        assert made.is_server_live()
        assert made.is_server_ready()
        assert made.is_model_ready("vigil", expected["model_version"])
        assert made.get_model_metadata("vigil").versions == [expected["model_version"]]
        found = made.infer("vigil", features(X), request_id="r-1")
        assert found.as_numpy("anomaly_score").tolist() == expected["anomaly_score"]
        assert found.as_numpy("prediction").tolist() == expected["prediction"]
        for name, inputs, code in (
            ("other", features(X), "NOT_FOUND"),
            ("vigil", features(X[:, :1]), "INVALID_ARGUMENT"),
            ("vigil", features(np.zeros((100_000, X.shape[1]))), "RESOURCE_EXHAUSTED"),
        ):
            with pytest.raises(InferenceServerException) as caught:
                made.infer(name, inputs)
            assert caught.value.status() == f"StatusCode.{code}"


def test_a_stream_answers_each_message_before_the_next_is_sent(platform: Vigil) -> None:
    X = rows(platform, 300)
    expected = platform.post("/predict", {"instances": X.tolist()})[1]["anomaly_score"]
    answers: queue.Queue[Any] = queue.Queue()
    with client(platform) as made:
        made.start_stream(lambda result, error: answers.put((result, error)))
        scores = []
        for row in X[:20]:
            made.async_stream_infer("vigil", features(row[None]))
            scores += answers.get(timeout=20)[0].as_numpy("anomaly_score").tolist()
        made.async_stream_infer("vigil", features(X[:, :1]))
        assert "shape" in answers.get(timeout=20)[1].message()
        for row in X[20:]:
            made.async_stream_infer("vigil", features(row[None]))
        for _ in X[20:]:
            scores += answers.get(timeout=20)[0].as_numpy("anomaly_score").tolist()
        made.stop_stream()
    assert scores == expected
