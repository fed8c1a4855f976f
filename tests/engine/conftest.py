"""The engine, where this machine has one."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.engine.home import Engine, lay_out, missing, missing_kubernetes
from tests.infra.api_server import api, kubeconfig


@pytest.fixture(scope="module")
def cluster() -> Iterator[str]:
    """The kubeconfig of an API server that is there, and has nothing."""
    with api() as server:
        yield kubeconfig(server.url)


@pytest.fixture(scope="module")
def engine(tmp_path_factory: pytest.TempPathFactory, cluster: str) -> Engine:
    """An engine over stand-ins; nothing exists yet."""
    if lacking := missing():
        pytest.skip(lacking)
    return lay_out(tmp_path_factory.mktemp("engine") / "pulumi", cluster)


@pytest.fixture(scope="module")
def engine_with_kubernetes(tmp_path_factory: pytest.TempPathFactory, cluster: str) -> Engine:
    """An engine with the real provider of Kubernetes."""
    if lacking := missing() or missing_kubernetes():
        pytest.skip(lacking)
    return lay_out(tmp_path_factory.mktemp("engine") / "pulumi", cluster, real=("kubernetes",))
