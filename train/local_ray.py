"""A Ray of this machine's own: as large as what it may use, and a start that explains itself."""

from __future__ import annotations

import logging
import math
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partialmethod
from pathlib import Path
from types import FrameType
from typing import Any

from vigil.errors import PlatformError

SHARED_MEMORY = Path("/dev/shm")  # noqa: S108  # where Ray's object store is, when it fits
MIB = 2**20
_STARTING_WORKERS = 4  # at once: those of a fit, or of the applications
_SIGNAL_CODES = 128  # a shell's exit code of a process that a signal has ended is this and more
_LATE = "It gives itself 30 s. Try again, or give it more: below 2 CPUs and 3 GiB it is slow."


def usable_cpus(reserved: float) -> int:
    """Return the CPUs for Ray: what its affinity and control group (version 1 or 2) allow.

    Never fewer than are `reserved`: what does not fit into Ray's CPUs waits for ever.
    """
    from joblib import cpu_count

    return max(cpu_count(), math.ceil(reserved))


def missing_room(objects: int, folder: Path = SHARED_MEMORY) -> str | None:
    """Return what is lost and what helps where `folder` has no room for `objects` bytes."""
    if not folder.is_dir():
        return None
    status = os.statvfs(folder)
    free = status.f_bavail * status.f_frsize
    if free >= objects:
        return None
    return (
        f"{folder} has {free // MIB} MB free and Ray's object store takes {objects // MIB}: "
        f"it is a file in {_temporary_folder()} instead, which is slower. "
        f"In a container pass --shm-size={2 * objects // MIB}m; "
        "in a pod mount an emptyDir with `medium: Memory` there"
    )


def start_local_ray(
    *,
    reserved: float,
    objects: int,
    on_warning: Callable[[str], None],
    room: Callable[[int], str | None] = missing_room,
    include_dashboard: bool = False,
    agent_port: int | None = None,
    prestart: bool = True,
    **arguments: Any,
) -> None:
    """Start Ray with an object store of `objects` bytes; `arguments` are those of `ray.init`.

    Its agent, which starts jobs, listens on `agent_port` or on Ray's own choice. With `prestart`
    there are processes at once for whatever has no environment of its own. Raises PlatformError
    where it does not come up. What is left of it then is the reaper's.
    """
    import ray  # reads its environment when it is imported

    warning = room(objects)
    if warning is not None:
        on_warning(warning)
    cpus = usable_cpus(reserved)
    try:
        with _node_parameters(agent_port, has_monitor=include_dashboard):
            ray.init(
                address="local",
                namespace="vigil",
                num_cpus=cpus,
                object_store_memory=objects,
                log_to_driver=False,
                include_dashboard=include_dashboard,
                logging_level=logging.ERROR,
                _system_config={
                    "worker_maximum_startup_concurrency": _STARTING_WORKERS,
                    "prestart_worker_first_driver": prestart,
                },
                **arguments,
            )
    except OSError as error:
        folder = _temporary_folder()
        raise PlatformError(
            f"Ray did not start: {error}. It must be able to write to {folder}"
        ) from error
    except Exception as error:  # Ray raises plain ones when a part of it is late
        raise _not_started(error) from error
    exit_on_sigterm()


@contextmanager
def _node_parameters(agent_port: int | None, *, has_monitor: bool) -> Iterator[None]:
    """What is started within the block is a node for one machine, by parameters that `ray start`
    has options for, and `ray.init` has not.

    Ray's agent, which starts jobs, would take one port for all: of two platforms on a machine only
    the first could train. (`ray start` also makes its cluster the one that every other `ray.init()`
    of the machine connects to.) Ray's log monitor, of 50 MB, is for drivers that print what workers
    say: Vigil's do not (`log_to_driver=False`). The autoscaler's monitor is there for the
    dashboard, which shows what it says.
    """
    from ray._private.parameter import RayParams

    initialize: Any = RayParams.__init__
    agent = {} if agent_port is None else {"dashboard_agent_listen_port": agent_port}
    for_one_machine = partialmethod(
        initialize,
        no_monitor=not has_monitor,
        include_log_monitor=False,
        **agent,
    )
    RayParams.__init__ = for_one_machine  # type: ignore[method-assign,assignment]
    try:
        yield
    finally:
        RayParams.__init__ = initialize


def exit_on_sigterm() -> None:
    """Have SIGTERM end this process as Ctrl-C does, in order and without a word.

    A process that is connected to Ray writes a stack of its C++ to stderr instead, and aborts.
    """
    if threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGTERM, _exit)


def _exit(number: int, _: FrameType | None) -> None:
    sys.exit(_SIGNAL_CODES + number)


def _not_started(error: Exception) -> PlatformError:
    reason = _first_line(error)
    logs = _logs_folder()
    return PlatformError(f"Ray did not start: {reason} {_LATE} Its logs: {logs}")


def _first_line(error: Exception) -> str:
    """What an error says first, or its kind where it says nothing."""
    lines = str(error).strip().splitlines()
    return lines[0] if lines else type(error).__name__


def _logs_folder() -> Path:
    return _temporary_folder() / "ray" / "session_latest" / "logs"


def _temporary_folder() -> Path:
    return Path(os.environ.get("RAY_TMPDIR", "/tmp"))  # noqa: S108
