"""A real kube-apiserver with its etcd and nothing else, started for a test and ended by pid.

The programs are those of KUBEBUILDER_ASSETS, the folder that `setup-envtest` prints, or of PATH.
"""

from __future__ import annotations

import os
import secrets
import shutil
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa

from tests.running import eventually, free_port

_RETRIED = (httpx.ConnectError, httpx.ReadTimeout, httpx.RemoteProtocolError)
_START_S = 120.0


def _program(name: str) -> str | None:
    assets = os.environ.get("KUBEBUILDER_ASSETS", "")
    return shutil.which(name, path=assets) if assets else shutil.which(name)


HERE = all(map(_program, ("etcd", "kube-apiserver")))
needs_apiserver = pytest.mark.skipif(
    not HERE,
    reason="no `etcd` and `kube-apiserver` here: set KUBEBUILDER_ASSETS to the folder that"
    " `setup-envtest use --print path` prints (go install"
    " sigs.k8s.io/controller-runtime/tools/setup-envtest@latest), or put them on PATH",
)


@dataclass
class Answer:
    """What the API server said of an object."""

    status: int
    body: dict[str, Any]
    warnings: list[str] = field(default_factory=list[str])

    @property
    def message(self) -> str:
        """Its message, where it refuses."""
        return self.body.get("message", "")


@dataclass
class ApiServer:
    """One that runs, asked as a member of system:masters or as somebody of other groups."""

    client: httpx.Client
    paths: dict[tuple[str, str], tuple[str, bool]] = field(
        default_factory=dict[tuple[str, str], tuple[str, bool]]
    )

    def ready(self) -> bool:
        try:
            return self.client.get("/readyz").status_code == 200
        except _RETRIED:
            return False

    def path(self, thing: dict[str, Any]) -> str:
        """The path of the collection that an object belongs to."""
        version, kind = thing["apiVersion"], thing["kind"]
        if (version, kind) not in self.paths:
            self._discover(version)
        plural, namespaced = self.paths[version, kind]
        root = f"/apis/{version}" if "/" in version else f"/api/{version}"
        namespace = thing["metadata"].get("namespace", "default")
        return f"{root}/namespaces/{namespace}/{plural}" if namespaced else f"{root}/{plural}"

    def _discover(self, version: str) -> None:
        root = f"/apis/{version}" if "/" in version else f"/api/{version}"
        answer = self.client.get(root)
        for one in answer.json()["resources"] if answer.status_code == 200 else ():
            if "/" not in one["name"]:
                self.paths[version, one["kind"]] = one["name"], one["namespaced"]

    def knows(self, version: str, kind: str) -> bool:
        self._discover(version)
        return (version, kind) in self.paths

    def create(
        self, thing: dict[str, Any], *, dry: bool = False, groups: Sequence[str] = ()
    ) -> Answer:
        """Create an object; `dry`: ask whether it could be, which stores nothing."""
        query = {"dryRun": "All"} if dry else {}
        return self._send("POST", self.path(thing), thing, query=query, groups=groups)

    def replace(self, thing: dict[str, Any]) -> Answer:
        """Put an object in the place of the one that is there, whatever that is by now."""
        version = self.get(thing)["metadata"]["resourceVersion"]
        latest = {**thing, "metadata": {**thing["metadata"], "resourceVersion": version}}
        return self._send("PUT", self._path_of(thing), latest)

    def delete(self, thing: dict[str, Any]) -> Answer:
        """Delete the object of this kind and name."""
        return self._send("DELETE", self._path_of(thing), None)

    def get(self, thing: dict[str, Any]) -> dict[str, Any]:
        """The object of this kind and name as it is stored."""
        return self.client.get(self._path_of(thing)).json()

    def _path_of(self, thing: dict[str, Any]) -> str:
        return f"{self.path(thing)}/{thing['metadata']['name']}"

    def _send(
        self,
        method: str,
        path: str,
        thing: dict[str, Any] | None,
        *,
        query: dict[str, str] | None = None,
        groups: Sequence[str] = (),
    ) -> Answer:
        headers = [("Impersonate-Group", group) for group in groups]
        if groups:
            headers.append(("Impersonate-User", "somebody"))
        answer = self.client.request(method, path, json=thing, params=query, headers=headers)
        return Answer(answer.status_code, answer.json(), answer.headers.get_list("warning"))


@contextmanager
def running_apiserver(folder: Path) -> Iterator[ApiServer]:
    """Start both below a folder, and end them."""
    with ExitStack() as stack:
        etcd = stack.enter_context(_etcd(folder / "etcd"))
        port = free_port()
        token = secrets.token_hex(16)
        options = _options(folder, etcd, port, token)
        stack.enter_context(_process("kube-apiserver", options, folder))
        server = ApiServer(_client(f"https://127.0.0.1:{port}", token))
        stack.callback(server.client.close)
        eventually(server.ready, _START_S)
        yield server


def _client(url: str, token: str) -> httpx.Client:
    headers = {"Authorization": f"Bearer {token}"}
    # Its certificate is made when it starts, by itself, for this test on this machine.
    return httpx.Client(base_url=url, headers=headers, verify=False, timeout=60)


@contextmanager
def _etcd(folder: Path) -> Iterator[str]:
    client, peer = (f"http://127.0.0.1:{free_port()}" for _ in range(2))
    options = {
        "data-dir": str(folder),
        "listen-client-urls": client,
        "advertise-client-urls": client,
        "listen-peer-urls": peer,
        "initial-advertise-peer-urls": peer,
        "initial-cluster": f"default={peer}",
        "unsafe-no-fsync": "true",
        "logger": "zap",
    }
    folder.mkdir(parents=True, mode=0o700)
    with _process("etcd", options, folder):
        yield client


def _options(folder: Path, etcd: str, port: int, token: str) -> dict[str, str]:
    tokens = folder / "tokens.csv"
    tokens.write_text(f"{token},tester,1,system:masters\n")
    key = folder / "accounts.key"
    key.write_bytes(_private_key())
    return {
        "etcd-servers": etcd,
        "bind-address": "127.0.0.1",
        "advertise-address": "127.0.0.1",
        "secure-port": str(port),
        "cert-dir": str(folder / "certs"),
        "anonymous-auth": "false",
        "token-auth-file": str(tokens),
        "authorization-mode": "RBAC",
        "allow-privileged": "true",
        "service-account-issuer": "https://kubernetes.default.svc",
        "service-account-key-file": str(key),
        "service-account-signing-key-file": str(key),
        "service-cluster-ip-range": "10.0.0.0/24",
        # Nobody makes the accounts and tokens that it would wait for: no controllers run here.
        "disable-admission-plugins": "ServiceAccount",
    }


def _private_key() -> bytes:
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    return key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.TraditionalOpenSSL,
        serialization.NoEncryption(),
    )


@contextmanager
def _process(name: str, options: dict[str, str], folder: Path) -> Iterator[subprocess.Popen[bytes]]:
    """A program that is ended with the block; what it says stands in a file beside its data."""
    program = _program(name)
    assert program, f"{name} is not installed: {needs_apiserver.kwargs['reason']}"
    arguments = [f"--{key}={value}" for key, value in options.items()]
    with Path(folder, f"{name}.log").open("wb") as log:
        process = subprocess.Popen([program, *arguments], stdout=log, stderr=log)
        try:
            yield process
        finally:
            process.terminate()
            try:
                process.wait(60)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
