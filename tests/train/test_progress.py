"""How far a training job is: its gauges, the seconds of its phases, and what is shown."""

from __future__ import annotations

import pytest

from train.progress import PHASES, JobProgress
from vigil import terminal
from vigil.terminal import ProgressSteps


class Gauges:
    """Makes gauges that remember what they were set to, as Ray's do for the exporter."""

    def __init__(self) -> None:
        self.values: dict[str, float] = {}

    def __call__(self, name: str, description: str, tag_keys: tuple[str, ...] = ()) -> Gauge:
        return Gauge(name, self.values)

    def phases(self) -> dict[str, float]:
        return {phase: self.values[f"vigil_training_phase:{phase}"] for phase in PHASES}


class Gauge:
    def __init__(self, name: str, values: dict[str, float]) -> None:
        self._name = name
        self._values = values

    def set(self, value: float, tags: dict[str, str] | None = None) -> None:
        labels = "".join(f":{tag}" for tag in (tags or {}).values())
        self._values[self._name + labels] = value


def test_a_job_is_in_one_phase_at_a_time() -> None:
    gauges = Gauges()
    progress = JobProgress(gauge=gauges)
    with progress.phase("fit"):
        assert gauges.phases() == {phase: float(phase == "fit") for phase in PHASES}
    assert not any(gauges.phases().values())
    assert progress.seconds.keys() == {"fit"}
    assert progress.seconds["fit"] >= 0


def test_a_job_tells_rows_and_trees() -> None:
    gauges = Gauges()
    progress = JobProgress(gauge=gauges)
    progress.rows(3000)
    progress.trees(40, 100)
    assert gauges.values["vigil_training_rows_read"] == 3000
    assert gauges.values["vigil_training_trees_fitted"] == 40


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
