"""The `vigil` command: mounts each room's commands, nothing else."""

from __future__ import annotations

import codecs
import importlib
import locale
import os
import shutil
import sys
from contextlib import suppress

import click

from vigil.errors import PlatformError
from vigil.home import use_ray_token
from vigil.model_names import check_given_model_names
from vigil.settings import HomeSettings
from vigil.terminal import report_errors

# The module of each command, and the function where it has another name.
COMMANDS = {
    "up": "serve.local.cli",
    "down": "serve.local.cli",
    "status": "serve.local.cli",
    "top": "serve.local.top",
    "demo": "serve.local.cli",
    "stream": "serve.local.stream_command",
    "settings": "serve.local.show_settings",
    "keys": "serve.local.keys",
    "replay": "serve.local.replay",
    "train": "train.cli:train_command",
    "models": "train.versions_cli:models_command",
    "promote": "train.versions_cli:promote_command",
    "rollback": "train.versions_cli:rollback_command",
    "recalibrate": "train.versions_cli:recalibrate_command",
    "drift": "drift.cli",
    "backtest": "drift.backtest_cli",
    "incidents": "drift.incidents.cli:incidents_command",
    "silence": "drift.incidents.cli:silence_command",
    "rules": "drift.incidents.cli:rules_command",
    "mcp": "serve.mcp_server:mcp_command",
    "render": "infra.cli",
    "ship": "infra.ship",
    "doctor": "infra.cli",
}
_UTF8_VARIABLE = "PYTHONUTF8"
# They read the name of the model: one that is not that of the other rooms would go unseen.
MODEL_COMMANDS = {
    "up",
    "demo",
    "stream",
    "replay",
    "train",
    "models",
    "promote",
    "rollback",
    "recalibrate",
    "drift",
}


class _RoomCommands(click.Group):
    """Imports a room when one of its commands is called: `vigil --help` should not wait for Ray."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        place = COMMANDS.get(cmd_name)
        if place is None:
            return None
        module, _, function = place.partition(":")
        return getattr(importlib.import_module(module), function or cmd_name)


@click.command(cls=_RoomCommands)
@click.pass_context
@report_errors
def main(context: click.Context) -> None:
    """Vigil: real-time anomaly detection on Ray."""
    _use_utf8()
    below_init = command_below_init(os.getpid(), shutil.which("dumb-init"))
    if below_init is not None:
        os.execv(below_init[0], below_init)  # noqa: S606
    with suppress(PlatformError):  # a command that must write to the home says so itself
        use_ray_token(HomeSettings().open())
    if context.invoked_subcommand in MODEL_COMMANDS:
        check_given_model_names()


def _use_utf8() -> None:
    """Have this process and its children read and write UTF-8, whatever the locale says.

    Names of files and features are in it. Python decides when it starts, so it starts anew.
    """
    is_utf8 = {codecs.lookup(name).name for name in _text_encodings()} == {"utf-8"}
    if not is_utf8 and os.environ.get(_UTF8_VARIABLE) != "1":
        os.environ[_UTF8_VARIABLE] = "1"
        os.execv(sys.executable, sys.orig_argv)  # noqa: S606


def _text_encodings() -> tuple[str, str]:
    """Of names of files and of their content."""
    return sys.getfilesystemencoding(), locale.getpreferredencoding(do_setlocale=False)


def command_below_init(pid: int, init: str | None) -> list[str] | None:
    """Command line of this process below the program `init`, which reaps orphans.

    Only process 1 of a container needs one; None for any other process, and where there is no init.
    """
    if pid != 1 or init is None:
        return None
    return [init, "--single-child", "--", *sys.orig_argv]


if __name__ == "__main__":
    main()
