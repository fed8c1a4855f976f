"""Traffic that remembers which version answered when, and cheap versions to swap.

It is for the tests and the benchmark of swaps.
"""

from __future__ import annotations

import asyncio
import json
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Any

import aiohttp
import numpy as np

from tests.running import Vigil, eventually
from train.model import forest
from train.model.bundle import ModelBundle
from train.registry.candidate import Candidate
from train.registry.versions import Registry, Version
from vigil.home import Home

CONNECTIONS = 16
FORGIVEN_S = 5.0  # so long after it was replaced a version may still answer


@dataclass(frozen=True)
class Answered:
    """One answer: when it was asked for and came (Unix seconds), and its status.

    Of a good one also the version, row and score.
    """

    asked: float
    came: float
    status: int
    version: str = ""
    row: tuple[float, ...] = ()
    score: float = 0.0


@dataclass
class Traffic:
    """Rows near `row` over kept-alive connections, each as fast as it is answered.

    With a `pause` there is one between.
    """

    url: str
    row: list[float]
    connections: int = CONNECTIONS
    pause: float = 0.0
    answers: list[Answered] = field(default_factory=list)
    _stop: bool = False

    @contextmanager
    def running(self) -> Iterator[Traffic]:
        """The traffic for the length of a block."""
        thread = threading.Thread(target=lambda: asyncio.run(self._all()))
        thread.start()
        try:
            eventually(lambda: len(self.answers) > self.connections)
            yield self
        finally:
            self._stop = True
            thread.join(60)

    async def _all(self) -> None:
        connector = aiohttp.TCPConnector(limit=self.connections)
        async with aiohttp.ClientSession(
            connector=connector,
            timeout=aiohttp.ClientTimeout(total=60),
            headers={"Content-Type": "application/json"},
        ) as session:
            await asyncio.gather(*(self._one(session, seed) for seed in range(self.connections)))

    async def _one(self, session: aiohttp.ClientSession, seed: int) -> None:
        rng = np.random.default_rng(seed)
        while not self._stop:
            row = (np.array(self.row) * rng.uniform(0.9, 1.1, len(self.row))).round(6).tolist()
            asked = time.time()
            try:
                async with session.post(
                    f"{self.url}/predict", data=json.dumps({"features": row})
                ) as reply:
                    text = await reply.read()
                if reply.status == 200:
                    said = json.loads(text)
                    found = Answered(
                        asked,
                        time.time(),
                        200,
                        said["model_version"],
                        tuple(row),
                        said["anomaly_score"],
                    )
                else:
                    found = Answered(asked, time.time(), reply.status)
            except (aiohttp.ClientError, OSError) as error:
                found = Answered(asked, time.time(), 0, type(error).__name__)
            self.answers.append(found)
            await asyncio.sleep(self.pause)

    @property
    def failed(self) -> list[Answered]:
        return [answer for answer in self.answers if answer.status != 200]

    def slowest_ms(self, since: float = 0.0, until: float = float("inf")) -> float:
        return max(a.came - a.asked for a in self.answers if since <= a.asked < until) * 1e3

    def quantile_ms(self, share: float, since: float = 0.0, until: float = float("inf")) -> float:
        return (
            float(
                np.quantile(
                    [a.came - a.asked for a in self.answers if since <= a.asked < until], share
                )
            )
            * 1e3
        )


class Alias:
    """The champion alias of a running platform, moved straight in MLflow.

    Any other tool would do it so; this one remembers when.
    """

    def __init__(self, vigil: Vigil) -> None:
        self.vigil = vigil
        self.registry = Registry(vigil.platform.tracking_uri, "vigil")
        champion = self.registry.champion()
        assert champion is not None
        self.champion = champion
        self.bundle = self.registry.fetch(champion, Home(vigil.home).cache)
        self.row = self.bundle.reference.median.tolist()
        self.desired: list[tuple[float, str]] = [(0.0, champion.version)]

    def variants(
        self, count: int, change: Callable[[ModelBundle], ModelBundle] = lambda bundle: bundle
    ) -> list[Version]:
        """Versions with the champion's forest and a threshold of their own.

        The alias `challenger` stays where it was.
        """
        fitted = self.registry.forest(self.champion)
        challenger = self.registry.aliases().get("challenger")
        made = []
        for i in range(count):
            limit = replace(
                self.bundle.threshold, value=self.bundle.threshold.value + (i + 1) / 1000
            )
            bundle = change(replace(self.bundle, threshold=limit))
            forest.set_threshold(fitted, bundle.threshold.value)
            made.append(
                self.registry.register(
                    Candidate(fitted, bundle, {}, {}, {"trigger": "manual"}, {"passed": True})
                )
            )
        self.registry.set_alias("challenger", challenger)
        return made

    def move(self, version: str) -> float:
        """Make `version` champion by the alias alone; from when on it may answer."""
        self.desired.append((time.time(), version))
        self.registry.set_alias("champion", version)
        return self.desired[-1][0]

    def hurry(self) -> list[dict[str, Any]]:
        status, answer = self.vigil.post("/models/refresh", b"")
        assert status == 200, answer
        return answer["replicas"]

    def converge(self, version: str, replicas: int = 2) -> float:
        """Wait until every replica says that it serves `version`.

        Returns seconds since the alias moved, by the replicas' clocks.
        """

        def served() -> list[dict[str, Any]]:
            found = list(self.vigil.replicas().values())
            return (
                found
                if len(found) >= replicas and all(r["version"] == version for r in found)
                else []
            )

        return max(r["since"] for r in eventually(served)) - self.desired[-1][0]

    def not_desired(self, answers: list[Answered]) -> list[Answered]:
        """The answers of a version that was not desired within FORGIVEN_S before they came."""
        spans = zip(self.desired, [*(at for at, _ in self.desired[1:]), float("inf")], strict=True)
        wanted = [(version, since, until + FORGIVEN_S) for (since, version), until in spans]
        return [
            a
            for a in answers
            if not any(
                v == a.version and since <= a.came and a.asked <= until
                for v, since, until in wanted
            )
        ]
