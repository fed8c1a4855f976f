"""Data breaks of a real machine, where there is one: a part of `make bench ARGS=drift`."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.bench.telemetry import KINDS, Machine, break_windows, false_episodes, machines


@pytest.fixture
def machine(real_data: Path) -> Machine:
    file = real_data / "asd" / "omi-4.npz"
    if not file.is_file():
        pytest.skip(f"no real telemetry: {file} is absent")
    return next(machine for machine in machines() if machine.name == "asd/omi-4")


def test_breaks_that_can_be_told_are_told_and_are_no_drift(machine: Machine) -> None:
    tallies = break_windows(machine, machine.windows, trials=3)
    for kind in KINDS:
        assert tallies[kind].called >= 0.9, kind
        assert tallies[kind].drifted <= 0.05, kind
    assert false_episodes(machine) == 0
