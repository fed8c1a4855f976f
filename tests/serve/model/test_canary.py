"""A canary and a shadow on one replica.

Which requests they see, what they count, and that nobody pays for their faults.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any, cast

import numpy as np
import pytest

from serve.model.canary import RunningCanary
from serve.model.loaded import LoadedModel
from serve.model.prepared import as_they_are
from serve.model.report import ShadowReport
from serve.model.shadow import MAX_SHADOW_ROWS, Shadow
from tests.serve.service import INFER, SCORING, Service
from train.model.bundle import ModelBundle
from train.model.forest import CompiledForest
from train.registry.canary import Canary, parse_canary_steps
from vigil.errors import RegistryError

ROW = [10.0, 10.0, 10.0, 10.0]


class Broken:
    """A forest that fails, or answers with what is no score."""

    def __init__(self, answer: Any) -> None:
        self.answer = answer

    def score(self, rows: Any, threads: int = 1) -> Any:
        return 1 / 0 if self.answer is None else np.full(len(rows), self.answer)


@pytest.fixture(scope="module")
def rival(make_bundle: Callable[[int], ModelBundle]) -> LoadedModel:
    return LoadedModel.warm("8", "e" * 64, make_bundle(5))


def broken(rival: LoadedModel, answer: Any) -> LoadedModel:
    return replace(rival, bundle=replace(rival.bundle, forest=cast(CompiledForest, Broken(answer))))


def trial(service: Service, candidate: LoadedModel, share: float) -> RunningCanary:
    plan = Canary(candidate.version, "7", time.time(), ((share, 3600.0),))
    made = RunningCanary(plan, candidate, lambda: 0.0)
    service.replica.watch.canary = made
    return made


def bodies(count: int) -> list[dict[str, Any]]:
    return [{"features": [10.0 + i / count, *ROW[1:]]} for i in range(count)]


async def test_a_canary_answers_its_share_and_a_retry_meets_the_same_model(
    service: Service, rival: LoadedModel
) -> None:
    running = trial(service, rival, 0.25)
    answered = [
        (await service.ask("POST", "/predict", body)).json["model_version"] for body in bodies(400)
    ]
    again = [
        (await service.ask("POST", "/predict", body)).json["model_version"] for body in bodies(400)
    ]
    assert answered == again
    assert 60 <= answered.count("8") <= 140
    report = running.report()
    assert report.canary.requests == 2 * answered.count("8")
    assert report.champion.requests == 2 * answered.count("7")
    assert sum(report.canary.latency) == report.canary.rows == report.canary.requests


async def test_an_answer_of_the_canary_is_all_of_the_canary(
    service: Service, rival: LoadedModel
) -> None:
    trial(service, rival, 1.0)
    reply = await service.ask("POST", "/predict", {"features": ROW})
    assert (reply.json["model_version"], reply.json["model_digest"]) == ("8", rival.digest)
    assert reply.headers["x-vigil-model-version"] == "8"
    assert reply.json["threshold"] == rival.bundle.threshold.value
    assert reply.json["anomaly_score"] == rival.bundle.forest.score(np.array([ROW]))[0]
    assert service.replica.capture.take()[0].version == "8"


@pytest.mark.parametrize("answer", [None, np.nan], ids=["raises", "nan"])
async def test_where_the_canary_fails_the_champion_answers(
    service: Service, rival: LoadedModel, answer: Any
) -> None:
    running = trial(service, broken(rival, answer), 1.0)
    for path in SCORING[:2]:
        body = {"features": ROW} if path == "/predict" else {"instances": [ROW]}
        reply = await service.ask("POST", path, body)
        assert (reply.status, reply.headers["x-vigil-model-version"]) == (200, "7")
    report = running.report()
    assert (
        report.canary.errors,
        report.canary.requests,
        report.champion.requests,
    ) == (2, 0, 2)


async def test_a_version_that_is_named_is_the_one_that_answers(
    service: Service, rival: LoadedModel
) -> None:
    trial(service, rival, 1.0)
    tensor = {"inputs": [{"name": "features", "datatype": "FP64", "shape": [1, 4], "data": ROW}]}
    for version, status in (("7", 200), ("8", 200), ("9", 404)):
        reply = await service.ask("POST", f"/v2/models/vigil/versions/{version}/infer", tensor)
        assert reply.status == status
        if status == 200:
            assert reply.json["model_version"] == version
    assert (await service.ask("POST", INFER, tensor)).json["model_version"] == "8"


def test_the_share_follows_the_schedule() -> None:
    plan = Canary("2", "1", 100.0, parse_canary_steps("5:60,25:60"))
    assert [plan.share(t) for t in (0, 59, 60, 119, 120, 999)] == [
        0.05,
        0.05,
        0.25,
        0.25,
        0.25,
        0.25,
    ]
    assert [plan.over(t) for t in (119, 120)] == [False, True]
    taken = [{i for i in range(4000) if plan.takes(b"%d" % i, now)} for now in (0.0, 70.0)]
    assert 140 <= len(taken[0]) <= 260
    assert 880 <= len(taken[1]) <= 1120
    assert taken[0] < taken[1]  # who met the canary once meets it at every later step
    assert Canary.from_json(plan.to_json()) == plan


@pytest.mark.parametrize(
    "text", ["", "5", "5:60,", "0:60", "101:60", "5:0", "5:inf", "nan:60", "a:b"]
)
def test_steps_that_are_none_are_refused(text: str) -> None:
    with pytest.raises(RegistryError, match="canary steps"):
        parse_canary_steps(text)


async def test_the_shadow_scores_a_sample_of_the_champions_rows(
    service: Service, model: LoadedModel, rival: LoadedModel
) -> None:
    service.replica.settings = service.replica.settings.model_copy(update={"shadow_rate": 0.5})
    shadow = service.replica.watch.shadow = Shadow(model, rival)
    for body in bodies(100):
        await service.ask("POST", "/predict", body)
    taken = shadow.take()
    assert 25 <= len(taken) <= 75
    report = shadow.score(taken)
    rows = np.concatenate([rows for rows, *_ in taken])
    np.testing.assert_array_equal(
        report.scores, np.stack([m.bundle.forest.score(rows) for m in (model, rival)])
    )
    limits = np.array([[m.bundle.threshold.value] for m in (model, rival)])
    np.testing.assert_array_equal(report.alerts, report.scores > limits)
    assert (report.champion, report.challenger, report.errors) == ("7", "8", 0)
    assert shadow.take() == []


def test_the_shadow_takes_only_so_many_rows_and_counts_the_others(
    model: LoadedModel, rival: LoadedModel
) -> None:
    shadow, rows = Shadow(model, rival), np.ones((MAX_SHADOW_ROWS - 10, 4))
    for _ in range(2):
        shadow.offer(as_they_are(rows, None), np.ones(len(rows)))
    report = shadow.score(shadow.take())
    assert report.scores is not None
    assert (report.scores.shape, report.dropped) == (
        (2, MAX_SHADOW_ROWS),
        MAX_SHADOW_ROWS - 20,
    )


@pytest.mark.parametrize("answer", [None, np.nan], ids=["raises", "nan"])
def test_a_challenger_that_fails_in_the_shadow_is_only_counted(
    model: LoadedModel, rival: LoadedModel, answer: Any
) -> None:
    shadow = Shadow(model, broken(rival, answer))
    shadow.offer(as_they_are(np.ones((3, 4)), None), np.ones(3))
    assert shadow.score(shadow.take()) == ShadowReport(champion="7", challenger="8", errors=3)
