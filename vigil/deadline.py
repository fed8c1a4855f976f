"""Deadlines: of work that knows none, and of what is waited for."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import TypeVar

_T = TypeVar("_T")


def call_with_timeout(seconds: float, work: Callable[[], _T]) -> _T:
    """The result of `work`; raises TimeoutError after `seconds`.

    Then `work` is left behind in a thread that no exit waits for.
    """
    done: list[_T] = []
    failed: list[BaseException] = []

    def run() -> None:
        try:
            done.append(work())
        except BaseException as error:  # handed to the caller, whatever it is
            failed.append(error)

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    thread.join(seconds)
    if failed:
        raise failed[0]
    if not done:
        raise TimeoutError
    return done[0]


def poll_until(
    condition: Callable[[], bool],
    timeout_s: float,
    interval_s: float,
) -> bool:
    """Return whether a condition came to hold within `timeout_s`, asked each `interval_s`."""
    deadline = time.monotonic() + timeout_s
    while not condition():
        if time.monotonic() >= deadline:
            return False
        time.sleep(interval_s)
    return True
