"""DriftMonitor: the Ray actor around a Watch, with the loops that drive it.

It is a one-replica Serve application of its own: health-checked and restarted by Serve, and no failure of it touches scoring.
Whatever a Watch is asked is asked in a thread: it may be writing its state, which is elsewhere, and answers nobody meanwhile.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from typing import Any

from ray import serve

from drift.feedback import Label
from drift.retrain import Retraining, retrain
from drift.rollout import REGISTRY_POLL_INTERVAL_S
from drift.settings import DriftSettings, Mode
from drift.watch import Watch
from serve.applications import SCORING_APPLICATION
from serve.metrics import MetricFamilies, RayMirror
from serve.model.handles import Application
from train.registry.promotion import completed_moves
from train.registry.versions import Registry
from train.settings import TrustSettings
from vigil.errors import JobsUnavailable, RegistryUnavailable, VigilError

log = logging.getLogger("ray.serve")
CANARY_S, MIRROR_S = 0.5, 1.0
_REFRESH_TIMEOUT_S = 10.0  # a replica that does not answer by then looks by itself
LEDGER_S, LOOKING_S, MOST_MOVES, MOST_VERSIONS = 15.0, 60.0, 50, 20


class DriftMonitor:
    """The Serve deployment around a Watch: its loops start in the constructor, so a restarted one goes on by itself."""

    async def __init__(self, args: dict[str, Any]) -> None:  # pyright: ignore[reportGeneralTypeIssues]
        """Serve awaits it: the loop is also that of Ray's own part of the replica, and the state may be far away."""
        self.settings = DriftSettings.from_values(**args)
        self._watch = await asyncio.to_thread(Watch, self.settings)
        self._registry = Registry(
            self.settings.tracking_uri, self.settings.model_name, trust=TrustSettings().open()
        )
        self._service = Application(SCORING_APPLICATION)
        self._looked = 0.0  # when a console was shown last
        self._tasks = [
            asyncio.get_running_loop().create_task(self._follow_loop()),
            asyncio.get_running_loop().create_task(self._retrain_loop()),
            asyncio.get_running_loop().create_task(self._canary_loop()),
            asyncio.get_running_loop().create_task(self._tick_loop()),
            asyncio.get_running_loop().create_task(self._ledger_loop()),
            asyncio.get_running_loop().create_task(self._mirror_loop()),
        ]

    async def reconfigure(self, config: dict[str, Any]) -> None:
        """Take what may change while the monitor runs."""
        self.settings = self.settings.with_live_values(config)
        await asyncio.to_thread(self._watch.follow_settings, self.settings)

    async def ingest(self, report: dict[str, Any]) -> dict[str, float | None]:
        """A replica's report; answers with what every response tells of drift, and which canary is over."""
        await asyncio.to_thread(self._watch.ingest, report, time.time())
        return {"drift_score": self._watch.severity, "stopped_canary": self._watch.rollout.stopped}

    async def status(self) -> dict[str, Any]:
        return await asyncio.to_thread(self._watch.status, time.time())

    async def switch(self, mode: Mode | None) -> dict[str, Any]:
        """Set the governor's mode; None: the settings' one."""
        await asyncio.to_thread(self._watch.switch, mode, time.time())
        return self._watch.state.to_json()

    async def label(self, labels: list[tuple[str, bool, int]]) -> dict[str, int]:
        """What people say of scored rows: request id, whether it was an anomaly, and which row of the request."""
        return await asyncio.to_thread(self._watch.label, [Label(*label) for label in labels])

    async def count(self, consumer: str, counts: MetricFamilies, told: MetricFamilies) -> None:
        """What a stream consumer has counted, for the exposition."""
        await asyncio.to_thread(self._watch.count, consumer, counts, told, time.time())

    async def exposition(self) -> bytes:
        return await asyncio.to_thread(self._watch.exposition, time.time())

    async def console(self) -> bytes:
        """What the console shows, as JSON; the ledger in it is read anew while somebody looks."""
        self._looked = time.time()
        return await asyncio.to_thread(self._watch.console, time.time())

    def check_health(self) -> None:
        """Serve restarts the monitor when one of its loops has ended."""
        for task in self._tasks:
            if task.done():
                raise RuntimeError(f"a loop of the drift monitor has ended: {task}")

    async def _follow_loop(self) -> None:
        while True:
            try:
                desired = await asyncio.to_thread(self._registry.desired)
                self._watch.rollout.follow(desired)
                champion = desired.champion
                if champion is not None and champion.version != self._watch.following:
                    bundle = await asyncio.to_thread(
                        self._registry.fetch, champion, self._watch.home.cache
                    )
                    await asyncio.to_thread(self._watch.follow, champion, bundle, time.time())
                if champion is not None:
                    await asyncio.to_thread(
                        self._watch.gauges.follow, self._registry, champion.version
                    )
            except VigilError as error:
                log.warning("the monitor keeps its reference: %s", error.message)
            await asyncio.sleep(REGISTRY_POLL_INTERVAL_S)

    async def _retrain_loop(self) -> None:
        """Runs the retraining that the governor has decided on, also one that a former monitor began."""
        while True:
            state = self._watch.state
            if self._watch.is_leader and state.phase == "retraining" and state.episode is not None:
                until = state.retrains[-1][0] + self.settings.retrain_timeout_s
                try:
                    result = await asyncio.to_thread(
                        retrain,
                        state.episode,
                        state.since,
                        self._watch.cause,
                        settings=self.settings,
                        registry=self._registry,
                        rollout=self._watch.rollout,
                        allowed=lambda: self._watch.retrains,
                        until=until,
                    )
                except (JobsUnavailable, RegistryUnavailable) as error:
                    if time.time() < until:
                        log.warning("retraining waits: %s", error.message)
                        await asyncio.sleep(REGISTRY_POLL_INTERVAL_S)
                        continue
                    result = Retraining("failed", error.message)
                except Exception as error:  # whatever went wrong, the episode must end
                    log.exception("retraining failed")
                    result = Retraining("failed", f"{type(error).__name__}: {error}")
                await asyncio.to_thread(self._watch.finish, result, time.time())
                if result.version is not None:
                    await asyncio.to_thread(
                        self._watch.gauges.judge, self._registry, result.version
                    )
                if result.outcome == "promoted":
                    await self._refresh_replicas()
            await asyncio.sleep(0.5)

    async def _canary_loop(self) -> None:
        """Stops or promotes canaries as the rollout decides."""
        rollout = self._watch.rollout
        while True:
            if self._watch.is_leader and (what := rollout.due(time.time())) is not None:
                try:
                    await asyncio.to_thread(rollout.carry_out, what, self._registry)
                    await self._refresh_replicas()
                    rollout.follow(await asyncio.to_thread(self._registry.desired))
                except VigilError as error:
                    log.warning("the canary cannot be ended yet (%s): %s", what, error.message)
            await asyncio.sleep(CANARY_S)

    async def _tick_loop(self) -> None:
        """Keeps the lease, watches the clock, and puts reports into MLflow."""
        while True:
            await asyncio.to_thread(self._watch.acquire_lease)
            await asyncio.to_thread(self._watch.tick, time.time())
            if (report := await asyncio.to_thread(self._watch.take_page)) is not None:
                try:
                    await asyncio.to_thread(self._registry.log_report, *report)
                except VigilError as error:
                    await asyncio.to_thread(self._watch.put_back, report)
                    log.warning("the drift report waits: %s", error.message)
            await asyncio.sleep(REGISTRY_POLL_INTERVAL_S)

    async def _ledger_loop(self) -> None:
        """Reads the latest moves and versions for the console: when the champion changes, and now and then while one is open."""
        read, of = 0.0, None
        while True:
            await asyncio.sleep(REGISTRY_POLL_INTERVAL_S)
            now, champion = time.time(), self._watch.following
            if champion == of and not (now - read > LEDGER_S and now - self._looked < LOOKING_S):
                continue
            try:
                self._watch.ledger = await asyncio.to_thread(
                    completed_moves, self._registry, MOST_MOVES
                )
                self._watch.versions = await asyncio.to_thread(self._registry.latest, MOST_VERSIONS)
                of = champion
            except VigilError as error:
                log.warning("the promotion ledger cannot be read now: %s", error.message)
            read = now

    async def _mirror_loop(self) -> None:
        """Tells Ray what the monitor has counted."""
        mirror = RayMirror()
        while True:
            mirror.update(await asyncio.to_thread(self._watch.own_metrics, time.time()))
            await asyncio.sleep(MIRROR_S)

    async def _refresh_replicas(self) -> None:
        """Have the replicas look at the registry now; they would anyway within their poll period."""
        with contextlib.suppress(Exception):
            await asyncio.wait_for(self._service.ask_all("refresh"), _REFRESH_TIMEOUT_S)


def build(args: dict[str, Any]) -> serve.Application:
    """The Serve application `drift`; `args` are DriftSettings."""
    deployment: Any = serve.deployment(
        DriftMonitor,
        num_replicas=1,
        max_ongoing_requests=64,
        ray_actor_options={"num_cpus": 0.1},
        health_check_period_s=5,
    )
    return deployment.bind(args)
