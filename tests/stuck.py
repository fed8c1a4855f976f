"""A call that hangs as long as the test wants: nobody waits for it who should not."""

from __future__ import annotations

import asyncio
import threading
from typing import Any

GIVES_UP_S = 5.0  # only whoever blocks the loop that should let it go waits for so long


class Stuck:
    """Blocks the thread that calls it until `let_go`, then answers `answer`.

    A caller on the event loop of the test blocks also what would let it go: it `gave_up` then.
    """

    def __init__(self, answer: Any = None) -> None:
        self._answer = answer
        self._entered, self._free = threading.Event(), threading.Event()
        self.gave_up = False

    def __call__(self, *_: Any, **__: Any) -> Any:
        self._entered.set()
        self.gave_up |= not self._free.wait(GIVES_UP_S)
        if isinstance(self._answer, Exception):
            raise self._answer
        return self._answer

    async def reached(self) -> None:
        """Wait until somebody hangs in it."""
        assert await asyncio.to_thread(self._entered.wait, GIVES_UP_S), "nobody called it"

    @property
    def holds(self) -> bool:
        """Somebody hangs in it, and has never been let go."""
        return self._entered.is_set() and not self._free.is_set() and not self.gave_up

    def let_go(self) -> None:
        """Whoever hangs goes on, and nobody hangs any more."""
        self._free.set()
