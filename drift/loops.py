"""Loops that drive a watch: each turn takes one step, and waits in threads for what is far away."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import logging
import math
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from functools import partial

from drift.governor import Governor
from drift.release import Retraining
from drift.retrain import Retrainer
from drift.retraining_deadline import RetrainingDeadline
from drift.rollout import REGISTRY_POLL_INTERVAL_S, CanaryAction
from drift.training_job import Episode
from drift.view.display import Display
from drift.watch import Watch
from serve.exposition import RayMirror
from serve.model.handles import Application
from train.registry.moves import completed_moves
from train.registry.versions import Registry, Version
from vigil.errors import JobsUnavailable, RegistryUnavailable, VigilError

log = logging.getLogger("ray.serve")
MAX_MOVES = 50
MAX_VERSIONS = 20
Turn = Callable[[], Awaitable[None]]


@dataclass(frozen=True)
class Pace:
    """How often the loops turn, in seconds.

    refresh_timeout: a replica that does not answer by then looks at the registry by itself
    ledger: the age at which the ledger is read anew, while a console was open in the last
        `open_console`
    """

    registry: float = REGISTRY_POLL_INTERVAL_S
    retraining: float = 0.5
    canary: float = 0.5
    mirror: float = 1.0
    refresh_timeout: float = 10.0
    ledger: float = 15.0
    open_console: float = 60.0


class MonitorLoops:
    """The loops of one monitor; `service` is the application that scores."""

    def __init__(
        self,
        watch: Watch,
        display: Display,
        registry: Registry,
        *,
        service: Application,
        pace: Pace,
    ) -> None:
        self._watch = watch
        self._display = display
        self._registry = registry
        self._service = service
        self._pace = pace
        self._mirror = RayMirror()
        self._deadline = RetrainingDeadline()
        # Seconds that never jump.
        self._console_opened = -math.inf
        self._ledger_read = -math.inf
        self._calendar_due = -math.inf
        self._ledger_champion: str | None = None
        self._has_news = False
        self._telling: asyncio.Task[None] | None = None

    def start(self) -> list[asyncio.Task[None]]:
        """Start all loops in the running event loop."""
        pace = self._pace
        intervals_s: dict[Turn, float] = {
            self._follow_registry: pace.registry,
            self._retrain: pace.retraining,
            self._end_canary: pace.canary,
            self._tick: pace.registry,
            self._read_ledger: pace.registry,
            self._read_calendar: pace.registry,
            self._update_mirror: pace.mirror,
        }
        loops = itertools.starmap(_repeat, intervals_s.items())
        return [asyncio.create_task(loop) for loop in loops]

    def note_console(self) -> None:
        """Note that somebody looks at a console: the ledger is read anew meanwhile."""
        self._console_opened = time.monotonic()

    async def refresh_replicas(self) -> None:
        """Have the replicas look at the registry now, and not only after their poll period."""
        with contextlib.suppress(Exception):
            await asyncio.wait_for(self._service.ask_all("refresh"), self._pace.refresh_timeout)

    async def _follow_registry(self) -> None:
        try:
            await asyncio.to_thread(self._follow_desired)
        except VigilError as error:
            log.warning("the monitor keeps its reference: %s", error.message)
        self._tell_replicas()

    def _tell_replicas(self) -> None:
        """Tell them of news in the registry, which they look at themselves far more rarely.

        Those that are behind are told again. Nobody waits for them here.
        """
        if self._has_news and not self._is_telling():
            self._has_news = False
            self._telling = asyncio.create_task(self.refresh_replicas())

    def _is_telling(self) -> bool:
        return self._telling is not None and not self._telling.done()

    def _follow_desired(self) -> None:
        desired = self._registry.desired()
        rollout = self._watch.rollout
        if rollout.follow(desired) or rollout.is_behind(self._watch.served_models()):
            self._has_news = True
        if desired.champion is not None:
            self._follow_champion(desired.champion)

    def _follow_champion(self, champion: Version) -> None:
        if champion.version != self._watch.following:
            bundle = self._registry.fetch(champion, self._watch.home.cache)
            self._watch.follow(champion, bundle, time.time())
        self._display.gauges.follow(self._registry, champion.version)

    async def _retrain(self) -> None:
        """Run the retraining that the governor decided on, also one that a former monitor began."""
        state = self._watch.state
        if not self._watch.is_leader or not state.is_retraining:
            return
        result = await self._run_retraining(state)
        if result is None:
            await asyncio.sleep(self._pace.registry)
        else:
            await self._finish(result)

    async def _finish(self, result: Retraining) -> None:
        await asyncio.to_thread(self._watch.finish, result, time.time())
        if result.version is not None:
            judge = self._display.gauges.judge
            await asyncio.to_thread(judge, self._registry, result.version)
        if result.outcome == "promoted":
            await self.refresh_replicas()

    async def _run_retraining(self, state: Governor) -> Retraining | None:
        """How it has ended; None when it must be tried again."""
        until = self._deadline.of(state, self._watch.settings.retrain_timeout_s)
        try:
            return await asyncio.to_thread(self._run_episode, state, until)
        except (JobsUnavailable, RegistryUnavailable) as error:
            return _late(error, until)
        except Exception as error:  # whatever went wrong, the episode must end
            log.exception("retraining failed")
            return Retraining("failed", f"{type(error).__name__}: {error}")

    def _run_episode(self, state: Governor, until: float) -> Retraining:
        watch = self._watch
        name = str(state.episode)
        episode = Episode(
            name,
            state.since,
            watch.cause,
            trigger=state.trigger,
            submitted=watch.memory.jobs_of(name),
        )
        retrainer = Retrainer(
            watch.settings,
            self._registry,
            watch.rollout,
            answered=watch.desk.judged_incidents,
            note_submitted=partial(watch.note_submitted, name),
        )
        return retrainer.run(episode, may_promote=lambda: watch.may_promote, until=until)

    async def _end_canary(self) -> None:
        """Stop or promote the canary, as the rollout decides."""
        if not self._watch.is_leader:
            return
        action = self._watch.rollout.due()
        if action is not None:
            await self._carry_out(action)

    async def _carry_out(self, action: CanaryAction) -> None:
        rollout = self._watch.rollout
        try:
            await asyncio.to_thread(rollout.carry_out, action, self._registry)
            await self.refresh_replicas()
            desired = await asyncio.to_thread(self._registry.desired)
            rollout.follow(desired)
        except VigilError as error:
            log.warning("the canary cannot be ended yet (%s): %s", action, error.message)

    async def _tick(self) -> None:
        """Keep the lease, watch the clock, and put reports into MLflow."""
        await asyncio.to_thread(self._watch.acquire_lease)
        await asyncio.to_thread(self._watch.tick, time.time())
        await asyncio.to_thread(self._store_report)

    def _store_report(self) -> None:
        report = self._display.reports.take()
        if report is None:
            return
        try:
            self._registry.log_report(report.episode, report.page)
        except VigilError as error:
            self._display.reports.put(report)
            log.warning("the drift report waits: %s", error.message)

    async def _read_calendar(self) -> None:
        """Read the calendar of maintenance, as often as the settings say."""
        if time.monotonic() < self._calendar_due:
            return
        self._calendar_due = time.monotonic() + self._watch.settings.maintenance_poll_s
        await asyncio.to_thread(self._watch.desk.read_calendar, time.time())

    async def _read_ledger(self) -> None:
        """Read the latest moves and versions for the console.

        When the champion changes, and now and then while a console is open.
        """
        champion = self._watch.following
        if champion == self._ledger_champion and not self._is_ledger_old():
            return
        self._ledger_read = time.monotonic()
        try:
            await asyncio.to_thread(self._update_ledger)
            self._ledger_champion = champion
        except VigilError as error:
            log.warning("the promotion ledger cannot be read now: %s", error.message)

    def _is_ledger_old(self) -> bool:
        now = time.monotonic()
        return self._is_console_open(now) and now - self._ledger_read > self._pace.ledger

    def _is_console_open(self, now: float) -> bool:
        return now - self._console_opened < self._pace.open_console

    def _update_ledger(self) -> None:
        self._display.ledger = completed_moves(self._registry, MAX_MOVES)
        self._display.versions = self._registry.latest(MAX_VERSIONS)

    async def _update_mirror(self) -> None:
        """Pass what the monitor has counted to Ray."""
        metrics = await asyncio.to_thread(self._display.own_metrics, time.time())
        self._mirror.update(metrics)


def _late(error: VigilError, until: float) -> Retraining | None:
    """The end of a retraining that an absent service holds up, once its time is over."""
    if time.monotonic() >= until:
        return Retraining("failed", error.message)
    log.warning("retraining waits: %s", error.message)
    return None


async def _repeat(turn: Turn, interval_s: float) -> None:
    while True:
        await turn()
        await asyncio.sleep(interval_s)
