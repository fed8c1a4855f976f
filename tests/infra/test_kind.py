"""The prerequisites of a kind cluster: found, or said how to get."""

from __future__ import annotations

from collections.abc import Sequence

from infra.kind import check, needs
from infra.settings import read_files
from tests.infra.recorded import recorded


def a_ready_machine(command: Sequence[str]) -> tuple[int, str]:
    answers = {"config": "kind-vigil\n", "storageclass": "storageclass.storage.k8s.io/standard\n", "exec": '["vigil:dev"]'}
    return 0, next((text for word, text in answers.items() if word in command), "")


def test_a_ready_machine_lacks_nothing_but_perhaps_room() -> None:
    assert [one.what for one in check(read_files("local"), a_ready_machine)[:-1] if not one.ok] == []


def test_what_is_missing_says_how_to_get_it() -> None:
    found = check(read_files("local"), lambda command: (1, ""))
    fixes = {one.what: one.fix for one in found if not one.ok}
    assert fixes["kubectl points at a kind cluster"] == "kind create cluster --name vigil"
    assert fixes["image vigil:dev is on the node"].startswith("docker build -t vigil:dev . && kind load docker-image vigil:dev")
    assert all(fixes.values())


def test_the_room_is_what_the_pods_ask_for() -> None:
    pods = []
    for kind in ("kubernetes:ray.io/v1:RayService", "kubernetes:ray.io/v1:RayCluster"):
        spec = recorded("local").one(kind).inputs["spec"]
        cluster = spec.get("rayClusterConfig", spec)
        pods += [
            cluster["headGroupSpec"]["template"],
            *(g["template"] for g in cluster["workerGroupSpecs"] for _ in range(g["replicas"])),
        ]
    asked = sum(int(pod["spec"]["containers"][0]["resources"]["requests"]["memory"].removesuffix("Gi")) for pod in pods)
    assert needs(read_files("local"))[1] - asked == 2 + 3 + 0.5  # autoscalers, MLflow and its migration, the operator
