"""What replicas and stream consumers have counted.

Those that live are kept one by one, those that are gone in one sum, which never goes back.
"""

from __future__ import annotations

from dataclasses import dataclass

from drift.replicas import REPLICA_TIMEOUT_S
from serve.exposition import MetricFamilies, MetricFamily, sum_metrics

# So often another replica has reported, about once a second, when Serve has long ended one that has
# not. It is not a time: when a machine wakes up, all its replicas have been silent for hours, and
# go on.
MAX_SILENT_ROUNDS = 300


@dataclass(frozen=True)
class _Latest:
    """The counts of a replica's last report: in which round of reports it came, and when.

    at: seconds that never jump
    """

    counts: MetricFamilies
    round: int
    at: float


class ReplicaCounters:
    """Holds as much for a thousand dead replicas as for one.

    It begins at nothing, as every counter of a new process does: what was delivered to a former
    monitor is not counted again, or Prometheus would take it for new.
    """

    def __init__(self) -> None:
        self._latest: dict[str, _Latest] = {}
        self._round = 0
        self._heard: set[str] = set()  # in this round; who reports again begins the next
        self._gone: MetricFamilies = []

    def report(
        self,
        name: str,
        counts: MetricFamilies,
        delivered: MetricFamilies,
        now: float,
    ) -> None:
        """Take in the counts of a replica or a consumer since its start.

        delivered: those of its last report that a monitor took
        now: seconds that never jump
        """
        self._turn(name)
        if name not in self._latest:
            self._add_gone(_negative(delivered))
        self._latest[name] = _Latest(counts, self._round, now)
        self._bury_silent()

    def _turn(self, name: str) -> None:
        """Begin the next round when this one has reported in the present."""
        if name in self._heard:
            self._round += 1
            self._heard = set()
        self._heard.add(name)

    def _bury_silent(self) -> None:
        silent = [name for name in self._latest if self._is_silent(name)]
        for name in silent:
            self._bury(name)

    def _bury(self, name: str) -> None:
        gone = self._latest.pop(name)
        self._add_gone(gone.counts)

    def _is_silent(self, name: str) -> bool:
        rounds = self._round - self._latest[name].round
        return rounds > MAX_SILENT_ROUNDS

    def _add_gone(self, counts: MetricFamilies) -> None:
        lasting = _without_gauges(counts)
        self._gone = sum_metrics([self._gone, lasting])

    def families(self, now: float) -> list[MetricFamilies]:
        """Return what is to be summed at `now`, as in `report`.

        Of who is silent without its gauges: the dead are in no state.
        """
        return [self._gone, *(self._shown(latest, now) for latest in self._latest.values())]

    def _shown(self, latest: _Latest, now: float) -> MetricFamilies:
        is_silent = now - latest.at >= REPLICA_TIMEOUT_S
        return _without_gauges(latest.counts) if is_silent else latest.counts


def _without_gauges(counts: MetricFamilies) -> MetricFamilies:
    return [family for family in counts if family.kind != "gauge"]


def _negative(counts: MetricFamilies) -> MetricFamilies:
    return [_negative_family(family) for family in counts]


def _negative_family(family: MetricFamily) -> MetricFamily:
    samples = [sample._replace(value=-sample.value) for sample in family.samples]
    return family._replace(samples=samples)
