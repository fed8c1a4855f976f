"""One trial of the search for the parameters of a forest."""

from __future__ import annotations

from dataclasses import dataclass

from vigil.json_types import JsonObject


@dataclass(frozen=True)
class TuneTrial:
    """One configuration that was tried.

    metrics: the `objective`, and what it is made of
    """

    name: str
    params: JsonObject
    metrics: dict[str, float]
    seconds: float
