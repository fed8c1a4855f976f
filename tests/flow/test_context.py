"""A model that looks back in time on the running platform: its context outlives what is killed."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from serve.model.loaded import LoadedModel
from tests.running import Vigil, eventually, free_port, left_of
from tests.serve.contexts import EntityRows
from train.registry.cache import BundleCache
from vigil.home import Home

pytestmark = pytest.mark.platform
TABLE = ("--entity", "host", "--time", "at")
REBUILT_S = 10.0
TOLERANCE = 1e-9


def write_table(file: Path) -> None:
    rows = EntityRows(3000, seed=5)
    pd.DataFrame(rows.records()).to_csv(file, index=False)


@pytest.fixture(scope="module")
def looking_back(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Vigil]:
    """A platform whose champion looks back two rows; drift is only observed."""
    home = tmp_path_factory.mktemp("context")
    write_table(home / "rows.csv")
    environment = {
        "VIGIL_DRIFT_MODE": "observe",
        "VIGIL_SERVE_CONTEXT_TIMEOUT_S": "5",  # a slow machine must not look like a lost shard
        "VIGIL_SERVE_MIN_REPLICAS": "2",
        "VIGIL_SERVE_MAX_REPLICAS": "3",
        "VIGIL_SERVE_TARGET_ONGOING_REQUESTS": "0.5",  # what two busy clients exceed
    }
    vigil = Vigil(home, free_port(), environment)
    version = train(vigil, "diff:1,mean:3")
    with vigil.running():
        vigil.run("promote", version)
        yield vigil
    assert left_of(home) == []


def train(vigil: Vigil, over_time: str) -> str:
    data = str(vigil.home / "rows.csv")
    trained = vigil.json("train", "--data", data, *TABLE, "--over-time", over_time)
    return trained["version"]


def served(vigil: Vigil, version: str) -> LoadedModel:
    """The champion, as the replicas have it."""

    def found() -> LoadedModel | None:
        last = BundleCache(Home(vigil.home).cache).last_known_good()
        return LoadedModel(*last, since=0.0) if last and last[0] == version else None

    return eventually(found)


def ask(vigil: Vigil, path: str, body: dict[str, Any]) -> dict[str, Any]:
    """The answer; a replica that died with the request is asked for again, as a client does."""

    def answer() -> dict[str, Any] | None:
        with suppress(OSError):
            status, answered = vigil.post(path, body)
            assert status in (200, 500, 502, 503), answered
            return answered if status == 200 else None
        return None

    return eventually(answer, 60)


def each_by_predict(vigil: Vigil, rows: EntityRows, part: range) -> list[dict[str, Any]]:
    return [
        ask(
            vigil,
            "/predict",
            {
                "features": rows.X[row].tolist(),
                "entity": rows.entities[row],
                "time": rows.times[row],
            },
        )
        for row in part
    ]


def assert_scores(
    answers: list[dict[str, Any]], model: LoadedModel, rows: EntityRows, part: range
) -> None:
    expected = rows.expected(model)[part.start : part.stop]
    scores = [answer["anomaly_score"] for answer in answers]
    np.testing.assert_allclose(scores, expected, rtol=0, atol=TOLERANCE)


def assert_thresholds_move(answers: list[dict[str, Any]], model: LoadedModel) -> None:
    """Entities have thresholds of their own, which the shards keep."""
    threshold = model.bundle.threshold
    moved = [answer["threshold"] - threshold.value for answer in answers]
    assert len(set(moved)) > 2
    assert 0 < max(map(abs, moved)) <= threshold.entity_width


def test_scores_are_those_of_training_whatever_dies(looking_back: Vigil) -> None:
    vigil = looking_back
    rows = EntityRows(100, seed=9)
    model = served(vigil, "1")
    answers = each_by_predict(vigil, rows, range(20))
    assert_scores(answers, model, rows, range(20))
    assert_thresholds_move(answers, model)

    victim = next(iter(eventually(vigil.replicas)))
    os.kill(victim, signal.SIGKILL)
    assert_scores(each_by_predict(vigil, rows, range(20, 40)), model, rows, range(20, 40))

    records = rows.records()[40:55]
    answer = ask(vigil, "/invocations", {"dataframe_records": records})
    assert_scores(answer["predictions"], model, rows, range(40, 55))

    version = train(vigil, "mean:6,sd:4")
    vigil.run("promote", version)
    model = served(vigil, version)
    answers = each_by_predict(vigil, rows, range(55, 75))
    assert {answer["model_version"] for answer in answers} == {version}
    assert not any(answer.get("warming") for answer in answers)
    assert_scores(answers, model, rows, range(55, 75))


@contextmanager
def busy_clients(vigil: Vigil) -> Iterator[None]:
    """Two clients that always have a request in flight, about an entity of their own."""
    ended = threading.Event()

    def ask_on() -> None:
        while not ended.is_set():
            ask(vigil, "/predict", {"features": [10.0, 10.0], "entity": "busy"})

    with ThreadPoolExecutor(2) as pool:
        clients = [pool.submit(ask_on) for _ in range(2)]
        try:
            yield
        finally:
            ended.set()
    for client in clients:
        client.result()


def test_scores_are_those_of_training_while_a_replica_is_added(looking_back: Vigil) -> None:
    vigil = looking_back
    rows = EntityRows(20_000, seed=11, named="node")
    eventually(lambda: len(vigil.replicas()) == 2)
    (version,) = {replica["version"] for replica in vigil.replicas().values()}
    answers: list[dict[str, Any]] = []

    def added() -> bool:
        """Whether a third replica is there; meanwhile rows are asked for."""
        answers.extend(each_by_predict(vigil, rows, range(len(answers), len(answers) + 10)))
        return len(vigil.replicas()) == 3

    with busy_clients(vigil):
        eventually(added, 120)
        answers.extend(each_by_predict(vigil, rows, range(len(answers), len(answers) + 50)))
    assert_scores(answers, served(vigil, version), rows, range(len(answers)))


def test_a_lost_shard_fails_no_row_and_is_rebuilt(looking_back: Vigil) -> None:
    vigil = looking_back
    body = {"features": [10.0, 10.0], "entity": "host-0"}
    seen = eventually(vigil.drift)["rows_seen"]
    for _ in range(12):
        ask(vigil, "/predict", body)
    assert "warming" not in ask(vigil, "/predict", body)
    eventually(lambda: vigil.drift().get("rows_seen", 0) >= seen + 13)
    shards = vigil.processes("ContextShard")
    assert shards
    for shard in shards:
        shard.kill()
    began = time.monotonic()
    answers: list[tuple[float, bool]] = []
    while time.monotonic() < began + 2 * REBUILT_S:
        status, answer = vigil.post("/predict", body)
        assert status == 200
        answers.append((time.monotonic() - began, answer.get("warming", False)))
        if len(answers) > 5 and not any(warming for _, warming in answers[-5:]):
            break
        time.sleep(0.05)
    assert any(warming for _, warming in answers)
    assert answers[-5][0] < REBUILT_S
