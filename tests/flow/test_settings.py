"""A changed settings file on the running platform.

What is taken live restarts nothing, what restarts does so in turn.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
import yaml

from tests.running import Vigil, eventually
from tests.swapping import Alias, Traffic

pytestmark = pytest.mark.platform
SOON_S = 5.0
ROLLED_S = 90.0


@pytest.fixture
def say(platform: Vigil) -> Iterator[Callable[[dict[str, Any]], None]]:
    """Write the settings file of the shared platform; in the end all is as it was.

    The file is gone then, and the replicas are as they were.
    """
    file = platform.home / "vigil.yaml"

    def write(told: dict[str, Any]) -> None:
        file.write_text(yaml.safe_dump(told))

    yield write
    before = set(platform.replicas())
    rolled = "cpusPerReplica" in file.read_text()
    file.unlink()
    if rolled:
        eventually(lambda: others(platform, before), ROLLED_S)


def others(platform: Vigil, before: set[int]) -> bool:
    """Whether there are as many replicas as before, and none of them."""
    now = set(platform.replicas())
    return len(now) >= len(before) and not now & before


def test_a_limit_is_taken_by_every_replica_that_runs(
    platform: Vigil, say: Callable[[dict[str, Any]], None]
) -> None:
    row = Alias(platform).row
    three, before = {"instances": [row] * 3}, set(platform.replicas())
    with Traffic(platform.url, row, connections=4, pause=0.01).running() as traffic:
        say(
            {
                "serve": {"maxRows": 2, "links": {"Runbook": "https://runbooks.example.com"}},
                "drift": {"keepWindows": 77},
            }
        )
        eventually(
            lambda: {platform.post("/predict", three)[0] for _ in range(12)} == {413}, SOON_S
        )
        say({"serve": {"maxRows": 0}})  # which is refused, and changes nothing
        say({})
        eventually(
            lambda: {platform.post("/predict", three)[0] for _ in range(12)} == {200}, SOON_S
        )
    assert traffic.failed == []
    assert set(platform.replicas()) == before


def test_the_next_training_reads_what_the_file_says(
    platform: Vigil, say: Callable[[dict[str, Any]], None]
) -> None:
    say({"train": {"nEstimators": 17}})
    told = platform.json("settings", "train", "--changed")["settings"]
    assert {one["key"]: one["value"] for one in told} == {"train.nEstimators": 17}


def test_what_restarts_replicas_restarts_them_in_turn(
    platform: Vigil, say: Callable[[dict[str, Any]], None]
) -> None:
    before = set(platform.replicas())
    with Traffic(platform.url, Alias(platform).row, connections=4, pause=0.01).running() as traffic:
        say({"serve": {"cpusPerReplica": 0.2}})
        eventually(lambda: others(platform, before), ROLLED_S)
    assert traffic.failed == []
