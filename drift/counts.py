"""What replicas have counted: of those that live one by one, of those that are gone in one sum, which never goes back."""

from __future__ import annotations

from collections.abc import Container

from serve.metrics import Snapshot, total

# So often another replica has reported, about once a second, when Serve has long ended one that has not. It is not a time: when
# a machine wakes up, all its replicas have been silent for hours, and go on.
ROUNDS = 300


class Counts:
    """Holds as much for a thousand dead replicas as for one."""

    def __init__(self) -> None:
        self._latest: dict[str, tuple[Snapshot, int]] = {}
        self._round, self._heard = 0, set[str]()  # who has reported in this round; who does again begins the next
        self._gone: Snapshot = []

    def report(self, replica: str, counts: Snapshot) -> None:
        """A replica's counts since its start."""
        if replica in self._heard:
            self._round, self._heard = self._round + 1, set()
        self._heard.add(replica)
        self._latest[replica] = (counts, self._round)
        for name in [name for name, (_, last) in self._latest.items() if self._round - last > ROUNDS]:
            self._gone = total([self._gone, _without_gauges(self._latest.pop(name)[0])])

    def snapshots(self, live: Container[str]) -> list[Snapshot]:
        """To be summed; of a replica that is not among the `live` without its gauges: the dead are in no state."""
        latest = [counts if name in live else _without_gauges(counts) for name, (counts, _) in self._latest.items()]
        return [self._gone, *latest]


def _without_gauges(counts: Snapshot) -> Snapshot:
    return [family for family in counts if family[1] != "gauge"]
