"""The built-in telemetry, injected drift, and the stream that sends them."""

from __future__ import annotations

import math
from collections.abc import AsyncIterator, Callable
from typing import Any

import numpy as np
import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer, unused_port
from sklearn.metrics import roc_auc_score

from serve.local.simulate import Tally, send_rows
from serve.local.telemetry import FEATURES, Drift, telemetry
from train.model.fit import fit_part
from vigil.arrays import Floats


def test_telemetry_is_the_same_for_the_same_seed_only() -> None:
    one, same, other = telemetry(500, seed=3), telemetry(500, seed=3), telemetry(500, seed=4)
    assert one.fingerprint == same.fingerprint != other.fingerprint
    assert one.labels is not None
    assert same.labels is not None
    np.testing.assert_array_equal(one.labels, same.labels)
    assert (one.names, one.X.shape) == (FEATURES, (500, len(FEATURES)))


@pytest.mark.parametrize("rate", [0.0, 0.01, 0.1])
def test_about_as_many_anomalies_as_asked_for_are_labelled(rate: float) -> None:
    labels = telemetry(3000, seed=1, anomaly_rate=rate).labels
    assert labels is not None
    assert rate <= labels.mean() <= rate + 7 / 3000  # the last anomaly may be seven rows long
    assert set(labels) <= {0, 1}


def test_an_isolation_forest_finds_the_labelled_anomalies() -> None:
    train, test = telemetry(4000, seed=1), telemetry(4000, seed=2)
    forest = fit_part(train.X, trees=50, max_samples=256, max_features=1.0, seed=0)
    assert test.labels is not None
    assert roc_auc_score(test.labels, -forest.score_samples(test.X)) > 0.8


@pytest.mark.parametrize("kind", ["shift", "scale", "mix"])
def test_drift_changes_the_chosen_features_only(kind: Any) -> None:
    X = telemetry(2000, seed=1).X
    before, drift = X.copy(), Drift(kind, 3.0, share=0.25)
    changed = drift.apply(X)
    columns = drift.features(X.shape[1])
    assert len(columns) == 3
    np.testing.assert_array_equal(X, before)
    assert np.flatnonzero((changed != X).any(axis=0)).tolist() == columns.tolist()
    centre = np.abs(changed.mean(axis=0) - X.mean(axis=0))[columns] / X.std(axis=0)[columns]
    spread = (changed.std(axis=0) / X.std(axis=0))[columns]
    rows = (changed != X).any(axis=1).mean()
    expected = {
        "shift": (3, 1, 1),
        "scale": (0, 3, 1),
        "mix": (0.9, np.sqrt(1 + 9 * 0.3 * 0.7), 0.3),
    }[kind]
    np.testing.assert_allclose(centre, expected[0], atol=0.1)
    np.testing.assert_allclose(spread, expected[1], rtol=0.1)
    assert rows == pytest.approx(expected[2], abs=0.05)


def test_tally_quantiles_are_in_milliseconds() -> None:
    assert math.isnan(Tally().quantile_ms(0.5))
    tally = Tally(latency=[i / 1000 for i in range(1, 102)])
    assert [tally.quantile_ms(q) for q in (0, 0.5, 1)] == pytest.approx([1, 51, 101])
    assert tally.to_json()["p50_ms"] == 51


class Service:
    """Answers every fourth request with 503; a row is an anomaly if its first value is negative."""

    def __init__(self) -> None:
        self.got: list[list[float]] = []

    async def predict(self, request: web.Request) -> web.Response:
        row = (await request.json())["features"]
        self.got.append(row)
        if len(self.got) % 4 == 0:
            return web.json_response({"error": {}}, status=503)
        return web.json_response({"model_version": "7", "is_anomaly": row[0] < 0})


@pytest.fixture
async def service() -> AsyncIterator[tuple[Service, str]]:
    answering = Service()
    app = web.Application()
    app.router.add_post("/predict", answering.predict)
    async with TestServer(app) as server:
        yield answering, str(server.make_url("")).rstrip("/")


def until_sent(rows: int) -> Callable[[int], bool]:
    return lambda sent: sent >= rows


async def test_a_stream_keeps_its_rate_counts_failures_and_stops(
    service: tuple[Service, str],
) -> None:
    server, url = service
    tally = Tally()

    def row(i: int) -> Floats:
        return np.array([-1.0 if i < 10 else 1.0, i])

    await send_rows(url, row, 100, tally=tally, stop=until_sent(60))
    assert sorted(row[1] for row in server.got) == list(range(60))
    assert (tally.rows, tally.failed) == (60, 15)
    assert tally.by_status == {"200": 45, "503": 15}
    assert tally.by_version == {"7": 45, "": 15}
    assert 5 <= tally.anomalies <= 10
    np.testing.assert_allclose(np.diff(sorted(tally.due)), 0.01)
    assert all(sent >= due for due, sent in zip(tally.due, tally.sent, strict=True))


async def test_a_service_that_is_away_fails_every_row() -> None:
    tally = Tally()
    url = f"http://127.0.0.1:{unused_port()}"
    await send_rows(url, lambda _: np.zeros(2), 500, tally=tally, stop=until_sent(5))
    assert (tally.rows, tally.failed, len(tally.latency)) == (5, 5, 5)
    assert tally.by_status == {"ClientConnectorError": 5}
