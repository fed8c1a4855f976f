"""What people and Prometheus see of one watch: it subscribes to the events of that."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from drift.events import ChampionFollowed, Event, ReportReceived, WindowJudged
from drift.view.console import ConsoleView, RegistryView
from drift.view.counts import ReplicaCounters
from drift.view.gauges import Gauges
from drift.view.incident_gauges import IncidentGauges
from drift.view.live import Live
from drift.view.report import EpisodeReport, PendingReports, episode_page
from drift.view.timeline import Observations
from drift.watch import Watch
from serve.exposition import MetricFamilies, collect_metrics, render_exposition
from serve.model.report import ConsumerReport, ReplicaReport
from train.registry.moves import Move
from train.registry.versions import Version


class Display:
    """Thread-safe by the lock of its watch.

    ledger, versions: the latest moves and versions, as the monitor has read them last
    """

    def __init__(self, watch: Watch) -> None:
        self._watch = watch
        self.gauges = Gauges(watch.metrics)
        self._incident_gauges = IncidentGauges(watch.metrics, watch.desk)
        self.reports = PendingReports()
        self.ledger: Sequence[Move] = ()
        self.versions: Sequence[Version] = ()
        self._live = Live()
        self._counters = ReplicaCounters()
        self._observations = Observations()
        watch.events.subscribe(self.gauges.count)
        watch.events.subscribe(self._observations.observe)
        watch.events.subscribe(self._take)

    def _take(self, event: Event) -> None:
        if isinstance(event, ReportReceived):
            self._take_report(event)
        elif isinstance(event, ChampionFollowed):
            self._live.points.follow(event.version, event.bundle)
        elif isinstance(event, WindowJudged):
            self._write_report(event)

    def _take_report(self, event: ReportReceived) -> None:
        report = event.report
        self._count(report.served.replica, report)
        self._live.ingest(report, event.at)

    def _write_report(self, event: WindowJudged) -> None:
        """Write a page when an episode opens, or the data break."""
        if event.is_onset or event.is_break_onset:
            status = self._watch.status(event.at)
            page = episode_page(status, event.at)
            self.reports.put(EpisodeReport(event.episode, page))

    def count(self, report: ConsumerReport) -> None:
        """Take in the metrics of a stream consumer."""
        with self._watch.lock:
            self._count(report.consumer, report)

    def _count(self, reporter: str, report: ReplicaReport | ConsumerReport) -> None:
        self._counters.report(
            reporter,
            report.counts,
            report.delivered,
            self._watch.rollout.seconds(),
        )

    def console(self, now: float) -> bytes:
        """Return what the console shows, as JSON."""
        with self._watch.lock:
            document = self._console_view(now).document(now)
            return msgspec.json.encode(document)

    def _console_view(self, now: float) -> ConsoleView:
        watch = self._watch
        desired = watch.rollout.desired
        return ConsoleView(
            status=watch.status(now),
            live=self._live,
            comparison=watch.comparison,
            registry=RegistryView(desired, self.versions, self.ledger),
            governor=watch.state,
            transitions=watch.memory.transitions,
            observations=self._observations.entries,
            settings=watch.settings,
            incidents=watch.desk.board,
        )

    def exposition(self, now: float) -> bytes:
        """Return the Prometheus text of all replicas and consumers and of the monitor."""
        own = self.own_metrics(now)
        with self._watch.lock:
            reported = self._counters.families(self._watch.rollout.seconds())
            return render_exposition([*reported, own])

    def own_metrics(self, now: float) -> MetricFamilies:
        """Return the monitor's own metrics."""
        self._incident_gauges.update(now)  # not under the lock: it asks a database
        watch = self._watch
        with watch.lock:
            self.gauges.update(watch.status(now))
            return collect_metrics(watch.metrics.registry)
