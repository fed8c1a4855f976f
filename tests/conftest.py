"""What all tests share: real data, the `vigil` command, and one running platform."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import hypothesis
import pytest

from tests.answering import answering
from tests.incident_events import EventReceiver
from tests.running import Vigil, free_port, left_of, listening
from tests.scheduling import pytest_xdist_make_scheduler as pytest_xdist_make_scheduler
from tests.tables import labelled_tables, real_data_folder

# How long an example takes says how busy the machine is.
hypothesis.settings.register_profile("vigil", deadline=None)
hypothesis.settings.register_profile("thorough", deadline=None, max_examples=10_000)
hypothesis.settings.load_profile("vigil")


def pytest_configure() -> None:
    # MLflow reads this when it is imported, which some tests do before a registry is made.
    os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Run fast tests first, then those that start a platform of their own.

    A mistake shows in seconds, before anything is started. The shared platform, which stays up
    until the end, comes last: so it shares the cores with no other.
    """

    def cost(item: pytest.Item) -> int:
        slow = "flow" in item.path.parts or "engine" in item.path.parts
        return slow + ("platform" in getattr(item, "fixturenames", ()))

    items.sort(key=cost)


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Run what takes `labelled_table` for the two small tables and for every real one."""
    if "labelled_table" in metafunc.fixturenames:
        tables = labelled_tables()
        names = [f"{table.parent.name}/{table.name}" for table in tables]
        metafunc.parametrize("labelled_table", tables, ids=names)


@pytest.fixture(scope="session")
def real_data() -> Path:
    """The folder of real labelled tables; tests that need it are skipped where it is absent."""
    folder = real_data_folder()
    if not folder.is_dir():
        pytest.skip(f"no real data: set VIGIL_TEST_DATA to their folder ({folder} is absent)")
    return folder


@pytest.fixture(scope="session")
def receiver() -> Iterator[EventReceiver]:
    """Who is told of the incidents of the running platform."""
    made = EventReceiver()
    with answering(made.answer) as url:
        made.url = url
        yield made


@pytest.fixture(scope="session")
def platform(tmp_path_factory: pytest.TempPathFactory, receiver: EventReceiver) -> Iterator[Vigil]:
    """One running platform with a champion trained on built-in telemetry.

    It only observes drift: what tests send is not what the model was trained on, and a retraining
    in between would move the champion that they are about. The champion judges each row alone, so
    that tests can compare a score with the forest's; tests/flow/test_context.py has one that looks
    back.
    """
    import pandas as pd

    from serve.local.telemetry import telemetry

    home = tmp_path_factory.mktemp("platform")
    table = telemetry(6000, seed=1)
    pd.DataFrame(table.X, columns=list(table.names)).to_csv(home / "telemetry.csv", index=False)
    environment = {
        "VIGIL_DRIFT_MODE": "observe",
        "VIGIL_DRIFT_NOTIFY": f"cloudevents+{receiver.url}/events",
        "VIGIL_DRIFT_INCIDENT_QUIET_S": "5",  # an incident is over after seconds
        "VIGIL_SERVE_GRPC_PORT": str(free_port()),
        "VIGIL_SERVE_AUTH": "off",
    }
    with Vigil(home, free_port(), environment).running(
        home / "telemetry.csv", "--over-time", "none"
    ) as vigil:
        yield vigil
    assert left_of(home) == []
    assert vigil.port not in listening()
