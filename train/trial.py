"""One trial of the search for the parameters of a forest."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class TuneTrial:
    """One configuration that was tried.

    metrics: the `objective`, and what it is made of
    """

    name: str
    params: dict[str, Any]
    metrics: dict[str, float]
    seconds: float
