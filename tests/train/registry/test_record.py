"""What a training run leaves in MLflow, and what Vigil reads of it again."""

from __future__ import annotations

import importlib.metadata
import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import mlflow
import numpy as np
import pytest
import skops.io
import yaml
from sklearn.ensemble import IsolationForest

from train.model.bundle import ModelBundle
from train.model.plots import draw_plots
from train.registry.candidate import Candidate
from train.registry.versions import Registry
from train.table.dataset import Fingerprint
from train.table.source import File
from train.table.table import Table
from vigil.errors import BundleError

Models = Callable[[int], tuple[IsolationForest, ModelBundle]]


class HostileForest:
    """What nobody expects in a model."""


def test_a_run_tells_a_team_what_it_was(registry: Registry, model: Models, tmp_path: Path) -> None:
    forest, bundle = model(0)
    bundle = replace(bundle, info=bundle.info | {"data": "/data/telemetry.csv", "rows": 400})
    read = Fingerprint("ab" * 32, 400, (File("/data/telemetry.csv", 12, "e1"),), {"cpu": "cd"})
    rows = Table(np.random.default_rng(1).normal(size=(300, 3)), bundle.names, np.arange(300) % 2)
    params = {"forest": {"seed": 0, "trees": 10}, "data": {"path": "x" * 600, "label": None}}
    made = registry.register(
        Candidate(
            forest,
            bundle,
            params,
            {"auroc": 0.9},
            {"trigger": "drift"},
            {"passed": True, "reason": "all is well"},
            read,
            draw_plots(bundle, rows, rows),
            "c0ffee",
        )
    )
    client: Any = registry.server.client  # descriptions may be None, these must not
    run = client.get_run(made.run_id)
    assert run.data.params == {"forest.seed": "0", "forest.trees": "10", "data.path": "x" * 500}
    assert run.data.tags["mlflow.source.git.commit"] == "c0ffee"
    assert run.data.tags["version.scikit-learn"] == importlib.metadata.version("scikit-learn")
    (used,) = run.inputs.dataset_inputs
    assert (used.dataset.name, used.dataset.digest, used.tags[0].value) == (
        "telemetry.csv",
        "ab" * 16,
        "training",
    )
    found = {
        file.path
        for folder in (None, "plots", "bundle")
        for file in client.list_artifacts(made.run_id, folder)
    }
    data = json.loads(
        Path(client.download_artifacts(made.run_id, "data.json", str(tmp_path))).read_text()
    )
    plots = {f"plots/{name}.png" for name in ("scores", "drift-floors", "precision-recall", "roc")}
    assert {"gate.json", "data.json", "bundle/model.json", *plots} <= found
    assert (data["rows"], data["files"][0]["etag"], data["columns"]) == (400, "e1", {"cpu": "cd"})
    logged = mlflow.models.get_model_info(f"models:/{registry.model_name}/{made.version}")
    assert logged.signature.inputs.input_names() == list(bundle.names)
    assert logged.saved_input_example_info is not None
    about = client.get_model_version(registry.model_name, made.version).description
    assert all(
        word in about
        for word in (
            "10 trees",
            "`/data/telemetry.csv`",
            "trigger: drift",
            "AUROC 0.900",
            "all is well",
        )
    )
    assert "champion" in client.get_registered_model(registry.model_name).description


def test_what_may_be_in_a_model_is_the_readers_list_and_not_the_artifacts(
    registry: Registry, model: Models
) -> None:
    version = registry.register(Candidate(*model(0), {}, {}, {}, {"passed": True}))
    assert type(registry.forest(version)) is IsolationForest
    client: Any = registry.server.client
    logged = client.get_model_version(registry.model_name, version.version).source.removeprefix(
        "models:/"
    )
    stored = Path(urlsplit(client.get_logged_model(logged).artifact_location).path)
    skops.io.dump({"forest": HostileForest()}, stored / "model.skops")
    trusted = yaml.safe_load((stored / "MLmodel").read_text())
    trusted["flavors"]["sklearn"]["skops_trusted_types"] = [
        f"{HostileForest.__module__}.HostileForest"
    ]
    (stored / "MLmodel").write_text(yaml.safe_dump(trusted))
    with pytest.raises(BundleError, match="HostileForest"):
        registry.forest(version)
