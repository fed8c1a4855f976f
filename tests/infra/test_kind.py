"""The prerequisites of a kind cluster: found, or said how to get."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest

from infra.kind import (
    ShellStep,
    StepFailed,
    carry_out,
    check_prerequisites,
    down_steps,
    resources_needed,
    up_steps,
)
from infra.stack_settings import read_files
from tests.infra.recorded import ROOT


def a_ready_machine(command: Sequence[str]) -> tuple[int, str]:
    answers = {
        "config": "kind-vigil\n",
        "storageclass": "storageclass.storage.k8s.io/standard\n",
        "exec": '["vigil:dev"]',
    }
    return 0, next((text for word, text in answers.items() if word in command), "")


def test_a_ready_machine_lacks_nothing_but_perhaps_room() -> None:
    assert [
        one.what
        for one in check_prerequisites(read_files("local"), a_ready_machine)[:-1]
        if not one.ok
    ] == []


def test_what_is_missing_says_how_to_get_it() -> None:
    found = check_prerequisites(read_files("local"), lambda command: (1, ""))
    fixes = {one.what: one.fix for one in found if not one.ok}
    assert fixes["kubectl points at a kind cluster"] == "kind create cluster --name vigil"
    assert fixes["image vigil:dev is on the node"].startswith(
        "docker build -t vigil:dev . && kind load docker-image vigil:dev"
    )
    assert all(fixes.values())


def test_the_steps_of_the_page_are_those_that_are_carried_out(tmp_path: Path) -> None:
    page = (ROOT / "docs" / "deploy.md").read_text()
    up = up_steps("vigil:dev", lambda: "{}", lambda _: (1, ""), tmp_path)
    steps = [*up, *down_steps(lambda _: (0, "vigil\n"))]
    for step in steps:
        words = str(step).replace(" --yes", "").replace(" --stack kind", "")
        if "--secret" not in words:
            assert words in page, words


def test_a_second_run_makes_nothing_twice(tmp_path: Path) -> None:
    keys = ("rayToken", "mlflowPassword", "mlflowSecretKey", "apiKeys")
    text = "".join(f"  vigil:{key}: {{}}\n" for key in keys)
    (tmp_path / "Pulumi.kind.yaml").write_text(text)
    asked: list[str] = []

    def key() -> str:
        asked.append("a key")
        return ""

    steps = list(up_steps("vigil:dev", key, lambda _: (0, "vigil\n"), tmp_path))
    again = [str(step).split()[0] for step in steps if not step.done]
    assert again == ["kubectl", "docker", "kind", "mkdir", "pulumi", "pulumi"]
    assert asked == []


def test_secrets_are_in_no_argument() -> None:
    steps = list(up_steps("vigil:dev", lambda: "hash", lambda _: (1, ""), Path("/nonexistent")))
    told = [step.text for step in steps if step.text]
    assert len(told) == 4
    assert not [word for step in steps for word in step.command if word in told]


def test_a_step_that_fails_says_that_it_can_be_repeated(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(StepFailed, match="`false` has failed"):
        carry_out(iter([ShellStep(["true"]), ShellStep(["false"]), ShellStep(["never"])]))
    assert "$ true" in capsys.readouterr().err


def test_the_room_is_what_the_pods_ask_for() -> None:
    """All pods on the node.

    Two heads with their autoscalers, a worker, the monitor, MLflow; a training worker, the
    operator, Kubernetes.
    """
    cpu, memory = resources_needed(read_files("local"))
    assert memory == pytest.approx(2 * (2 + 0.5) + 2 + 1.5 + 1.5 + 3 + 0.5 + 0.3)
    assert cpu == pytest.approx(2 * (1 + 0.2) + 1 + 0.5 + 0.5 + 2 + 0.1 + 0.95)
