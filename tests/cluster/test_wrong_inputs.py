"""What is wrong is said, by name and within its deadline; most of it before anything is made."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.cluster.kube import Cluster, Object
from tests.cluster.stack import PulumiFailed, Stack, project

SECRETS = {
    "rayToken": secrets.token_hex(24),
    "mlflowPassword": secrets.token_hex(12),
    "mlflowSecretKey": secrets.token_hex(24),
    "apiKeys": "{}",
}
NAMES = {"app.kubernetes.io/part-of": "vigil", "app.kubernetes.io/instance": "vigil-wrong"}


@pytest.fixture
def wrong(cluster: Cluster, config: dict[str, Any], tmp_path: Path) -> Callable[..., Stack]:
    """Make a stack with other settings than those that work."""

    def make(**changes: Any) -> Stack:
        made = Stack(project(tmp_path / "project"), cluster.environment, name="wrong")
        made.init(config | changes, SECRETS)
        return made

    return make


@pytest.fixture
def namespace(cluster: Cluster) -> Iterator[Callable[..., None]]:
    """Make the namespace `vigil`; it goes in the end."""

    def make(labels: dict[str, str], *objects: Object) -> None:
        metadata = {"name": "vigil", "labels": labels}
        cluster.apply({"apiVersion": "v1", "kind": "Namespace", "metadata": metadata}, *objects)

    assert not cluster.exists("namespace", "vigil")
    yield make
    cluster.kubectl("delete", "namespace", "vigil", timeout_s=180)


def refused(stack: Stack, *words: str) -> None:
    """A preview names what is wrong, without a traceback, and nothing was made."""
    with pytest.raises(PulumiFailed) as failure:
        stack.preview()
    for word in words:
        assert word in str(failure.value)
    assert "Traceback" not in str(failure.value)
    assert not stack.state()["deployment"].get("resources")


def test_no_kubeconfig(wrong: Callable[..., Stack], tmp_path: Path) -> None:
    stack = wrong()
    missing = str(tmp_path / "nowhere")
    refused(replace(stack, environment={**stack.environment, "KUBECONFIG": missing}), missing)


def test_a_wrong_context(wrong: Callable[..., Stack], cluster: Cluster, tmp_path: Path) -> None:
    text = yaml.safe_load(cluster.kubeconfig.read_text())
    file = tmp_path / "kubeconfig"
    file.write_text(yaml.safe_dump({**text, "current-context": "elsewhere"}))
    stack = wrong()
    refused(replace(stack, environment={**stack.environment, "KUBECONFIG": str(file)}), "elsewhere")


def test_a_storage_class_that_does_not_exist(wrong: Callable[..., Stack]) -> None:
    refused(wrong(homeStorageClass="nowhere"), "storage class 'nowhere'", "vigil:homeStorageClass")


def test_a_namespace_of_somebody_else(
    wrong: Callable[..., Stack], namespace: Callable[..., None]
) -> None:
    namespace({})
    refused(wrong(), "namespace 'vigil'", "kubectl label namespace vigil")


def test_a_quota_that_is_too_small(
    wrong: Callable[..., Stack], namespace: Callable[..., None]
) -> None:
    quota = {
        "apiVersion": "v1",
        "kind": "ResourceQuota",
        "metadata": {"name": "small", "namespace": "vigil"},
        "spec": {"hard": {"requests.memory": "2Gi"}},
    }
    namespace(NAMES, quota)
    refused(wrong(), "quota 'small' of namespace 'vigil'", "requests.memory 2Gi")


def test_an_image_that_does_not_exist(wrong: Callable[..., Stack]) -> None:
    stack = wrong(image="vigil:nowhere", readyTimeoutS=60)
    try:
        with pytest.raises(PulumiFailed) as failure:
            stack.up()
        assert "vigil:nowhere" in str(failure.value)
        assert "kind load docker-image" in str(failure.value) or "pull" in str(failure.value)
    finally:
        stack.destroy()


def test_a_plain_secret(wrong: Callable[..., Stack]) -> None:
    stack = wrong()
    stack.set({"rayToken": "for all to read"})
    refused(stack, "pulumi config set --secret vigil:rayToken")
