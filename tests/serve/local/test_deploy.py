"""Serve's own processes are started before there is anything to serve."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from drift.settings import DriftSettings
from serve.local.deploy import apply_serve_config, start_serve
from serve.settings import ServeSettings
from tests.answering import Asked, answering
from vigil.home import Home, RunningPlatform


def platform(url: str, folder: Path) -> RunningPlatform:
    """One whose dashboard is at `url`."""
    token = folder / "token"
    token.write_text("secret")
    return RunningPlatform("this", 1, "", "x", "x", url, "x", str(token))


def test_serve_starts_without_applications_and_on_the_same_address(tmp_path: Path) -> None:
    configs: list[Any] = []

    def answer(asked: Asked) -> tuple[int, Any]:
        configs.append(json.loads(asked.body))
        return 200, {}

    settings = ServeSettings(home=tmp_path)
    home = Home(tmp_path).create()
    with answering(answer) as url:
        there = platform(url, tmp_path)
        start_serve(there, settings, home).join()
        apply_serve_config(
            there,
            settings,
            DriftSettings(home=tmp_path),
            home=home,
        )
    begun, deployed = configs
    assert begun["applications"] == []
    assert len(deployed["applications"]) == 2
    assert begun | {"applications": None} == deployed | {"applications": None}


def test_a_serve_that_does_not_start_is_told_by_what_deploys_to_it(tmp_path: Path) -> None:
    with answering(lambda _: (503, {})) as url:
        there = platform(url, tmp_path)
        start_serve(there, ServeSettings(home=tmp_path), Home(tmp_path).create()).join()
