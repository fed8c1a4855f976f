"""The platform that `make bench ARGS=serving` starts, and what its replicas cost.

Vigil, with the do-nothing handler beside it.
"""

from __future__ import annotations

import http.client
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import psutil

from serve.local.parts import request_json, wait_until
from tests.running import Vigil, free_port
from vigil.errors import PlatformError
from vigil.home import RunningPlatform

T = TypeVar("T")
START_S, SETTLE_S = 120.0, 3.0
REPLICA = "ServeReplica:vigil:Detector"
ANSWERING = ("ServeReplica:", "haproxy")
# One replica each. The rows of a benchmark are few and come again and again: that is no world to
# retrain on.
ENVIRONMENT = {
    "VIGIL_SERVE_MIN_REPLICAS": "1",
    "VIGIL_SERVE_MAX_REPLICAS": "1",
    "VIGIL_DRIFT_MODE": "observe",
}


@dataclass(frozen=True)
class UnderTest:
    """A running platform: Vigil at `/`, the do-nothing handler at `/nothing`, on one port."""

    vigil: Vigil

    @property
    def platform(self) -> RunningPlatform:
        return self.vigil.platform

    @property
    def port(self) -> int:
        return self.vigil.port

    @property
    def _applications(self) -> str:
        return f"{self.platform.dashboard_url}/api/serve/applications/"

    def add_nothing(self) -> None:
        """Put the do-nothing handler beside Vigil: same proxy, logging and replica options."""
        vigil, *others = self._deployed()
        options = {k: v for k, v in vigil["deployments"][0].items() if k != "user_config"} | {
            "name": "Nothing"
        }
        nothing = {
            "name": "nothing",
            "route_prefix": "/nothing",
            "import_path": "tests.bench.peer_nothing:build",
            "args": {},
            "logging_config": vigil.get("logging_config"),
            "deployments": [options],
        }
        self._put([vigil, *others, nothing])

    def capture(self, rate: float) -> None:
        """Have the replicas send this share of the requests to the monitor."""
        vigil, *others = self._deployed()
        deployment = vigil["deployments"][0]
        vigil["deployments"] = [
            {**deployment, "user_config": {**deployment["user_config"], "capture_rate": rate}}
        ]
        self._put([vigil, *others])
        time.sleep(SETTLE_S)

    def detectors(self) -> list[psutil.Process]:
        """The processes of Vigil's replicas."""
        return self.vigil.processes(REPLICA)

    def answering(self, during: Callable[[], T]) -> tuple[T, float]:
        """What `during` gives, and the share of one core that was taken.

        The share is that of replicas, monitor and proxy, without Ray's own processes.
        """
        return self._share(ANSWERING, during)

    def cpu(self, seconds: float) -> float:
        """The share of one core that all processes of the platform take together."""
        return self._share(("",), lambda: time.sleep(seconds))[1]

    def _share(self, names: tuple[str, ...], during: Callable[[], T]) -> tuple[T, float]:
        def used() -> float:
            return sum(
                _cpu_seconds(process) for name in names for process in self.vigil.processes(name)
            )

        before, began = used(), time.monotonic()
        given = during()
        return given, (used() - before) / (time.monotonic() - began)

    def new_replica(self, body: bytes) -> dict[str, float]:
        """Ask for a second replica: seconds from three beginnings to its first answer.

        It watches the process table. `process`: Ray's worker process was forked; `replica`: it
        took the replica's name, which is when Ray hands it the replica to construct; `asked`:
        the configuration was put. The answer is of the replica's own HTTP port, the one that
        the proxy sends requests to, so that none of the old replica is taken for it.
        """
        known = {p.pid for p in self.detectors()}
        vigil, *others = self._deployed()
        deployment = vigil["deployments"][0]
        scaling = {**deployment["autoscaling_config"], "min_replicas": 2, "max_replicas": 2}
        vigil["deployments"] = [{**deployment, "autoscaling_config": scaling}]
        asked = time.time()
        self._put([vigil, *others], wait=False)
        named = forked = 0.0
        process: psutil.Process | None = None
        while time.time() < asked + START_S:
            if process is None:
                process = next((p for p in self.detectors() if p.pid not in known), None)
                if process is not None:
                    named, forked = time.time(), process.create_time()
            elif any(_post(port, body) for port in _listening(process)):
                now = time.time()
                return {"process": now - forked, "replica": now - named, "asked": now - asked}
            time.sleep(0.01)
        raise PlatformError(f"no second replica answered within {START_S:.0f} s")

    def _deployed(self) -> list[dict[str, Any]]:
        applications = request_json("GET", self._applications, self.platform)["applications"]
        return sorted(
            (a["deployed_app_config"] for a in applications.values()),
            key=lambda a: a["name"] != "vigil",
        )

    def _put(self, applications: list[dict[str, Any]], *, wait: bool = True) -> None:
        config = {
            "http_options": {"host": "127.0.0.1", "port": self.port},
            "applications": applications,
            "logging_config": applications[0].get("logging_config"),
        }
        request_json("PUT", self._applications, self.platform, body=config)

        def running() -> bool:
            found = request_json("GET", self._applications, self.platform)["applications"]
            return {a["name"] for a in applications} <= {
                name for name, a in found.items() if a["status"] == "RUNNING"
            }

        if wait:
            wait_until(running, START_S, "the do-nothing handler does not start")


@contextmanager
def vigil(folder: Path, data: Path) -> Iterator[UnderTest]:
    """Vigil, trained on `data` and running in `folder`, with the do-nothing handler beside it."""
    try:
        with Vigil(folder, free_port(), ENVIRONMENT).running(
            data, "--over-time", "none"
        ) as running:
            under_test = UnderTest(running)
            under_test.add_nothing()
            yield under_test
    except AssertionError as error:  # of tests.running: the command failed, with what it said
        raise PlatformError(str(error)[-1000:]) from error


def _cpu_seconds(process: psutil.Process) -> float:
    try:
        return sum(process.cpu_times()[:2])
    except psutil.Error:
        return 0.0


def _listening(process: psutil.Process) -> list[int]:
    try:
        return [
            c.laddr.port for c in process.net_connections("tcp") if c.status == psutil.CONN_LISTEN
        ]
    except psutil.Error:
        return []


def _post(port: int, body: bytes) -> bool:
    """Whether `/predict` on this port answers 200.

    Any other port of the replica does not speak HTTP or knows no such path.
    """
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=1)
    try:
        connection.request("POST", "/predict", body)
        return connection.getresponse().status == 200
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()
