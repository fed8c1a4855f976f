"""The servers that Vigil is compared with: how each is installed, started and stopped.

Each is a process.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path

import psutil

from tests.bench import peers
from tests.bench.peers import PeerUnavailable
from tests.running import free_port

START_S = 180.0
NICENESS = 15  # as Ray starts its workers: on a busy machine no side has the better share
HERE = Path(__file__).parent
FOREST = (
    "scikit-learn",
    "numpy",
    "joblib",
)  # what a stored forest needs in the very version that stored it


@dataclass(frozen=True)
class Command:
    """How a peer is started."""

    arguments: list[str]
    environment: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Model:
    """The forest that Vigil logged, as its peers take it.

    A joblib file, and the folder of the MLflow model.
    """

    forest: Path
    mlflow: Path


Peer = Callable[[Model, int], Command]


def bare(model: Model, port: int) -> Command:
    """No server at all: what is measured is the load generator."""
    return Command([sys.executable, str(HERE / "peer_bare.py"), str(port)])


def fastapi(model: Model, port: int) -> Command:
    """The plain app."""
    python = peers.interpreter(
        "fastapi", *_same("fastapi", "uvicorn", "uvloop", "httptools", *FOREST)
    )
    return Command([str(python), str(HERE / "peer_fastapi.py"), str(model.forest), str(port)])


def mlflow(model: Model, port: int) -> Command:
    """`mlflow models serve` of the very model that Vigil logged."""
    python = peers.interpreter("mlflow", *_same("mlflow", "skops", "pandas", *FOREST))
    arguments = [
        "-m",
        "mlflow",
        "models",
        "serve",
        "-m",
        str(model.mlflow),
        "--env-manager",
        "local",
        "-h",
        "127.0.0.1",
    ]
    path = f"{python.parent}{os.pathsep}{os.environ['PATH']}"  # it starts its server by name
    return Command(
        [str(python), *arguments, "-p", str(port)],
        {"PATH": path, "MLFLOW_DISABLE_TELEMETRY": "true"},
    )


def mlserver(model: Model, port: int) -> Command:
    """MLServer with its scikit-learn runtime, and its default of one worker process."""
    # From 0.22 on uvloop makes no event loop when it is asked for the present one, and the workers
    # of MLServer 1.7 die of it.
    wanted = ("mlserver>=1.7,<2", "mlserver-sklearn>=1.7,<2", "uvloop<0.22")
    python = peers.interpreter("mlserver", *wanted, *_same(*FOREST))
    home = model.forest.parent / "mlserver"
    home.mkdir(exist_ok=True)
    served = {
        "name": "vigil",
        "implementation": "mlserver_sklearn.SKLearnModel",
        "parameters": {"uri": str(model.forest)},
    }
    (home / "model-settings.json").write_text(json.dumps(served))
    ports = {"http_port": port, "grpc_port": free_port(), "metrics_port": free_port()}
    (home / "settings.json").write_text(json.dumps({"host": "127.0.0.1", **ports}))
    return Command([str(python.with_name("mlserver")), "start", str(home)])


def _same(*names: str) -> list[str]:
    """These packages in the versions of this environment.

    Peers differ from Vigil in how they serve, in nothing else.
    """
    return [f"{name}=={version(name)}" for name in names]


@contextmanager
def serving(peer: Peer, model: Model, path: str, body: bytes) -> Iterator[int]:
    """The port of a peer that has answered `body` at `path` with 200, until the end of the block.

    Raises PeerUnavailable, with the peer's last words, when it cannot be installed or does not
    answer.
    """
    port = free_port()
    command, log = peer(model, port), model.forest.with_name(f"{peer.__name__}.log")
    with log.open("wb") as out:
        started = subprocess.Popen(
            ["nice", "-n", str(NICENESS), *command.arguments],
            env={**os.environ, **command.environment},
            cwd=log.parent,
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=out,
            start_new_session=True,
        )
    try:
        end = time.monotonic() + START_S
        while not _answers(port, path, body):
            if started.poll() is not None or time.monotonic() > end:
                raise PeerUnavailable(
                    "it does not answer: "
                    f"{' '.join(log.read_text(errors='replace').split())[-400:]}"
                )
            time.sleep(0.2)
        yield port
    finally:
        _stop(started.pid)
        started.wait()


def _stop(group: int) -> None:
    """End the processes of a session: a server that died may have left its workers."""
    family = [process for process in psutil.process_iter() if _group(process) == group]
    for process in family:
        with suppress(psutil.NoSuchProcess):
            process.terminate()
    for process in psutil.wait_procs(family, 5)[1]:
        process.kill()


def _group(process: psutil.Process) -> int:
    try:
        return os.getpgid(process.pid)
    except ProcessLookupError:
        return 0


def _answers(port: int, path: str, body: bytes) -> bool:
    request = urllib.request.Request(
        f"http://127.0.0.1:{port}{path}", body, {"Content-Type": "application/json"}
    )
    try:
        with urllib.request.urlopen(request, timeout=10):
            return True
    except OSError:
        return False
