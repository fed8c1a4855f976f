"""The MLflow server of a platform: a child process that is started again when it dies."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from vigil.home import Home

# Nothing uses MLflow's job runner and its consumers, and they take more memory than all else of it.
_ENVIRONMENT = {"MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"}
_SUPERVISE_INTERVAL_S = 0.5
_STOP_TIMEOUT_S = 10.0


@dataclass
class SupervisedProcess:
    """A command whose output goes to the file `log`."""

    command: list[str]
    log: Path
    process: subprocess.Popen[bytes] | None = None
    is_stopping: bool = False

    def start(self) -> None:
        with self.log.open("ab") as out:
            self.process = subprocess.Popen(
                self.command,
                env=_ENVIRONMENT | os.environ,
                stdout=out,
                stderr=out,
                start_new_session=True,
            )

    def _has_ended(self) -> bool:
        return self.process is None or self.process.poll() is not None

    def supervise(self) -> None:
        """Start it, and again whenever it has ended, until it is stopped. Blocks."""
        while not self.is_stopping:
            if self._has_ended():
                self.start()
            time.sleep(_SUPERVISE_INTERVAL_S)


@contextmanager
def mlflow_server(home: Home, port: int) -> Iterator[None]:
    """An MLflow server on `port` of this machine for the length of a block."""
    server = SupervisedProcess(_server_command(home, port), home.logs / "mlflow.log")
    supervisor = threading.Thread(target=server.supervise, daemon=True)
    supervisor.start()
    try:
        yield
    finally:
        server.is_stopping = True
        supervisor.join()
        if server.process is not None:
            server.process.terminate()
            with suppress(subprocess.TimeoutExpired):  # whoever stops the platform reaps it
                server.process.wait(_STOP_TIMEOUT_S)


def _server_command(home: Home, port: int) -> list[str]:
    module = "train.registry.mlflow_process"
    return [sys.executable, "-m", module, str(port), home.database_uri, home.artifacts.as_uri()]
