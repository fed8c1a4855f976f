"""The REST client beside MLflow's own: one real server, and both say the same of it."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import cast

import pytest

from serve.local.mlflow_server import mlflow_server
from tests.running import eventually, free_port, printed_by
from tests.train.conftest import Model, candidate, mlflow_of
from train.registry.canary import Canary
from train.registry.client_choice import can_speak_to
from train.registry.entities import MlflowRefusal
from train.registry.library_client import LibraryClient
from train.registry.promotion import promote_version, roll_back
from train.registry.rest_client import RestClient, require_inside
from train.registry.tracking_client import TrackingClient
from train.registry.versions import Registry, Version
from vigil import http
from vigil.errors import RegistryError, RegistryUnavailable
from vigil.home import Home


def is_up(url: str) -> bool:
    try:
        return http.request("GET", f"{url}/health", timeout_s=2.0).is_success
    except OSError:
        return False


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    home = Home(tmp_path_factory.mktemp("served"))
    home.create()
    port = free_port()
    found = f"http://127.0.0.1:{port}"
    with mlflow_server(home, port):
        eventually(lambda: is_up(found), timeout_s=240)
        yield found


def test_the_server_of_a_platform_answers_to_names_of_this_machine_alone(url: str) -> None:
    address = f"{url}/api/2.0/mlflow/experiments/search?max_results=1"
    foreign = {"Host": "rebound.example.com"}
    assert http.request("GET", address, timeout_s=5.0).status_code == 200
    assert http.request("GET", address, timeout_s=5.0, headers=foreign).status_code == 403


@pytest.fixture(scope="module")
def registry(url: str) -> Registry:
    return Registry(url, f"vigil-{uuid.uuid4().hex}")


@pytest.fixture(scope="module")
def versions(registry: Registry, model: Callable[[int], Model]) -> list[Version]:
    """Two versions, of which the first is champion and the second was."""
    made = [registry.register(candidate(model(seed), f"job {seed}")) for seed in (0, 1)]
    for version in made:
        promote_version(registry, version.version, reason="better", actor="test")
    roll_back(registry, reason="worse", actor="test")
    return made


@pytest.fixture(scope="module")
def library(registry: Registry) -> Registry:
    """The same registry, asked by MLflow's own client."""
    other = Registry(registry.tracking_uri, registry.model_name)
    other.server.client = cast(TrackingClient, LibraryClient(registry.tracking_uri))
    return other


def test_both_clients_say_the_same(
    registry: Registry, library: Registry, versions: list[Version]
) -> None:
    assert isinstance(registry.server.client, RestClient)
    assert registry.versions() == library.versions()
    assert registry.desired() == library.desired()
    assert (
        registry.aliases()
        == library.aliases()
        == {"champion": "1", "challenger": "2"} | {"previous": "2"}
    )
    assert registry.moves() == library.moves()
    assert [move.kind for move in registry.moves(most=2)] == ["rollback", "promote"]
    assert registry.latest(1) == library.latest(1)
    assert registry.gate(versions[0]) == library.gate(versions[0]) == {"passed": True}
    found = registry.of_job("job 1")
    assert found == library.of_job("job 1")
    assert found is not None
    assert found.metrics["alert_rate"] == 0.05


def test_a_bundle_is_what_was_registered(
    registry: Registry, versions: list[Version], model: Callable[[int], Model], tmp_path: Path
) -> None:
    fetched = registry.fetch(versions[1], tmp_path)
    assert fetched.schema_hash == model(1)[1].schema_hash
    rows = model(1)[1].golden
    assert (fetched.forest.score(rows) == model(1)[1].forest.score(rows)).all()


def test_a_canary_comes_and_goes(registry: Registry, library: Registry) -> None:
    canary = Canary("2", "1", 100.0, ((0.1, 60.0),))
    registry.set_canary(canary)
    assert registry.canary() == library.canary() == canary
    registry.set_canary(None)
    assert registry.canary() is None


def test_a_report_is_kept(registry: Registry, library: Registry, tmp_path: Path) -> None:
    registry.log_report("17-3", "<html>drift</html>")
    experiment = registry.server.experiment_id("vigil-drift")
    (run,) = mlflow_of(library).search_runs([experiment], "tags.episode = '17-3'")
    path = registry.server.client.download_artifacts(run.info.run_id, "drift.html", str(tmp_path))
    assert Path(path).read_text() == "<html>drift</html>"


def test_refusals_are_the_same(registry: Registry, library: Registry) -> None:
    for one in (registry, library):
        with pytest.raises(RegistryError, match="has no version 99"):
            one.get("99")
        assert one.server.find_model("nobody") is None
        assert not one.server.create_model(registry.model_name, "twice")
    with pytest.raises(MlflowRefusal) as refused:
        registry.server.client.get_run("no such run")
    assert refused.value.error_code == "RESOURCE_DOES_NOT_EXIST"


def test_a_server_that_is_away_is_unavailable(tmp_path: Path) -> None:
    away = Registry("http://127.0.0.1:9", "vigil")
    with pytest.raises(RegistryUnavailable, match=r"http://127\.0\.0\.1:9 does not answer"):
        away.versions()


@pytest.mark.parametrize("path", ["../secret", "/etc/passwd", "bundle/../../secret", ""])
def test_no_server_has_files_written_elsewhere(path: str) -> None:
    with pytest.raises(OSError, match="the server names an artifact"):
        require_inside(path)


@pytest.mark.parametrize(
    ("tracking_uri", "variables", "expected"),
    [
        ("http://mlflow:5000", {}, True),
        ("https://mlflow", {"MLFLOW_TRACKING_TOKEN": "t"}, True),
        ("https://mlflow", {"MLFLOW_TRACKING_INSECURE_TLS": "true"}, False),
        ("sqlite:////home/mlflow.db", {}, False),
        ("databricks", {}, False),
    ],
)
def test_what_only_the_library_can_speak_to_is_left_to_it(
    tracking_uri: str,
    variables: dict[str, str],
    expected: bool,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    assert can_speak_to(tracking_uri) is expected


def test_whoever_follows_a_registry_does_not_import_mlflow(
    registry: Registry, versions: list[Version], tmp_path: Path
) -> None:
    program = (
        "import sys\n"
        "from pathlib import Path\n"
        "from train.registry.versions import Registry\n"
        f"registry = Registry({registry.tracking_uri!r}, {registry.model_name!r})\n"
        "champion = registry.champion()\n"
        f"registry.fetch(champion, Path({str(tmp_path)!r}))\n"
        "registry.versions(), registry.moves()\n"
        "print('mlflow' in sys.modules)\n"
    )
    assert printed_by(program) == "False"
