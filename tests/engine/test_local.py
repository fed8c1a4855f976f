"""`local` in the real engine with the real provider of Kubernetes; its cluster does not answer."""

from __future__ import annotations

import pytest

from tests.engine.home import DEADLINE_S, Engine
from tests.engine.run import Run
from tests.engine.stacks import new_stack

pytestmark = pytest.mark.timeout(DEADLINE_S)  # of the runs that its tests read


@pytest.fixture(scope="module")
def preview(engine_with_kubernetes: Engine) -> Run:
    """Its first preview, under the policies."""
    new_stack(engine_with_kubernetes, "local")
    return engine_with_kubernetes.under_policies("preview", "local")


def test_the_first_preview_is_refused_by_no_policy(preview: Run) -> None:
    assert preview.code == 0, preview.output[-3000:]
    assert (preview.violations(), preview.skipped) == ([], [])
    assert preview.changes["create"] > 30
