"""MLflow as the platform runs it.

The rendered commands run against a real PostgreSQL, with artifacts in S3 (moto's server).
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import boto3
import pytest
import sqlalchemy
from mlflow.store.tracking.dbmodels.initial_models import Base as Initial
from moto.server import ThreadedMotoServer
from sklearn.ensemble import IsolationForest

from infra.manifests import tracking
from infra.settings import PlatformSettings
from infra.stack_settings import read_files
from tests.postgres import postgres
from tests.running import eventually, free_port
from tests.train.conftest import model  # noqa: F401  # a fixture
from train.model.bundle import ModelBundle
from train.registry.candidate import Candidate
from train.registry.moves import completed_moves
from train.registry.promotion import promote_version
from train.registry.versions import Registry
from vigil.errors import RegistryUnavailable

Models = Callable[[int], tuple[IsolationForest, ModelBundle]]
PASSWORD = "for-this-test-only"
OLD_RUN = "0123456789abcdef0123456789abcdef"


@dataclass(frozen=True)
class Stores:
    """What MLflow keeps its things in: an old database, and a bucket."""

    settings: PlatformSettings
    database: str
    environment: dict[str, str]
    bucket: Any

    def command(self, rendered: list[str]) -> list[str]:
        """A command of a rendered container, in this machine's places."""
        known = {tracking.database_uri(self.settings): self.database, "0.0.0.0": "127.0.0.1"}
        return [
            str(Path(sys.executable).with_name("mlflow")),
            *(known.get(word, word) for word in rendered[1:]),
        ]

    def run_sql(self, text: str) -> list[Any]:
        engine = sqlalchemy.create_engine(self.database)
        with engine.begin() as connection:
            found = connection.execute(sqlalchemy.text(text))
            rows = list(found) if found.returns_rows else []
        engine.dispose()
        return rows


@pytest.fixture(scope="module")
def stores(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stores]:
    settings = read_files("prod")
    moto = ThreadedMotoServer("127.0.0.1", 0, verbose=False)
    moto.start()
    host, port = moto.get_host_and_port()
    aws = {
        "AWS_ENDPOINT_URL": f"http://{host}:{port}",
        "AWS_ACCESS_KEY_ID": "x",
        "AWS_SECRET_ACCESS_KEY": "x",
        "AWS_DEFAULT_REGION": "us-east-1",
    }
    folder = tmp_path_factory.mktemp("auth")
    try:
        with postgres() as database, pytest.MonkeyPatch.context() as patch:
            for name, value in aws.items():
                patch.setenv(name, value)
            urllib.request.urlopen(
                f"{aws['AWS_ENDPOINT_URL']}/moto-api/reset", b""
            ).close()  # its servers share one memory
            s3: Any = boto3.resource("s3")
            bucket = s3.create_bucket(Bucket=settings.bucket("models"))
            (folder / "auth.ini").write_text(tracking.mlflow_config(settings)["data"]["auth.ini"])
            server = urlsplit(database)
            environment = {
                **os.environ,
                "MLFLOW_AUTH_CONFIG_PATH": str(folder / "auth.ini"),
                "MLFLOW_AUTH_ADMIN_USERNAME": "vigil",
                "MLFLOW_AUTH_ADMIN_PASSWORD": PASSWORD,
                "MLFLOW_FLASK_SERVER_SECRET_KEY": "k",
                "PGHOST": "127.0.0.1",
                "PGPORT": str(server.port),
                "PGUSER": str(server.username),
                "MLFLOW_DISABLE_TELEMETRY": "true",
            }
            found = Stores(settings, f"{database.rpartition('/')[0]}/mlflow", environment, bucket)
            with sqlalchemy.create_engine(
                database, isolation_level="AUTOCOMMIT"
            ).connect() as connection:
                connection.execute(sqlalchemy.text("CREATE DATABASE mlflow"))
            yield found
    finally:
        moto.stop()


