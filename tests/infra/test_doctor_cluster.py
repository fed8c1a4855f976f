"""`vigil doctor cluster`: what it looks at, prints and returns."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from infra.cli import doctor
from infra.kube import connect
from infra.observe import READYZ_PATH, ClusterObserver
from tests.infra import api_server
from tests.infra import cluster_objects as given
from tests.infra.api_server import READYZ, FakeApi, kubeconfig, kubeconfig_file, status

METRICS = "/apis/metrics.k8s.io/v1beta1/namespaces/vigil/pods"
SUMMARY = "/api/v1/nodes/node-1/proxy/stats/summary"


@pytest.fixture
def api() -> Iterator[FakeApi]:
    """A platform that is well as long as one does not look at the clock."""
    with api_server.api() as server:
        server.shows(given.WELL)
        server.replies["/apis/apps/v1/deployments"] = 200, {"items": given.WELL["Deployment"]}
        server.replies[READYZ] = 200, {"status": "ready"}
        yield server


def doctor_cluster(api: FakeApi, folder: Path, *options: str) -> Result:
    file = kubeconfig_file(folder, kubeconfig(api.url))
    return CliRunner().invoke(doctor, ["cluster", "--kubeconfig", file, *options])


def test_a_platform_that_is_well_is_exit_0(api: FakeApi, tmp_path: Path) -> None:
    done = doctor_cluster(api, tmp_path)
    assert (done.exit_code, done.stdout) == (0, "nothing is wrong\n")


def test_findings_are_shown_the_worst_first_and_are_exit_1(api: FakeApi, tmp_path: Path) -> None:
    claim = given.claim(storage_class="nosuch")
    api.shows({**given.WELL, "PersistentVolumeClaim": [claim]})
    api.replies[READYZ] = 503, {"error": {"type": "NoModel"}}
    done = doctor_cluster(api, tmp_path)
    assert done.exit_code == 1
    assert done.stdout.splitlines() == [
        "failure  claim vigil/home",
        "         there is no storage class 'nosuch'",
        "      -> set vigil:homeStorageClass to one of: standard",
        "note     the service",
        "         runs and has no champion yet: /readyz answers 503",
        "      -> `vigil train` a model, then `vigil promote VERSION`",
    ]


def test_a_note_alone_is_exit_0_and_json_is_one_object(api: FakeApi, tmp_path: Path) -> None:
    api.replies[READYZ] = 503, {"error": {"type": "NoModel"}}
    done = doctor_cluster(api, tmp_path, "--json", "--context", "other")
    told = json.loads(done.stdout)
    assert done.exit_code == 0
    assert (told["ok"], told["cluster"]) == (True, api.url)
    assert told["where"].startswith("context 'other' of ")
    assert [one["grade"] for one in told["findings"]] == ["note"]


def test_what_may_not_be_read_is_said_and_not_guessed(api: FakeApi, tmp_path: Path) -> None:
    path = "/apis/networking.k8s.io/v1/namespaces/vigil/networkpolicies"
    api.replies[path] = status(403, "networkpolicies is forbidden")
    done = doctor_cluster(api, tmp_path)
    assert done.exit_code == 0
    assert "not read NetworkPolicy: networkpolicies is forbidden" in done.stderr


@pytest.mark.parametrize("plural", ["pods", "rayservices", "rayclusters"])
def test_a_cluster_whose_pods_may_not_be_read_is_not_called_well(
    api: FakeApi, tmp_path: Path, plural: str
) -> None:
    paths = [path for path in api.replies if path.endswith(f"/{plural}")]
    api.replies |= {path: status(403, f"{plural} is forbidden") for path in paths}
    done = doctor_cluster(api, tmp_path)
    assert done.exit_code == 1
    assert done.stdout.startswith("not judged: ")
    answer = json.loads(doctor_cluster(api, tmp_path, "--json").stdout)
    assert (answer["ok"], answer["findings"]) == (False, [])
    assert answer["unjudged"]


def test_a_wrong_context_is_exit_1_with_a_message(api: FakeApi, tmp_path: Path) -> None:
    done = doctor_cluster(api, tmp_path, "--json", "--context", "nowhere")
    assert done.exit_code == 1
    assert json.loads(done.stdout)["error"]["type"] == "UnknownContext"


# --- what is looked at ---


def test_what_else_a_stack_has_made_is_looked_into(api: FakeApi) -> None:
    pods = "/api/v1/namespaces/{}/pods"
    api.replies["/api/v1/namespaces"] = 200, {"items": [{"metadata": {"name": "vigil-monitoring"}}]}
    api.replies[pods.format("vigil-monitoring")] = 200, {"items": [given.pod(name="grafana")]}
    seen = ClusterObserver(connect(kubeconfig(api.url))).look().seen
    assert "grafana" in [one.name for one in seen.of("Pod")]


def test_the_logs_of_what_crashes_are_read(api: FakeApi) -> None:
    crashing = given.container_status(
        state=given.waiting("CrashLoopBackOff"),
        lastState=given.terminated(3),
    )
    api.shows({**given.WELL, "Pod": [given.pod(statuses=[crashing])]})
    api.replies["/api/v1/namespaces/vigil/pods/vigil-serve-abc/log"] = 200, "no such table\n"
    seen = ClusterObserver(connect(kubeconfig(api.url))).look().seen
    assert list(seen.logs.values()) == ["no such table\n"]


def test_memory_comes_from_the_metrics_server_or_else_from_the_kubelets(api: FakeApi) -> None:
    about = {"namespace": "vigil", "name": "vigil-serve-abc"}
    measured = {"name": "ray", "memory": {"workingSetBytes": 5}}
    elsewhere = {"podRef": {"namespace": "x", "name": "y"}, "containers": [measured]}
    api.replies[SUMMARY] = 200, {"pods": [{"podRef": about, "containers": [measured]}, elsewhere]}
    observer = ClusterObserver(connect(kubeconfig(api.url)))
    key = ("vigil", "vigil-serve-abc", "ray")
    assert observer.look().seen.usage == {key: 5}
    usage = [{"name": "ray", "usage": {"memory": "2Ki"}}]
    api.replies[METRICS] = 200, {"items": [{"metadata": {"name": key[1]}, "containers": usage}]}
    assert observer.look().seen.usage == {key: 2048}
    api.replies[METRICS] = status(503, "the server is currently unable to handle the request")
    assert observer.look().seen.usage == {key: 5}


def test_readyz_is_asked_through_the_api_server(api: FakeApi) -> None:
    observer = ClusterObserver(connect(kubeconfig(api.url)))
    assert READYZ_PATH == READYZ
    reached = observer.readiness()
    assert reached is not None
    assert (reached.status, reached.reached) == (200, True)
    api.replies[READYZ] = status(503, "no endpoints available for service")
    refused = observer.readiness()
    assert refused is not None
    assert not refused.reached
    api.replies[READYZ] = status(403, "services is forbidden")
    assert observer.readiness() is None
