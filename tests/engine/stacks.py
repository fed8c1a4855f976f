"""Vigil's own stacks in the engine: how a test makes one, and changes it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import yaml

from tests.engine.home import Engine
from tests.infra.recorded import SECRETS

# As the workflows do: the preview is a run of its own.
APPLY = ("--yes", "--skip-preview")
# Nothing becomes ready on stand-ins.
UNWATCHED = {"readyTimeoutS": 0}


def new_stack(engine: Engine, stack: str, secrets: tuple[str, ...] = tuple(SECRETS)) -> None:
    """Make a stack as README does, with these secrets set."""
    engine.must("stack", "init", stack)
    configure(engine, stack, UNWATCHED)
    pairs = [part for key in secrets for part in ("--secret", f"vigil:{key}={SECRETS[key]}")]
    if pairs:
        engine.must("config", "set-all", "--stack", stack, *pairs)


def configure(engine: Engine, stack: str, values: Mapping[str, Any]) -> None:
    """Write keys into the stack's file, as an editor would; None takes a key away."""
    file = engine.project / f"Pulumi.{stack}.yaml"
    written = yaml.safe_load(file.read_text())
    written["config"] |= {f"vigil:{key}": value for key, value in values.items()}
    written["config"] = {key: one for key, one in written["config"].items() if one is not None}
    file.write_text(yaml.safe_dump(written))
