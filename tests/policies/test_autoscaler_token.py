"""Where the autoscaler beside Ray's head may have its token from."""

from __future__ import annotations

import pytest

from policies.rules import POLICIES
from tests.policies.good import GOOD
from tests.policies.harness import REMOVED, Given, changed, run

POLICY = {policy.name: policy for policy in POLICIES}


@pytest.mark.parametrize(
    ("pod", "account", "status"),
    [
        (None, None, "passed"),  # KubeRay makes an account, and Kubernetes mounts its token
        (None, True, "passed"),
        (None, False, "violated"),
        (True, False, "passed"),  # what the pod says goes before what its account says
        (False, True, "violated"),
    ],
)
def test_the_token_of_an_autoscaler_is_mounted_by_its_pod_or_its_account(
    pod: bool | None, account: bool | None, status: str
) -> None:
    spec = "spec.rayClusterConfig.headGroupSpec.template.spec"
    (service,) = (each for each in GOOD if each.name == "serve")
    service = changed(service, "spec.rayClusterConfig.enableInTreeAutoscaling", True)
    service = changed(service, f"{spec}.serviceAccountName", "head")
    said = REMOVED if pod is None else pod
    service = changed(service, f"{spec}.automountServiceAccountToken", said)
    accounts = [
        Given(
            "kubernetes:core/v1:ServiceAccount",
            f"{namespace}/{name}",
            {
                "metadata": {"name": name, "namespace": namespace},
                "automountServiceAccountToken": says,
            },
        )
        for namespace, name, says in (
            ("vigil", "head", account),
            ("other", "head", False),
            ("vigil", "other", False),
        )
        if says is not None
    ]
    assert run(POLICY["ray-autoscaler-has-token"], [service, *accounts]).status == status


@pytest.mark.parametrize(
    ("folder", "volume", "status"),
    [
        ("/var/run/secrets/kubernetes.io/serviceaccount", "token", "passed"),
        ("/var/run/secrets/kubernetes.io/serviceaccount", "tmp", "violated"),
        ("/tmp", "token", "violated"),
    ],
)
def test_the_token_may_be_the_autoscaler_s_alone(folder: str, volume: str, status: str) -> None:
    spec = "spec.rayClusterConfig.headGroupSpec.template.spec"
    (service,) = (each for each in GOOD if each.name == "serve")
    service = changed(service, "spec.rayClusterConfig.enableInTreeAutoscaling", True)
    mounts = {"volumeMounts": [{"name": volume, "mountPath": folder}]}
    service = changed(service, "spec.rayClusterConfig.autoscalerOptions", mounts)
    sources = [{"serviceAccountToken": {"path": "token"}}]
    token = {"name": "token", "projected": {"sources": sources}}
    volumes = [{"name": "tmp", "emptyDir": {}}, token]
    service = changed(service, f"{spec}.volumes", volumes)
    assert run(POLICY["ray-autoscaler-has-token"], [service]).status == status
