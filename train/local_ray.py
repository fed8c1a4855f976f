"""A Ray of this machine's own: as large as what it may use, and a start that explains itself."""

from __future__ import annotations

import logging
import math
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

from vigil.errors import PlatformError

SHARED_MEMORY = Path("/dev/shm")  # noqa: S108  # where Ray's object store is, when it fits
MIB = 2**20
UNWRITABLE = "It must be able to write to"
LATE = "It gives itself 30 s. Try again, or give it more: below 2 CPUs and 3 GiB it is slow."


def cpus(reserved: float) -> int:
    """The CPUs to tell Ray of: what its affinity and control group (version 1 or 2) allow.

    Never fewer than are `reserved`: what does not fit into Ray's CPUs waits for ever.
    """
    from joblib import cpu_count

    return max(cpu_count(), math.ceil(reserved))


def no_room(objects: int, folder: Path = SHARED_MEMORY) -> str | None:
    """What is lost and what helps where `folder` has no room for `objects` bytes; else None."""
    if not folder.is_dir():
        return None
    found = os.statvfs(folder)
    free = found.f_bavail * found.f_frsize
    if free >= objects:
        return None
    return (
        f"{folder} has {free // MIB} MB free and Ray's object store takes {objects // MIB}: "
        f"it is a file in {_temporary()} instead, which is slower. "
        f"In a container pass --shm-size={2 * objects // MIB}m; "
        "in a pod mount an emptyDir with `medium: Memory` there"
    )


def start(*, reserved: float, objects: int, tell: Callable[[str], None], **more: Any) -> None:
    """Start Ray with an object store of `objects` bytes; `more` are arguments of `ray.init`.

    Raises PlatformError where it does not come up. What is left of it then is the reaper's.
    """
    import ray  # reads its environment when it is imported

    if (lost := no_room(objects)) is not None:
        tell(lost)
    count = cpus(reserved)
    try:
        ray.init(
            address="local",
            namespace="vigil",
            num_cpus=count,
            object_store_memory=objects,
            log_to_driver=False,
            logging_level=logging.ERROR,
            **more,
        )
    except OSError as error:
        raise PlatformError(f"Ray did not start: {error}. {UNWRITABLE} {_temporary()}") from error
    except Exception as error:  # Ray raises plain ones when a part of it is late
        why = (str(error).strip().splitlines() or [type(error).__name__])[0]
        logs = _temporary() / "ray" / "session_latest" / "logs"
        raise PlatformError(f"Ray did not start: {why} {LATE} Its logs: {logs}") from error


def _temporary() -> Path:
    return Path(os.environ.get("RAY_TMPDIR", "/tmp"))  # noqa: S108
