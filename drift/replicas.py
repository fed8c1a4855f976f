"""Replicas that have reported lately."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

from serve.model.report import ServedModel
from vigil.json_types import JsonObject

REPLICA_TIMEOUT_S = 6.0  # a replica that has not reported for so long is gone


@dataclass(frozen=True)
class LiveReplica:
    """What a replica has reported last.

    seen: Unix seconds, for people; heard: seconds that never jump
    """

    served: ServedModel
    seen: float
    heard: float

    def status(self) -> JsonObject:
        """Return what `/drift` shows."""
        served = self.served
        return {
            "replica": served.replica,
            "version": served.version,
            "digest": served.digest,
            "since": served.since,
            "pid": served.pid,
            "seen": self.seen,
            "source": served.source,
            "canary": served.canary,
            "refused": served.refused,
        }


class Replicas:
    """The replicas by name; a silent one is forgotten after the timeout."""

    def __init__(
        self,
        timeout_s: float = REPLICA_TIMEOUT_S,
        seconds: Callable[[], float] = time.monotonic,
    ) -> None:
        self._timeout_s = timeout_s
        self._seconds = seconds
        self._latest: dict[str, LiveReplica] = {}

    def take(self, served: ServedModel, now: float) -> None:
        """Take in what a replica serves at `now` (Unix seconds)."""
        self._latest[served.replica] = LiveReplica(served, now, self._seconds())

    def live(self) -> list[LiveReplica]:
        """Return those that have reported lately, and forget the others."""
        now = self._seconds()
        self._latest = {
            name: replica
            for name, replica in self._latest.items()
            if now - replica.heard < self._timeout_s
        }
        return list(self._latest.values())
