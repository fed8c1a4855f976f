"""What a cluster lacks is said before the first resource is made."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pulumi
import pytest

from infra.diagnosis.report import Diagnosis
from infra.kube import connect
from infra.manifests import all_objects
from infra.manifests.bindings import Bindings
from infra.manifests.delivery import needed_apis
from infra.preflight import PodTotals, StackNeeds, find_obstacles, preflight, totals_by_namespace
from infra.stack_settings import read_files
from tests.infra import api_server
from tests.infra import cluster_objects as given
from tests.infra.api_server import FakeApi, kubeconfig, status
from tests.infra.recorded import changed
from tests.infra.rendered import SIGNED_IMAGE

OURS = {"app.kubernetes.io/part-of": "vigil"}
WANTED = StackNeeds(
    namespaces=("vigil", "vigil-tracking", "vigil-operators"), storage_class="standard"
)
CLASSES = "/apis/storage.k8s.io/v1/storageclasses"
QUOTAS = "/api/v1/namespaces/vigil/resourcequotas"


@pytest.fixture
def api() -> Iterator[FakeApi]:
    with api_server.api() as server:
        server.shows({"StorageClass": [given.storage_class(), given.storage_class("fast")]})
        yield server


def found(api: FakeApi, wanted: StackNeeds = WANTED) -> list[Diagnosis]:
    return find_obstacles(connect(kubeconfig(api.url)), wanted)


def test_an_empty_cluster_is_ready_to_be_filled(api: FakeApi) -> None:
    assert found(api) == []
    preflight(WANTED, kubeconfig(api.url))


def test_namespaces_of_this_platform_are_no_obstacle(api: FakeApi) -> None:
    labels = {**OURS, "app.kubernetes.io/instance": "local"}
    api.shows({"Namespace": [given.namespace("vigil", labels=labels)]})
    assert found(api, StackNeeds(namespaces=("vigil",), stack="local")) == []
    (other,) = found(api, StackNeeds(namespaces=("vigil",), stack="dev"))
    assert "belongs to another stack, local" in other.why


def test_a_namespace_of_somebody_else_is_refused_by_name(api: FakeApi) -> None:
    api.shows({"Namespace": [given.namespace("vigil-tracking", labels={"team": "x"})]})
    with pytest.raises(pulumi.RunError) as caught:
        preflight(WANTED, kubeconfig(api.url))
    told = str(caught.value)
    assert told.startswith("namespace 'vigil-tracking': exists already and is not Vigil's")
    assert "pulumi import kubernetes:core/v1:Namespace vigil-tracking vigil-tracking" in told


def test_a_namespace_that_is_being_deleted_is_refused(api: FakeApi) -> None:
    api.shows({"Namespace": [given.namespace("vigil", "Terminating", labels=OURS)]})
    (one,) = found(api)
    assert (one.what, one.why) == ("namespace 'vigil'", "is still being deleted")


def test_a_storage_class_that_is_not_there_is_named_with_those_that_are(api: FakeApi) -> None:
    (one,) = found(api, StackNeeds(namespaces=(), storage_class="nosuch"))
    assert one.what == "storage class 'nosuch'"
    assert one.fix.endswith("vigil:homeStorageClass NAME` with one of: fast, standard")


def test_what_others_must_have_installed_is_named_with_the_setting_that_needs_it(
    api: FakeApi,
) -> None:
    apis = {"policies.kyverno.io/v1": "imageAdmission", "gateway.networking.k8s.io/v1": "ingress"}
    needed = needed_apis(
        changed(
            "local",
            ingress="gateway",
            hostname="a.b",
            image=SIGNED_IMAGE,
            image_admission="kyverno",
            github_repository="example/vigil",
        )
    )
    assert needed == apis
    assert needed_apis(read_files("local")) == {}
    missing = found(api, StackNeeds(namespaces=(), apis=needed))
    told = "is not in the cluster, and vigil:imageAdmission needs it"
    assert (missing[0].what, missing[0].why) == ("the API policies.kyverno.io/v1", told)
    assert len(missing) == 2
    api.replies["/apis/policies.kyverno.io/v1"] = (200, {"kind": "APIResourceList"})
    api.replies["/apis/gateway.networking.k8s.io/v1"] = status(403, "forbidden")
    (unread,) = found(api, StackNeeds(namespaces=(), apis=needed))
    assert "forbidden" in unread.why


def test_a_second_operator_is_a_warning_and_no_refusal(api: FakeApi) -> None:
    own, theirs = given.deployment(), given.deployment()
    theirs["metadata"]["namespace"] = "kuberay"
    api.replies["/apis/apps/v1/deployments"] = 200, {"items": [own, theirs]}
    warned: list[str] = []
    preflight(WANTED, kubeconfig(api.url), warn=warned.append)
    assert len(warned) == 1
    assert warned[0].startswith("kuberay/kuberay-operator: another KubeRay operator")


# --- quotas ---


def quota(hard: dict[str, str], **spec: Any) -> dict[str, Any]:
    return {"metadata": given.metadata("small"), "spec": {"hard": hard, **spec}}


@pytest.mark.parametrize(
    ("hard", "short"),
    [
        ({"requests.cpu": "10", "pods": "9"}, None),
        ({"cpu": "1500m"}, "cpu 1500m of 2"),
        ({"limits.memory": "4Gi"}, "limits.memory 4Gi of 6Gi"),
        ({"pods": "2", "requests.memory": "1Gi"}, "pods 2 of 3; requests.memory 1Gi of 3Gi"),
        ({"services": "0", "count/configmaps": "1"}, None),
    ],
)
def test_a_quota_that_the_pods_at_rest_do_not_fit_into(
    api: FakeApi,
    hard: dict[str, str],
    short: str | None,
) -> None:
    api.shows({"Namespace": [given.namespace("vigil", labels=OURS)]})
    api.replies[QUOTAS] = 200, {"items": [quota(hard), quota(hard, scopes=["Terminating"])]}
    sums = {("requests", "cpu"): 2.0, ("requests", "memory"): 3.0 * 2**30}
    room = PodTotals(3, {**sums, ("limits", "memory"): 6.0 * 2**30})
    told = [one.why for one in found(api, StackNeeds(namespaces=("vigil",), rooms={"vigil": room}))]
    assert told == ([f"is too small for the pods at rest: {short}"] if short else [])


def test_what_a_stack_asks_for_at_rest_is_counted_from_its_manifests() -> None:
    settings = read_files("local")
    groups = all_objects(settings, Bindings())
    room = totals_by_namespace([one for some in groups.values() for one in some])["vigil"]
    # Two heads, the workers at rest and the monitor; none that trains.
    assert room.pods == 2 + settings.min_workers + 1
    memory = 2 * (settings.head_memory_gib + 1) + settings.min_workers * settings.worker_memory_gib
    assert room.sums["requests", "memory"] >= memory * 2**30
    assert room.sums["limits", "memory"] < (memory + 4) * 2**30


# --- no cluster ---


def test_no_kubeconfig_wrong_context_and_no_answer_each_end_in_a_message_that_names_it(
    api: FakeApi,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("KUBECONFIG", str(tmp_path / "nowhere"))
    with pytest.raises(pulumi.RunError, match=r"no kubeconfig: .*nowhere does not exist"):
        preflight(WANTED)
    with pytest.raises(pulumi.RunError, match=r"no context 'prod' \(it has kind-vigil, other\)"):
        preflight(WANTED, kubeconfig(api.url, current="prod"))
    api.hang.set()
    with pytest.raises(pulumi.RunError, match=rf"API server {api.url} .* does not answer"):
        preflight(WANTED, kubeconfig(api.url), timeout_s=0.3)


def test_who_may_not_look_is_not_refused_for_it_but_warned(api: FakeApi) -> None:
    paths = (CLASSES, "/apis/apps/v1/deployments", "/api/v1/namespaces/vigil")
    api.replies |= {path: status(403, f"{path} is forbidden") for path in paths}
    warned: list[str] = []
    preflight(WANTED, kubeconfig(api.url), warn=warned.append)
    assert [path for path in paths if f"looked at: {path} is forbidden" not in str(warned)] == []


def test_who_is_not_known_is_told_to_log_in(api: FakeApi) -> None:
    api.replies["/version"] = status(401, "Unauthorized")
    with pytest.raises(pulumi.RunError, match="log in again"):
        preflight(WANTED, kubeconfig(api.url))
