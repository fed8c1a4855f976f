"""Vigil on a cluster, as its users meet it.

Train by a Ray job, promote, ask over HTTP, put it under load.
"""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from infra.manifests.parts import CONTAINER_SECURITY, POD_SECURITY
from tests.cluster.kube import NAMESPACE, Cluster, Object, eventually, name_of
from tests.cluster.stack import Stack
from tests.running import free_port

CLIENT, CLIENT_KEY = "vigil-load", "vigil-load-key"
TABLE = "/var/lib/vigil/telemetry.csv"
STOP = "/tmp/load-stop"  # of load.py
LONGEST_LOAD_S = 1200
LOAD = Path(__file__).with_name("load.py").read_text()
ASK = """
import json, os, sys, urllib.error, urllib.request
path, body = sys.argv[1], sys.argv[2].encode() if len(sys.argv) > 2 else None
headers = {
    "Authorization": "Bearer " + os.environ["VIGIL_API_KEY"],
    "Content-Type": "application/json",
}
request = urllib.request.Request("http://vigil-serve-svc:8000" + path, body, headers)
try:
    with urllib.request.urlopen(request, timeout=20) as answer:
        print(json.dumps([answer.status, answer.read().decode()]))
except urllib.error.HTTPError as error:
    print(json.dumps([error.code, error.read().decode()]))
except OSError as error:
    print(json.dumps([0, str(error)]))
"""


@dataclass
class Load:
    """A load that runs; `result` is there when the block of `Platform.load` has ended."""

    cluster: Cluster
    process: subprocess.Popen[str]
    result: dict[str, Any] = field(default_factory=dict)

    def stop(self) -> None:
        """End it, and take its result."""
        self.cluster.execute(CLIENT, ["touch", STOP])
        printed, _ = self.process.communicate(timeout=120)
        self.result = json.loads(printed.strip().splitlines()[-1])


