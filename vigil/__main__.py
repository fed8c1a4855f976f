"""The `vigil` command: mounts each room's commands, nothing else."""

from __future__ import annotations

import atexit
import codecs
import gc
import importlib
import locale
import os
import shutil
import sys
from contextlib import suppress

import click

from vigil.commands import COMMANDS, MODEL_COMMANDS

_UTF8_VARIABLE = "PYTHONUTF8"


class _RoomCommands(click.Group):
    """Imports a room when one of its commands is called: `vigil --help` should not wait for Ray."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        mounted = COMMANDS.get(cmd_name)
        if mounted is None:
            return None
        module, _, function = mounted.place.partition(":")
        return getattr(importlib.import_module(module), function or cmd_name)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """List the commands; click would import each of them for its help."""
        with formatter.section("Commands"):
            formatter.write_dl([(name, mounted.help) for name, mounted in COMMANDS.items()])


@click.command(cls=_RoomCommands)
@click.pass_context
def main(context: click.Context) -> None:
    """Vigil: real-time anomaly detection on Ray."""
    # At its end Python looks for garbage among all objects, twice: a second, where MLflow and
    # scikit-learn were imported. The system takes the memory anyhow.
    atexit.register(gc.freeze)
    _use_utf8()
    below_init = command_below_init(os.getpid(), shutil.which("dumb-init"))
    if below_init is not None:
        os.execv(below_init[0], below_init)  # noqa: S606
    _prepare(context.invoked_subcommand)


def _prepare(command: str | None) -> None:
    """What each command needs. Settings take time to import, and `--help` needs none."""
    from vigil.errors import PlatformError
    from vigil.home import use_ray_token
    from vigil.model_names import check_given_model_names
    from vigil.settings import HomeSettings
    from vigil.terminal import report_errors

    @report_errors
    def prepare() -> None:
        with suppress(PlatformError):  # a command that must write to the home says so itself
            use_ray_token(HomeSettings().open())
        if command in MODEL_COMMANDS:
            check_given_model_names()

    prepare()


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
