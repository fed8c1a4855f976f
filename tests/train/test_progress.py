"""How far a training job is: its gauges, the seconds of its phases, and what is shown where there is no terminal."""

from __future__ import annotations

from typing import Any

import pytest

from train import progress
from train.progress import PHASES, JobProgress
from vigil import terminal
from vigil.terminal import ProgressSteps


class Gauge:
    """Remembers what it was set to, as Ray's keeps it for the exporter."""

    seen: dict[str, Any]

    def __init__(self, name: str, description: str, tag_keys: tuple[str, ...] = ()) -> None:
        self._name = name

    def set(self, value: float, tags: dict[str, str] | None = None) -> None:
        self.seen[self._name + "".join(f":{tag}" for tag in (tags or {}).values())] = value


@pytest.fixture
def seen(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    Gauge.seen = {}
    monkeypatch.setattr(progress, "Gauge", Gauge)
    return Gauge.seen


def test_a_job_is_in_one_phase_at_a_time_and_tells_rows_and_trees(seen: dict[str, Any]) -> None:
    told = JobProgress()
    with told.phase("read"):
        told.rows(3000)
    with told.phase("fit"):
        told.trees(40, 100)
        assert {name: seen[f"vigil_training_phase:{name}"] for name in PHASES} == {
            name: float(name == "fit") for name in PHASES
        }
    assert (seen["vigil_training_rows_read"], seen["vigil_training_trees_fitted"]) == (3000, 40)
    assert not any(seen[f"vigil_training_phase:{name}"] for name in PHASES)
    assert told.seconds.keys() == {"read", "fit"}
    assert min(told.seconds.values()) >= 0


def test_without_a_terminal_what_takes_long_is_a_line_now_and_then(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(terminal, "say", print)
    shown = ProgressSteps("training", None, 3)
    shown("begun")
    shown.part("1 of 9", 1 / 9)
    monkeypatch.setattr(terminal, "PART_S", -1.0)
    shown.part("2 of 9", 2 / 9)
    assert capsys.readouterr().out.splitlines() == ["begun", "2 of 9"]