@dataclass
class Platform:
    """A stack that is up on a cluster, with an operator's API key and its Ray clusters' token."""

    cluster: Cluster
    stack: Stack
    image: str
    api_key: str
    ray_token: str
    figures: dict[str, Any] = field(default_factory=dict)

    def ask(self, path: str, body: Any = None) -> tuple[int, Any]:
        """Status and answer of the service, asked from a pod; (0, why) where nobody answers."""
        arguments = [path] if body is None else [path, json.dumps(body)]
        printed = self.cluster.execute(CLIENT, ["python", "-c", ASK, *arguments])
        if not printed.strip():
            return (
                0,
                "kubectl brought nothing back",
            )  # its stream may end before the last of it has come
        status, text = json.loads(printed)
        try:
            return status, json.loads(text)
        except json.JSONDecodeError:
            return status, text

    def drift(self) -> dict[str, Any]:
        """What `/drift` says; nothing while the monitor is away."""
        status, found = self.ask("/drift")
        return found if status == 200 else {}

    def served(self) -> set[str]:
        """The versions that the replicas serve."""
        return {str(one["version"]) for one in self.drift().get("replicas", [])}

    def mode(self, mode: str) -> None:
        """Switch the governor, once there is a monitor."""
        eventually(
            f"the governor's mode is {mode}",
            lambda: self.ask("/drift/mode", {"mode": mode})[0] == 200,
            60,
        )

    def start_client(self) -> None:
        """The pod that asks: in the platform's namespace, as a caller in the cluster would be."""
        variable = {
            "name": "VIGIL_API_KEY",
            "valueFrom": {"secretKeyRef": {"name": CLIENT_KEY, "key": "key"}},
        }
        container = {
            "name": "load",
            "image": self.image,
            "imagePullPolicy": "IfNotPresent",
            "command": ["sleep", "infinity"],
            "env": [variable],
            "resources": {"requests": {"cpu": "100m", "memory": "256Mi"}},
            "securityContext": CONTAINER_SECURITY,
            "volumeMounts": [{"name": "tmp", "mountPath": "/tmp"}],
        }
        spec: Object = {
            "containers": [container],
            "securityContext": POD_SECURITY,
            "automountServiceAccountToken": False,
            "terminationGracePeriodSeconds": 0,
            "volumes": [{"name": "tmp", "emptyDir": {"sizeLimit": "1Gi"}}],
        }
        secret = {
            "metadata": {"name": CLIENT_KEY, "namespace": NAMESPACE},
            "stringData": {"key": self.api_key},
        }
        pod = {"metadata": {"name": CLIENT, "namespace": NAMESPACE}, "spec": spec}
        self.cluster.apply(
            {"apiVersion": "v1", "kind": "Secret", **secret},
            {"apiVersion": "v1", "kind": "Pod", **pod},
        )
        self.cluster.kubectl(
            "wait", "-n", NAMESPACE, "--for=condition=Ready", f"pod/{CLIENT}", "--timeout=120s"
        )

    def stop_client(self) -> None:
        self.cluster.kubectl(
            "delete", "-n", NAMESPACE, f"pod/{CLIENT}", f"secret/{CLIENT_KEY}", "--ignore-not-found"
        )

    @contextmanager
    def load(self, rate: float = 100, shift: float = 0) -> Iterator[Load]:
        """Requests as long as the block runs, from the first answer on."""
        command = ["python", "-u", "-", str(rate), str(LONGEST_LOAD_S), str(shift)]
        with self.cluster.started("exec", "-n", NAMESPACE, "-i", CLIENT, "--", *command) as process:
            assert process.stdin is not None
            assert process.stdout is not None
            process.stdin.write(LOAD)
            process.stdin.close()
            process.stdin = None
            first = process.stdout.readline().strip()
            assert first == "started", first + process.stdout.read()
            load = Load(self.cluster, process)
            try:
                yield load
            finally:
                load.stop()

    @contextmanager
    def forwarded(self, service: str, port: int) -> Iterator[int]:
        """A port of this machine that leads to a service's."""
        local = free_port()
        arguments = ["port-forward", "-n", NAMESPACE, f"svc/{service}", f"{local}:{port}"]
        with self.cluster.started(*arguments, "--address", "127.0.0.1") as process:
            assert process.stdout is not None
            line = process.stdout.readline()
            assert "Forwarding" in line, line
            yield local

    def job(self, *command: str, timeout_s: float = 600) -> str:
        """`ray job submit` to the training cluster; what the job printed.

        Raises AssertionError where it fails.
        """
        with self.forwarded("vigil-train-head-svc", 8265) as port:
            done = subprocess.run(
                ["ray", "job", "submit", "--address", f"http://127.0.0.1:{port}", "--", *command],
                env=self._ray_environment(),
                capture_output=True,
                text=True,
                timeout=timeout_s,
                check=False,
            )
        assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-2000:]
        return done.stdout

    def _ray_environment(self) -> dict[str, str]:
        own = {key: value for key, value in os.environ.items() if not key.startswith("RAY_")}
        path = f"{Path(sys.executable).parent}:{own['PATH']}"
        return {**own, "PATH": path, "RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": self.ray_token}

    def bring_table(self, rows: int = 6000) -> None:
        """Put built-in telemetry onto the shared folder, where training finds it."""
        import pandas as pd

        from serve.local.telemetry import telemetry

        table = telemetry(rows, seed=1)
        text = io.StringIO()
        pd.DataFrame(table.X, columns=list(table.names)).to_csv(text, index=False)
        head = eventually(
            "a training head is ready", lambda: self.cluster.ready("train-head"), 240
        )[0]
        self.cluster.execute(head, ["sh", "-c", f"cat > {TABLE}"], text=text.getvalue())

    def train(self) -> str:
        """A version from the table; its number."""
        printed = self.job("vigil", "train", "--data", TABLE, "--json")
        (line,) = [
            line for line in printed.splitlines() if line.startswith("{") and '"version"' in line
        ]
        return str(json.loads(line)["version"])

    def promote(self, version: str) -> None:
        self.job("vigil", "promote", version)

    def end_rest(self) -> None:
        """Move the champion by hand: that ends the governor's hour of rest after a retraining."""
        (last,) = self.served()
        self.job("vigil", "rollback")
        eventually("all replicas serve another", lambda: self.served().isdisjoint({last}), 60)
        self.promote(last)
        eventually(f"all replicas serve {last}", lambda: self.served() == {last}, 60)

    def workers(self, count: int, timeout_s: float = 300) -> list[str]:
        """The serving workers, once `count` of them are ready and no other one is."""

        def there() -> list[str]:
            found = self.cluster.ready("serve-worker")
            all_of_them = self.cluster.pods("serve-worker")
            return found if len(found) == len(all_of_them) == count else []

        return eventually(f"{count} serving workers are ready", there, timeout_s)

    def running(self, timeout_s: float = 600) -> Object:
        """The RayService, once it is ready and its one cluster serves."""

        def there() -> Object | None:
            service = self.cluster.get("rayservice", "vigil")
            assert service is not None
            status = service.get("status", {})
            conditions = {one["type"]: one["status"] for one in status.get("conditions", [])}
            pending = status.get("pendingServiceStatus", {}).get("rayClusterName")
            return service if conditions.get("Ready") == "True" and not pending else None

        return eventually("the RayService is ready", there, timeout_s)

    def active_cluster(self) -> str:
        """The name of the RayCluster that serves."""
        return self.running()["status"]["activeServiceStatus"]["rayClusterName"]

    def pods_of(self, component: str) -> dict[str, str]:
        """The pods of a component, with the start of their Ray container.

        A restart shows in neither name nor uid.
        """
        return {
            name_of(pod): pod["status"]["containerStatuses"][0]
            .get("state", {})
            .get("running", {})
            .get("startedAt", "")
            for pod in self.cluster.pods(component)
        }

    def restarted(self, before: Mapping[str, str]) -> set[str]:
        """Serving workers that have been started again since `before` (as pods_of tells it).

        Workers may come and go meanwhile: a new replica starts before an old one ends, and has a
        worker added where all are full.
        """
        now = self.pods_of("serve-worker")
        return {name for name in now.keys() & before.keys() if now[name] != before[name]}

    @contextmanager
    def timed(self, name: str) -> Iterator[None]:
        """Keep the seconds that a block takes among the figures."""
        began = time.monotonic()
        yield
        self.figures[name] = round(time.monotonic() - began, 1)
