"""The engine, where this machine has one."""

from __future__ import annotations

import pytest

from tests.engine.home import Engine, lay_out, missing, missing_kubernetes


@pytest.fixture(scope="module")
def engine(tmp_path_factory: pytest.TempPathFactory) -> Engine:
    """An engine over stand-ins; nothing exists yet."""
    if lacking := missing():
        pytest.skip(lacking)
    return lay_out(tmp_path_factory.mktemp("engine") / "pulumi")


@pytest.fixture(scope="module")
def engine_with_kubernetes(tmp_path_factory: pytest.TempPathFactory) -> Engine:
    """An engine with the real provider of Kubernetes."""
    if lacking := missing() or missing_kubernetes():
        pytest.skip(lacking)
    return lay_out(tmp_path_factory.mktemp("engine") / "pulumi", real=("kubernetes",))
