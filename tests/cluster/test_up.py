"""`pulumi up` of a stack under the policies: it comes up, and nothing is left to change."""

from __future__ import annotations

from infra.manifests.bindings import OPERATORS_NAMESPACE, RAY_NAMESPACE, TRACKING_NAMESPACE
from tests.cluster.kube import name_of
from tests.cluster.platform import Platform


def test_the_service_answers_who_shows_a_key(platform: Platform) -> None:
    status, ready = platform.ask("/readyz")
    assert (status, ready["status"]) == (200, "ready")
    row = dict.fromkeys(ready["features"], 1.0)
    with platform.timed("one row"):
        status, answer = platform.ask("/predict", {"features": row})
    assert status == 200
    assert answer["model_version"] == ready["model_version"]


def test_a_second_preview_finds_nothing_to_change(platform: Platform) -> None:
    platform.stack.preview("--expect-no-changes")


def test_a_refresh_finds_nothing_to_change(platform: Platform) -> None:
    """Operator and autoscaler have written to the Ray objects by now."""
    platform.stack.preview("--refresh", "--expect-no-changes")


def test_no_pod_was_restarted_and_none_is_about_to_be(platform: Platform) -> None:
    for namespace in (RAY_NAMESPACE, TRACKING_NAMESPACE, OPERATORS_NAMESPACE):
        for pod in platform.cluster.list("pods", namespace=namespace):
            for container in pod["status"].get("containerStatuses", []):
                assert container["restartCount"] == 0, name_of(pod)


def test_every_budget_can_be_computed(platform: Platform) -> None:
    budgets = {name_of(one): one["status"] for one in platform.cluster.list("poddisruptionbudget")}
    assert budgets["vigil-serve-worker"]["disruptionsAllowed"] == 1
    assert budgets["vigil-serve-head"]["expectedPods"] == 1


def test_mlflow_serves_from_one_pod_alone(platform: Platform) -> None:
    """The pod of the migration has the same name; it must be no endpoint."""
    slices = platform.cluster.list(
        "endpointslices", "kubernetes.io/service-name=mlflow", namespace=TRACKING_NAMESPACE
    )
    targets = [one["targetRef"]["name"] for each in slices for one in each.get("endpoints") or []]
    assert len(targets) == 1
    assert "migrate" not in targets[0]


def test_the_operator_can_do_nothing_outside_its_namespace(platform: Platform) -> None:
    account = f"system:serviceaccount:{OPERATORS_NAMESPACE}:kuberay-operator"
    assert platform.cluster.may(account, "create", "pods", RAY_NAMESPACE)
    for namespace in (TRACKING_NAMESPACE, "kube-system"):
        assert not platform.cluster.may(account, "create", "pods", namespace)


def test_a_job_on_the_training_head_cannot_ask_the_api_server(platform: Platform) -> None:
    (head,) = platform.cluster.ready("train-head")
    folder = "/var/run/secrets/kubernetes.io"
    said = platform.cluster.execute(head, ["sh", "-c", f"ls {folder} 2>/dev/null || echo none"])
    assert said.strip() == "none"
