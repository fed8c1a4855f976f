"""What people see of the last ten minutes: traffic, latency, scored points. Without a clock."""

from __future__ import annotations

import uuid

from drift.view.points import Points
from drift.view.traffic import Traffic
from serve.model.report import ReplicaReport


class Live:
    """Traffic and points of one monitor; its owner brings the lock.

    epoch: tells a page that another monitor answers
    """

    def __init__(self) -> None:
        self.epoch = uuid.uuid4().hex[:12]
        self.traffic = Traffic()
        self.points = Points()

    def ingest(self, report: ReplicaReport, now: float) -> None:
        """Take in one replica's report."""
        replica = report.served.replica
        since = self.traffic.ingest(replica, report.counts, now)
        self.points.ingest(report.rows, since, now)
