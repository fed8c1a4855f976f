"""DriftMonitor: the Ray actor around a watch and what is shown of it.

It is a one-replica Serve application of its own: health-checked and restarted by Serve, and no
failure of it touches scoring. Whatever a watch is asked is asked in a thread: it may be writing its
state, which is elsewhere, and answers nobody meanwhile.
"""

from __future__ import annotations

import asyncio
import time
from typing import Any

from ray import serve

from drift.feedback import Label
from drift.incidents.answers import IncidentAnswers
from drift.incidents.incident import IncidentState
from drift.loops import MonitorLoops, Pace
from drift.raw_rows import OrderedRows
from drift.recent_margins import EntityMargins
from drift.settings import DriftSettings, Mode
from drift.state import StateStore
from drift.view.display import Display
from drift.watch import Watch
from serve.applications import SCORING_APPLICATION
from serve.model.handles import Application
from serve.model.report import ConsumerReport, MonitorAnswer, ReplicaReport
from train.registry.signature import Trust
from train.registry.versions import Registry
from vigil.json_types import Fields, JsonObject


class DriftMonitor:
    """The Serve deployment; its loops start with it, so a restarted one goes on by itself."""

    async def __init__(  # pyright: ignore[reportGeneralTypeIssues]
        self,
        args: Fields,
        *,
        pace: Pace | None = None,
        registry: Registry | None = None,
        store: StateStore | None = None,
    ) -> None:
        """Serve awaits it, and gives `args`, the settings, alone.

        Its loop is also that of Ray's own part of the replica, and the state may be far away.
        """
        self.settings = DriftSettings.from_values(**args)
        self._watch = await asyncio.to_thread(Watch, self.settings, store)
        self._display = Display(self._watch)
        self._answers = IncidentAnswers(self._watch.desk, label=self._watch.label)
        self._loops = MonitorLoops(
            self._watch,
            self._display,
            registry or self._open_registry(),
            service=Application(SCORING_APPLICATION),
            pace=pace or Pace(),
        )
        self._tasks = self._loops.start()

    def _open_registry(self) -> Registry:
        settings = self.settings
        trust = Trust.from_settings()
        return Registry(settings.tracking_uri, settings.model_name, trust=trust)

    async def reconfigure(self, config: JsonObject) -> None:
        """Take what may change while the monitor runs."""
        self.settings = self.settings.with_live_values(config)
        await asyncio.to_thread(self._watch.follow_settings, self.settings)

    async def ingest(self, report: Fields) -> dict[str, float | None]:
        """Take in a replica's report; the answer has what every response says of drift."""
        await asyncio.to_thread(self._ingest, report)
        watch = self._watch
        answer = MonitorAnswer(watch.severity, watch.rollout.stopped)
        return answer.to_wire()

    def _ingest(self, report: Fields) -> None:
        received = ReplicaReport.from_wire(report)
        self._watch.ingest(received, time.time())

    async def status(self) -> JsonObject:
        return await asyncio.to_thread(self._watch.status, time.time())

    async def switch(self, mode: Mode | None) -> JsonObject:
        """Set the governor's mode; None: the settings' one."""
        await asyncio.to_thread(self._watch.switch, mode, time.time())
        return self._watch.state.status()

    async def label(self, labels: list[tuple[str, bool, int]]) -> dict[str, int]:
        """Take in what people say of scored rows.

        Each label: request id, whether it was an anomaly, and which row of the request.
        """
        typed = [Label(*label) for label in labels]
        return await asyncio.to_thread(self._watch.label, typed)

    async def count(self, *report: Any) -> None:
        """Take in the metrics of a stream consumer (ConsumerReport), for the exposition."""
        await asyncio.to_thread(self._count, report)

    def _count(self, report: tuple[Any, ...]) -> None:
        self._display.count(ConsumerReport.from_wire(report))

    async def incidents(
        self,
        state: IncidentState | None,
        limit: int,
        after: str | None,
    ) -> JsonObject:
        """Return a page of incidents, the latest first."""
        return await asyncio.to_thread(self._answers.incidents, state, limit, after)

    async def incident(self, incident_id: str) -> JsonObject:
        """Return an incident, and what people have said of it."""
        return await asyncio.to_thread(self._answers.incident, incident_id)

    async def incident_events(
        self,
        since: float,
        until: float,
        tags: list[str],
    ) -> list[JsonObject]:
        """Return begins and ends of incidents as events of Graphite."""
        return await asyncio.to_thread(
            self._answers.incident_events,
            since,
            until,
            tags,
            console_url=self.settings.console_url,
        )

    async def judge_incident(self, order: JsonObject) -> JsonObject:
        """Take in a person's verdict on an incident."""
        return await asyncio.to_thread(self._answers.judge_incident, order)

    async def verdicts(self) -> JsonObject:
        """Return the incidents that people have judged, with their worst rows."""
        return await asyncio.to_thread(self._answers.verdicts)

    async def silences(self) -> JsonObject:
        return await asyncio.to_thread(self._answers.silences)

    async def add_silence(self, order: JsonObject) -> JsonObject:
        return await asyncio.to_thread(self._answers.add_silence, order)

    async def remove_silence(self, silence_id: str) -> JsonObject:
        return await asyncio.to_thread(self._answers.remove_silence, silence_id)

    async def dismissal_rules(self) -> JsonObject:
        return await asyncio.to_thread(self._answers.dismissal_rules)

    async def remove_rule(self, rule_id: str, by: str) -> JsonObject:
        return await asyncio.to_thread(self._answers.remove_rule, rule_id, by)

    async def recent_rows(self, names: list[str], most: int) -> OrderedRows:
        """Return the last rows that had these features, for a context that was lost."""
        return await asyncio.to_thread(self._watch.recent.rows, len(names), most)

    async def recent_margins(self) -> EntityMargins | None:
        """Return the last scores of entities, for thresholds that were lost."""
        return await asyncio.to_thread(self._recent_margins)

    def _recent_margins(self) -> EntityMargins | None:
        comparison = self._watch.comparison
        threshold = None if comparison is None else comparison.bundle.threshold
        return self._watch.recent.margins.of(threshold)

    async def exposition(self) -> bytes:
        return await asyncio.to_thread(self._display.exposition, time.time())

    async def console(self) -> bytes:
        """Return what the console shows, as JSON."""
        self._loops.note_console()
        return await asyncio.to_thread(self._display.console, time.time())

    def check_health(self) -> None:
        """Serve restarts the monitor when one of its loops has ended."""
        for task in self._tasks:
            if task.done():
                raise RuntimeError(f"a loop of the drift monitor has ended: {task}")


def build(args: JsonObject) -> serve.Application:
    """The Serve application `drift`; `args` are DriftSettings."""
    deployment: Any = serve.deployment(
        DriftMonitor,
        num_replicas=1,
        max_ongoing_requests=64,
        ray_actor_options={"num_cpus": 0.1},
        health_check_period_s=5,
    )
    return deployment.bind(args)
