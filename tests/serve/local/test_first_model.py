"""The first training's own process, as far as it can be looked at without Ray."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from serve.local import first_model
from vigil.errors import PlatformError
from vigil.home import Home, RunningPlatform

PLATFORM = RunningPlatform("id", 1, 0.0, "x", "x", "x", "x", "x")


class Killer:
    """Ends the process that it is sent to."""

    def __reduce__(self) -> tuple[Any, ...]:
        return os._exit, (9,)


def test_a_training_that_is_killed_is_a_sentence(tmp_path: Path) -> None:
    spec: Any = Killer()
    with pytest.raises(PlatformError, match="too little memory"):
        first_model.train_first_model(PLATFORM, Home(tmp_path), spec)
