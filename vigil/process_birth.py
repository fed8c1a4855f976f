"""Which process a number meant: numbers are given again."""

from __future__ import annotations

import os
import sys
from contextlib import suppress
from pathlib import Path

_BOOT_ID = Path("/proc/sys/kernel/random/boot_id")


def process_birth(pid: int) -> str | None:
    """Return what tells the process from every other that has this number; None without one.

    On Linux the boot and the ticks since then: a start time in Unix seconds changes there with the
    clock of the machine.
    """
    if sys.platform == "linux":
        with suppress(OSError):
            return f"{_boot()}/{_ticks_at_start(pid)}"
        return None
    return _unix_start(pid)


def _boot() -> str:
    with suppress(OSError):  # a sandbox may not have it
        return _BOOT_ID.read_text().strip()
    return ""


def _ticks_at_start(pid: int) -> int:
    """Field 22 of proc(5), counted behind the name, which may hold anything."""
    status = Path(f"/proc/{pid}/stat").read_text("utf-8", "replace")
    _, _, fields = status.rpartition(")")
    return int(fields.split()[19])


def _unix_start(pid: int) -> str | None:
    import psutil  # only callers that look for a process need it

    with suppress(psutil.NoSuchProcess):
        return repr(psutil.Process(pid).create_time())
    return None


def own_birth() -> str:
    """Return that of this process."""
    return process_birth(os.getpid()) or ""
