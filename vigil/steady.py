"""A clock that nobody sets."""

from __future__ import annotations

import sys
import time

if sys.platform == "linux":

    def steady_seconds() -> float:
        """Return seconds that never jump, time that the machine slept included.

        `time.monotonic` leaves that out: who slept would take a lease for its own that is over.
        """
        return time.clock_gettime(time.CLOCK_BOOTTIME)

else:
    steady_seconds = time.monotonic
