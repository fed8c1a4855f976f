"""The first training's own process, as far as it can be looked at without Ray, and what becomes of
the version."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from serve.local import first_model
from tests.train.registry.test_promotion import Known, Shelf
from vigil.errors import PlatformError, VigilError
from vigil.home import Home, RunningPlatform

PLATFORM = RunningPlatform("id", 1, "", "x", "x", "x", "x", "x")


class Killer:
    """Ends the process that it is sent to."""

    def __reduce__(self) -> tuple[Any, ...]:
        return os._exit, (9,)


class Judged(Shelf):
    """A registry whose versions have all failed their gate, or passed it; of them 4 has other
    features."""

    def __init__(self, verdict: str) -> None:
        super().__init__()
        self.verdict = verdict

    def get(self, version: str) -> Known:
        return replace(super().get(version), verdict=self.verdict)


def serve(registry: Judged, version: str, **options: bool) -> None:
    verdict = {"passed": registry.verdict == "passed", "reason": "it alerts on .5"}
    result: Any = SimpleNamespace(version=registry.get(version), verdict=verdict)
    first_model.serve_trained(result, registry, **options)


def test_a_training_that_is_killed_is_a_sentence(tmp_path: Path) -> None:
    spec: Any = Killer()
    with pytest.raises(PlatformError, match="too little memory"):
        first_model.train_first_model(PLATFORM, Home(tmp_path), spec)


def test_what_passes_its_gate_is_served() -> None:
    registry = Judged("passed")
    for version in ("1", "2", "4"):
        serve(registry, version, require_gate=True)
    assert registry.alias == {"champion": "4", "previous": "2"}


def test_the_first_version_is_served_whatever_its_gate_says_and_told(
    capsys: pytest.CaptureFixture[str],
) -> None:
    registry = Judged("failed")
    serve(registry, "1")
    assert registry.alias == {"champion": "1"}
    assert registry.entries[0].gates == {
        "passed": False,
        "forced": True,
        "reason": "it alerts on .5",
    }
    told = capsys.readouterr().err
    assert "warning: version 1 failed its gate: it alerts on .5" in told
    assert "--require-gate" in told


def test_a_champion_is_kept_from_what_failed_only_where_it_has_the_same_features(
    capsys: pytest.CaptureFixture[str],
) -> None:
    registry = Judged("failed")
    serve(registry, "1")
    serve(registry, "2")
    assert registry.alias == {"champion": "1"}
    assert "`vigil promote 2 --force`" in capsys.readouterr().err
    serve(registry, "4")
    assert registry.alias == {"champion": "4", "previous": "1"}


def test_a_required_gate_is_required_of_the_first_version_too() -> None:
    registry = Judged("failed")
    with pytest.raises(VigilError, match=r"version 1 failed its gate.*alerts on \.5"):
        serve(registry, "1", require_gate=True)
    assert not registry.alias