@contextmanager
def serving(stores: Stores, log: Path) -> Iterator[str]:
    port = free_port()
    words = stores.command(tracking.mlflow_command(stores.settings))
    words[words.index("--port") + 1] = str(port)
    words[words.index("--workers") + 1] = "1"
    with log.open("wb") as out:
        server = subprocess.Popen(
            words,
            env=stores.environment,
            stdout=out,
            stderr=out,
            cwd=log.parent,
            start_new_session=True,
        )
    url = f"http://127.0.0.1:{port}"

    def ready() -> bool:
        assert server.poll() is None, log.read_text()[-3000:]
        try:
            return urllib.request.urlopen(f"{url}/health", timeout=2).status == 200
        except OSError:
            return False

    try:
        eventually(ready, 90)
        yield url
    finally:
        os.killpg(
            server.pid, signal.SIGKILL
        )  # its workers too; what it was told is in the database
        server.wait(30)


@pytest.mark.timeout(240)
def test_an_old_database_is_migrated_and_carries_the_whole_registry(
    stores: Stores,
    model: Models,  # noqa: F811
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    engine = sqlalchemy.create_engine(stores.database)
    Initial.metadata.create_all(engine)  # MLflow's very first schema
    engine.dispose()
    stores.run_sql("INSERT INTO experiments VALUES (7, 'from-before', 's3://old/7', 'active')")
    stores.run_sql(
        "INSERT INTO runs (run_uuid, name, user_id, experiment_id, source_type, source_name,"
        " entry_point_name, source_version,"
        " status, start_time, lifecycle_stage, artifact_uri)"
        f" VALUES ('{OLD_RUN}', 'old', 'ann', 7, 'LOCAL', 'train.py', '', '',"
        " 'FINISHED', 1600000000000, 'active', 's3://old/7/run')"
    )

    job = tracking.mlflow_migration(stores.settings)["spec"]["template"]["spec"]["containers"][0]
    for _ in range(2):  # a Job may run twice
        done = subprocess.run(
            stores.command(job["command"]),
            env=stores.environment,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr[-3000:]

    with serving(stores, tmp_path / "mlflow.log") as url:
        monkeypatch.setenv("MLFLOW_TRACKING_USERNAME", "vigil")
        monkeypatch.setenv("MLFLOW_TRACKING_PASSWORD", PASSWORD)
        monkeypatch.setenv("MLFLOW_TRACKING_URI", url)
        registry = Registry(url, "vigil")
        assert registry.server.client.get_run(OLD_RUN).info.experiment_id == "7"
        first, second = (
            registry.register(
                Candidate(
                    *model(seed),
                    {"forest": {"seed": seed}},
                    {"alert_rate": 0.01},
                    {},
                    {"passed": True},
                )
            )
            for seed in (0, 1)
        )
        promote_version(registry, first.version, reason="first", actor="ann")
        promote_version(registry, second.version, reason="better", actor="ann")
        fetched = registry.fetch(second, tmp_path / "cache")
        assert (fetched.names, fetched.threshold) == (model(1)[1].names, model(1)[1].threshold)
        assert [(move.former, move.to, move.state) for move in completed_moves(registry)] == [
            ("1", "2", "done"),
            ("", "1", "done"),
        ]
        keys = [item.key for item in stores.bucket.objects.all()]
        assert any(key.endswith("bundle/forest.safetensors") for key in keys)
        assert {key.split("/")[0] for key in keys} == {"mlflow"}
        assert registry.forest(second).n_estimators == 10
        monkeypatch.setenv("MLFLOW_TRACKING_PASSWORD", "wrong")
        with pytest.raises(Exception, match="not authenticated"):
            Registry(url, "vigil").versions()
    with pytest.raises(RegistryUnavailable):
        registry.versions()
    assert stores.run_sql("SELECT count(*) FROM model_versions")[0][0] == 2
