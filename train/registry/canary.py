"""Canary: a version that answers a growing share of the requests before it may become champion."""

from __future__ import annotations

import json
import math
import zlib
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass

from vigil.errors import RegistryError
from vigil.json_types import JsonObject

HASHED_BYTES = 4096
_BUCKETS = 10_000
CanarySteps = tuple[tuple[float, float], ...]  # (share of the requests, seconds), in order


@dataclass(frozen=True)
class Canary:
    """A version that answers a share of the requests.

    champion: the version that it wants to follow
    started: in Unix seconds, by the clock of who started it; how long it runs is counted by who
        follows it (CanaryClock)
    """

    version: str
    champion: str
    started: float
    steps: CanarySteps
    reason: str = ""

    @property
    def duration_s(self) -> float:
        """How long all steps take."""
        return sum(seconds for _, seconds in self.steps)

    def share(self, elapsed_s: float) -> float:
        """Return the share of the requests after so many seconds.

        After the last step it is that one's, until somebody decides.
        """
        end = 0.0
        for share, seconds in self.steps:
            end += seconds
            if elapsed_s < end:
                return share
        return self.steps[-1][0]

    def over(self, elapsed_s: float) -> bool:
        """Return whether all steps have passed."""
        return elapsed_s >= self.duration_s

    def takes(self, body: bytes, elapsed_s: float) -> bool:
        """Return whether the canary answers the request with this body.

        It is decided by the body's hash, so that a retry meets the same model.
        """
        return zlib.crc32(body[:HASHED_BYTES]) % _BUCKETS < self.share(elapsed_s) * _BUCKETS

    def to_json(self) -> str:
        return json.dumps(asdict(self))

    @classmethod
    def from_json(cls, text: str) -> Canary:
        """Return the canary that `to_json` wrote.

        Raises ValueError, TypeError or LookupError for what is no canary.
        """
        values: JsonObject = json.loads(text)
        return cls(**{**values, "steps": _read_steps(values["steps"])})


def _read_steps(stored: Iterable[Sequence[float]]) -> CanarySteps:
    return tuple((float(share), float(seconds)) for share, seconds in stored)


def parse_canary_steps(text: str) -> CanarySteps:
    """Parse "5:60,25:60": 5 % for 60 s, then 25 % for 60 s. Raises RegistryError."""
    try:
        steps = tuple(_parse_step(step) for step in text.split(","))
    except ValueError as error:
        raise RegistryError(
            f"canary steps {text!r}: write PERCENT:SECONDS, PERCENT:SECONDS, .."
        ) from error
    if not all(_is_in_range(share, seconds) for share, seconds in steps):
        raise RegistryError(
            f"canary steps {text!r}: percentages are above 0 and at most 100, seconds are above 0"
        )
    return steps


def _parse_step(text: str) -> tuple[float, float]:
    percent, seconds = text.split(":")
    return float(percent) / 100, float(seconds)


def _is_in_range(share: float, seconds: float) -> bool:
    return 0 < share <= 1 and 0 < seconds < math.inf
