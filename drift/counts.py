"""What replicas have counted: of those that live one by one, of those that are gone in one sum, which never goes back."""

from __future__ import annotations

from collections.abc import Container

from serve.metrics import Snapshot, total

GONE_S = 300.0  # Serve has long ended a replica that has not reported for so long


class Counts:
    """Holds as much for a thousand dead replicas as for one."""

    def __init__(self) -> None:
        self._latest: dict[str, tuple[Snapshot, float]] = {}
        self._gone: Snapshot = []

    def report(self, replica: str, counts: Snapshot, now: float) -> None:
        """A replica's counts since its start."""
        self._latest[replica] = (counts, now)
        for name in [name for name, (_, seen) in self._latest.items() if now - seen > GONE_S]:
            self._gone = total([self._gone, _without_gauges(self._latest.pop(name)[0])])

    def snapshots(self, live: Container[str]) -> list[Snapshot]:
        """To be summed; of a replica that is not among the `live` without its gauges: the dead are in no state."""
        latest = [counts if name in live else _without_gauges(counts) for name, (counts, _) in self._latest.items()]
        return [self._gone, *latest]


def _without_gauges(counts: Snapshot) -> Snapshot:
    return [family for family in counts if family[1] != "gauge"]
