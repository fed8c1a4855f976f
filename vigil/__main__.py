"""The `vigil` command: mounts each room's commands, nothing else."""

from __future__ import annotations

import importlib
import importlib.util
import os
import shutil
import sys
from contextlib import suppress

import click

from vigil.errors import PlatformError
from vigil.home import use_ray_token
from vigil.settings import HomeSettings

COMMANDS = {
    "up": "serve.local.cli",
    "down": "serve.local.cli",
    "status": "serve.local.cli",
    "top": "serve.local.top",
    "demo": "serve.local.cli",
    "stream": "serve.local.cli",
    "settings": "serve.local.show_settings",
    "keys": "serve.local.keys",
    "replay": "serve.local.replay",
    "train": "train.cli",
    "models": "train.cli",
    "promote": "train.cli",
    "rollback": "train.cli",
    "recalibrate": "train.cli",
    "drift": "drift.cli",
    "bench": "tests.bench.cli",
    "render": "infra.cli",
    "ship": "infra.ship",
    "doctor": "infra.cli",
}


def _there(name: str) -> bool:
    """An installed wheel has no benchmarks: they are beside the tests."""
    return importlib.util.find_spec(COMMANDS[name].partition(".")[0]) is not None


class _Rooms(click.Group):
    """Imports a room when one of its commands is called: `vigil --help` should not wait for Ray."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return [name for name in COMMANDS if _there(name)]

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in COMMANDS or not _there(cmd_name):
            return None
        return getattr(importlib.import_module(COMMANDS[cmd_name]), cmd_name)


@click.command(cls=_Rooms)
def main() -> None:
    """Vigil: real-time anomaly detection on Ray."""
    _below_an_init()
    with suppress(PlatformError):  # a command that must write to the home says so itself
        use_ray_token(HomeSettings().open())


def _below_an_init() -> None:
    """As process 1 of a container run below an init, where there is one: it reaps orphans."""
    init = shutil.which("dumb-init")
    if os.getpid() == 1 and init is not None:
        os.execv(init, [init, "--single-child", "--", *sys.orig_argv])  # noqa: S606


if __name__ == "__main__":
    main()
