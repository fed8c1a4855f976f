"""A canary: a version that answers a growing share of the requests before it may become champion. Pure."""

from __future__ import annotations

import json
import zlib
from dataclasses import asdict, dataclass

from vigil.errors import RegistryError

HASHED_BYTES = 4096
CanarySteps = tuple[tuple[float, float], ...]  # (share of the requests, seconds), in order


@dataclass(frozen=True)
class Canary:
    """`version` answers by `steps` since `started` (Unix seconds); `champion` is the one that it wants to follow."""

    version: str
    champion: str
    started: float
    steps: CanarySteps
    reason: str = ""

    def share(self, now: float) -> float:
        """The share of the requests at `now`; after the last step that one's, until somebody decides."""
        end = self.started
        for share, seconds in self.steps:
            end += seconds
            if now < end:
                return share
        return self.steps[-1][0]

    def over(self, now: float) -> bool:
        """All steps have passed."""
        return now >= self.started + sum(seconds for _, seconds in self.steps)

    def takes(self, body: bytes, now: float) -> bool:
        """Whether the canary answers the request with this body: by its hash, so that a retry meets the same model."""
        return zlib.crc32(body[:HASHED_BYTES]) % 10_000 < self.share(now) * 10_000

    def to_json(self) -> str:
        return json.dumps(asdict(self))

    @classmethod
    def from_json(cls, text: str) -> Canary:
        """Raises ValueError, TypeError or LookupError for what is no canary."""
        found = json.loads(text)
        return cls(
            **{
                **found,
                "steps": tuple((float(share), float(seconds)) for share, seconds in found["steps"]),
            }
        )


def parse_canary_steps(text: str) -> CanarySteps:
    """Read "5:60,25:60" as 5 % for 60 s, then 25 % for 60 s; raises RegistryError that says what is wrong."""
    try:
        found = tuple(
            (float(share) / 100, float(seconds))
            for share, seconds in (step.split(":") for step in text.split(","))
        )
    except ValueError as error:
        raise RegistryError(
            f"canary steps {text!r}: write PERCENT:SECONDS, PERCENT:SECONDS, .."
        ) from error
    if not all(0 < share <= 1 and 0 < seconds < float("inf") for share, seconds in found):
        raise RegistryError(
            f"canary steps {text!r}: percentages are above 0 and at most 100, seconds are above 0"
        )
    return found
