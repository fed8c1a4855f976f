"""`local` in the real engine with the real provider of Kubernetes; its cluster has nothing yet."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from infra.manifests.operators import helm_charts
from infra.stack_settings import read_files
from tests.engine.charts import repository
from tests.engine.home import DEADLINE_S, Engine
from tests.engine.run import Run, kind
from tests.engine.stacks import configure, new_stack

pytestmark = pytest.mark.timeout(DEADLINE_S)  # of the runs that its tests read


@pytest.fixture(scope="module")
def preview(
    engine_with_kubernetes: Engine,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Run]:
    """Its first preview, under the policies."""
    folder: Path = tmp_path_factory.mktemp("charts")
    with repository(folder, helm_charts(read_files("local"))) as url:
        new_stack(engine_with_kubernetes, "local")
        changes = {"chartRepository": url, "admission": "warn"}
        configure(engine_with_kubernetes, "local", changes)
        yield engine_with_kubernetes.under_policies("preview", "local")


def test_the_first_preview_is_refused_by_no_policy(preview: Run) -> None:
    assert preview.code == 0, preview.output[-3000:]
    assert (preview.violations(), preview.skipped) == ([], [])
    assert preview.judged > 100


def test_everything_that_the_stack_is_made_of_is_in_the_preview(preview: Run) -> None:
    made = {kind(urn) for _, urn in preview.steps}
    assert made >= {
        "kubernetes:admissionregistration.k8s.io/v1:ValidatingAdmissionPolicy",
        "kubernetes:admissionregistration.k8s.io/v1:ValidatingAdmissionPolicyBinding",
        "kubernetes:batch/v1:Job",
        "kubernetes:helm.sh/v3:Release",
        "kubernetes:networking.k8s.io/v1:NetworkPolicy",
        "kubernetes:ray.io/v1:RayCluster",
        "kubernetes:ray.io/v1:RayService",
    }
