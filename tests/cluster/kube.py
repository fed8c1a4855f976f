"""kubectl, as a test uses it.

Objects are dicts, each wait for a condition has a deadline, and a message says what went wrong.
"""

from __future__ import annotations

import json
import os
import subprocess
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

Object = dict[str, Any]
NAMESPACE = "vigil"
POLL_S = 1.0


class KubectlFailed(AssertionError):
    """kubectl ended with an error; the message is its own."""


def eventually(what: str, condition: Callable[[], Any], timeout_s: float) -> Any:
    """Poll until `condition` gives something true, and return that."""
    deadline = time.monotonic() + timeout_s
    while not (found := condition()):
        assert time.monotonic() < deadline, f"not so after {timeout_s:.0f} s: {what}"
        time.sleep(POLL_S)
    return found


@dataclass(frozen=True)
class Cluster:
    """The cluster of one kubeconfig."""

    kubeconfig: Path

    @property
    def environment(self) -> dict[str, str]:
        return {**os.environ, "KUBECONFIG": str(self.kubeconfig)}

    def kubectl(self, *arguments: str, text: str | None = None, timeout_s: float = 120) -> str:
        """What kubectl prints; raises KubectlFailed with what it says."""
        done = subprocess.run(
            ["kubectl", *arguments],
            input=text,
            env=self.environment,
            capture_output=True,
            text=True,
            timeout=timeout_s,
            check=False,
        )
        if done.returncode:
            raise KubectlFailed(f"kubectl {' '.join(arguments)}: {done.stderr.strip()}")
        return done.stdout

    def get(self, kind: str, name: str, namespace: str = NAMESPACE) -> Object | None:
        """One object, or None where there is none."""
        text = self.kubectl("get", kind, name, "-n", namespace, "-o", "json", "--ignore-not-found")
        return json.loads(text) if text.strip() else None

    def list(self, kind: str, selector: str = "", namespace: str = NAMESPACE) -> list[Object]:
        """Objects of one kind, by label."""
        chosen = ["-l", selector] if selector else []
        return json.loads(self.kubectl("get", kind, "-n", namespace, "-o", "json", *chosen))[
            "items"
        ]

    def apply(self, *objects: Object) -> None:
        """Make or change objects."""
        self.kubectl(
            "apply",
            "-f",
            "-",
            text=json.dumps({"apiVersion": "v1", "kind": "List", "items": list(objects)}),
        )

    def exists(self, kind: str, name: str) -> bool:
        """Whether an object of the whole cluster is there, also one that is being deleted."""
        return bool(self.kubectl("get", kind, name, "-o", "name", "--ignore-not-found").strip())

    def may(self, account: str, verb: str, kind: str, namespace: str) -> bool:
        """Whether an account has a right."""
        asked = ["auth", "can-i", verb, kind, "-n", namespace, "--as", account]
        done = subprocess.run(
            ["kubectl", *asked], env=self.environment, capture_output=True, text=True, check=False
        )
        assert done.stdout.strip() in ("yes", "no"), done.stderr
        return done.stdout.strip() == "yes"

    def pods(self, component: str) -> list[Object]:
        """The live pods of a component of Vigil.

        Components: serve-worker, serve-head, monitor, train-head, train-worker.
        """
        found = self.list("pods", f"app.kubernetes.io/component={component}")
        return [pod for pod in found if "deletionTimestamp" not in pod["metadata"]]

    def ready(self, component: str) -> list[str]:
        """The names of the pods of a component that are ready."""
        return [name_of(pod) for pod in self.pods(component) if is_ready(pod)]

    def execute(
        self, pod: str, command: Sequence[str], *, text: str | None = None, timeout_s: float = 120
    ) -> str:
        """What a command prints in a pod's first container."""
        return self.kubectl(
            "exec", "-n", NAMESPACE, "-i", pod, "--", *command, text=text, timeout_s=timeout_s
        )

    @contextmanager
    def started(self, *arguments: str) -> Iterator[subprocess.Popen[str]]:
        """kubectl in the background, killed in the end."""
        process = subprocess.Popen(
            ["kubectl", *arguments],
            env=self.environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            stdin=subprocess.PIPE,
            text=True,
        )
        try:
            yield process
        finally:
            process.kill()
            process.communicate()


def name_of(one: Object) -> str:
    return one["metadata"]["name"]


def is_ready(pod: Object) -> bool:
    """Whether a pod's condition Ready is true."""
    conditions = pod.get("status", {}).get("conditions", [])
    return any(one["type"] == "Ready" and one["status"] == "True" for one in conditions)
