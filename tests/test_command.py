"""The `vigil` command as process 1 of a container."""

from __future__ import annotations

import os
import shutil
import sys

import pytest

from vigil import __main__ as vigil


@pytest.mark.parametrize(
    ("pid", "init", "runs_below"),
    [(1, "/bin/dumb-init", True), (1, None, False), (7, "/bin/dumb-init", False)],
)
def test_process_1_runs_below_an_init_where_there_is_one(
    monkeypatch: pytest.MonkeyPatch, pid: int, init: str | None, runs_below: bool
) -> None:
    ran: list[list[str]] = []
    monkeypatch.setattr(os, "getpid", lambda: pid)
    monkeypatch.setattr(shutil, "which", lambda _: init)
    monkeypatch.setattr(os, "execv", lambda _, command: ran.append(command))
    vigil._below_an_init()
    assert ran == ([[init, "--single-child", "--", *sys.orig_argv]] if runs_below else [])
