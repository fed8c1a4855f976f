"""A real PostgreSQL server (Debian's) in a folder and on a port of its own."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psycopg2
import pytest

from tests.running import eventually, free_port

USER = "mlflow"


def _binaries() -> Path:
    """Where `initdb` and `postgres` are: Debian keeps them out of the path.

    Skips where there are none, but not in CI.
    """
    found = shutil.which("initdb")
    folders = [Path(found).parent] if found else sorted(Path("/usr/lib/postgresql").glob("*/bin"))
    if not folders:
        (pytest.fail if os.environ.get("CI") else pytest.skip)(
            "no PostgreSQL server: install Debian's package postgresql"
        )
    return folders[-1]


@contextmanager
def postgres() -> Iterator[str]:
    """The URI of an empty database.

    PostgreSQL refuses to run as root, which becomes the user of Debian's package then.
    """
    binaries, folder, port = _binaries(), Path(tempfile.mkdtemp(prefix="vigil-pg-")), free_port()
    become = (
        ["setpriv", "--reuid=postgres", "--regid=postgres", "--clear-groups"]
        if os.geteuid() == 0
        else []
    )
    if become:
        shutil.chown(folder, "postgres", "postgres")
    try:
        data = str(folder / "data")
        made = [
            *become,
            str(binaries / "initdb"),
            "-D",
            data,
            "-U",
            USER,
            "--auth=trust",
            "--no-sync",
            "-E",
            "UTF8",
        ]
        subprocess.run(made, check=True, capture_output=True, cwd=folder)
        options = ["-p", str(port), "-k", str(folder), "-h", "127.0.0.1", "-c", "fsync=off"]
        server = subprocess.Popen(
            [*become, str(binaries / "postgres"), "-D", data, *options],
            cwd=folder,
            stderr=subprocess.DEVNULL,
        )
        try:
            eventually(lambda: _answers(port))
            yield f"postgresql+psycopg2://{USER}@127.0.0.1:{port}/postgres"
        finally:
            server.send_signal(signal.SIGINT)  # its "fast" shutdown, which waits for no client
            server.wait(30)
    finally:
        shutil.rmtree(folder)


def _answers(port: int) -> bool:
    try:
        psycopg2.connect(host="127.0.0.1", port=port, user=USER, dbname="postgres").close()
    except psycopg2.OperationalError:
        return False
    return True
