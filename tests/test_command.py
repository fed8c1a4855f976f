"""The `vigil` command as process 1 of a container."""

from __future__ import annotations

import sys

import pytest

from vigil.__main__ import command_below_init

INIT = "/bin/dumb-init"


def test_process_1_runs_below_an_init() -> None:
    assert command_below_init(1, INIT) == [INIT, "--single-child", "--", *sys.orig_argv]


@pytest.mark.parametrize(("pid", "init"), [(1, None), (7, INIT)])
def test_other_processes_do_not_nor_where_there_is_none(pid: int, init: str | None) -> None:
    assert command_below_init(pid, init) is None
