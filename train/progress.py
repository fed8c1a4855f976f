"""How far a training job is: its phase, the rows it has read, the trees it has fitted.

For people as lines or a bar, and as metrics of the driver, which Ray exports as
ray_vigil_training_*.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Protocol

from ray.util.metrics import Gauge

PHASES = ("read", "tune", "fit", "calibrate", "evaluate", "refit", "register")


class Listener(Protocol):
    """Gets a message when a step is done, and of a long one how much is done (`share` of 1)."""

    def __call__(self, message: str) -> None: ...

    def part(
        self,
        message: str,
        share: float,
    ) -> None: ...


class Silent:
    """A listener that says nothing."""

    def __call__(self, message: str) -> None: ...

    def part(
        self,
        message: str,
        share: float,
    ) -> None: ...


class JobProgress:
    """The progress of one job; needs a connected Ray.

    `seconds` has the time that each finished phase took. `gauge` makes a metric.
    """

    def __init__(
        self,
        listener: Listener | None = None,
        *,
        gauge: Callable[..., Any] = Gauge,
    ) -> None:
        self.say: Listener = listener or Silent()
        self.seconds: dict[str, float] = {}
        self._rows = gauge("vigil_training_rows_read", "Rows that the training job has read")
        self._trees = gauge("vigil_training_trees_fitted", "Trees that the training job has fitted")
        self._phase = gauge(
            "vigil_training_phase",
            "1 for the phase that the training job is in",
            tag_keys=("phase",),
        )

    @contextmanager
    def phase(self, name: str) -> Iterator[None]:
        """Be in one of PHASES for the length of a block."""
        for phase in PHASES:
            self._phase.set(float(phase == name), {"phase": phase})
        began = time.perf_counter()
        try:
            yield
        finally:
            self.seconds[name] = time.perf_counter() - began
            self._phase.set(0.0, {"phase": name})

    def rows(self, read: int) -> None:
        """Tell how many rows have been read; nobody knows of how many."""
        self._rows.set(read)
        self.say.part(f"{read} rows read", 0.0)

    def trees(
        self,
        fitted: int,
        whole: int,
    ) -> None:
        """Tell how many trees of `whole` are fitted."""
        self._trees.set(fitted)
        self.say.part(f"{fitted} of {whole} trees fitted", fitted / whole)
