"""Replicas that have reported lately."""

from __future__ import annotations

from dataclasses import dataclass

from serve.model.report import ServedModel
from vigil.json_types import JsonObject

REPLICA_TIMEOUT_S = 6.0  # a replica that has not reported for so long is gone


@dataclass(frozen=True)
class LiveReplica:
    """What a replica has reported last, and when (Unix seconds)."""

    served: ServedModel
    seen: float

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

    def __init__(self, timeout_s: float = REPLICA_TIMEOUT_S) -> None:
        self._timeout_s = timeout_s
        self._latest: dict[str, LiveReplica] = {}

    def take(self, served: ServedModel, now: float) -> None:
        """Take in what a replica serves at `now`."""
        self._latest[served.replica] = LiveReplica(served, now)

    def live(self, now: float) -> list[LiveReplica]:
        """Return those that have reported lately, and forget the others."""
        self._latest = {
            name: replica
            for name, replica in self._latest.items()
            if now - replica.seen < self._timeout_s
        }
        return list(self._latest.values())
