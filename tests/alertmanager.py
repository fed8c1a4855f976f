"""Debian's Alertmanager, started for a test and ended by its pid."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.running import eventually, free_port

_BINARY = shutil.which("prometheus-alertmanager") or shutil.which("alertmanager")
needs_alertmanager = pytest.mark.skipif(
    not _BINARY and not os.environ.get("CI"),
    reason="no Alertmanager here: Debian's package prometheus-alertmanager has it",
)


@dataclass
class Alertmanager:
    """One that runs at HOST:PORT."""

    address: str

    def alerts(self) -> list[dict[str, Any]]:
        """The alerts that it holds for firing, with labels, annotations and status."""
        with urllib.request.urlopen(f"http://{self.address}/api/v2/alerts", timeout=10) as answer:
            return json.load(answer)

    def is_ready(self) -> bool:
        try:
            with urllib.request.urlopen(f"http://{self.address}/-/ready", timeout=5):
                return True
        except OSError:
            return False


@contextmanager
def alertmanager(folder: Path, webhook: str) -> Iterator[Alertmanager]:
    """An Alertmanager on a free loopback port, whose one receiver is a webhook."""
    configuration = {
        "route": {
            "receiver": "people",
            "group_by": ["alertname", "detector"],
            "group_wait": "0s",
            "group_interval": "1s",
        },
        "receivers": [{"name": "people", "webhook_configs": [{"url": webhook}]}],
    }
    (folder / "alertmanager.yml").write_text(json.dumps(configuration))  # JSON is YAML
    address = f"127.0.0.1:{free_port()}"
    command = [
        _BINARY or "prometheus-alertmanager",
        f"--config.file={folder / 'alertmanager.yml'}",
        f"--storage.path={folder / 'data'}",
        f"--web.listen-address={address}",
        "--cluster.listen-address=",
    ]
    with (folder / "alertmanager.log").open("wb") as log:
        process = subprocess.Popen(command, stdout=log, stderr=log)
    try:
        running = Alertmanager(address)

        def is_ready() -> bool:
            assert process.poll() is None, (folder / "alertmanager.log").read_text()
            return running.is_ready()

        eventually(is_ready, 30)
        yield running
    finally:
        process.terminate()
        process.wait(30)
