"""The platform on one machine: Ray, an MLflow server and the Serve applications, started and
stopped together."""

from __future__ import annotations

import contextlib
import json
import os
import tempfile
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import psutil

from serve.http.api_keys import KeyRing
from serve.local.deploy import START_TIMEOUT_S, deploy, start_serve
from serve.local.mlflow_server import mlflow_server
from serve.local.parts import is_answering, wait_until
from serve.local.ports import Ports, choose_ports
from serve.local.ray_node import ray_environment, ray_node, reserved_cpus
from serve.settings import ServeSettings
from train.settings import TrainSettings
from vigil import reaper
from vigil.errors import PlatformError, VigilError
from vigil.home import Home, RunningPlatform, use_ray_token, write_json
from vigil.locks import try_lock
from vigil.process_birth import own_birth

_STOP_TIMEOUT_S = 30.0
_OWN_KEY_NAME = "this-machine"
_EVERY_INTERFACE = ("0.0.0.0", "::")  # noqa: S104 - compared, not bound
_LOCAL = "http://127.0.0.1"
_SHORT_FOLDER = "/tmp"  # noqa: S108
# A socket's path has 107 characters. After this are the folder's name (15), the node's (57), the
# socket's (13), and what HAProxy appends while it takes over (12).
_LONGEST_SOCKET_PARENT = 10


@contextmanager
def running_platform(
    settings: ServeSettings,
    home: Home,
    progress: Callable[[str], None],
    *,
    prepare: Callable[[RunningPlatform], None] | None = None,
) -> Iterator[RunningPlatform]:
    """The platform for the length of a block.

    `prepare` runs when Ray and MLflow are up, before anything is served. Raises PlatformError when
    the port is taken, a platform runs already in this home, or a part does not start.
    """
    home.create()
    with _only_one(home), socket_folder() as sockets:
        ports = choose_ports(settings.port, settings.host, grpc=settings.grpc_port)
        described = _describe(settings, home, ports)
        with reaper.reap_at_exit(described.id), _records_removed(home):
            os.environ |= ray_environment(
                settings,
                ports,
                home,
                sockets=Path(sockets),
            )
            progress("starting Ray and MLflow")
            with _started_parts(
                described,
                ports,
                settings,
                home=home,
                tell=progress,
            ) as platform:
                home.write_platform(platform)
                progress(f"Ray dashboard {platform.dashboard_url}, MLflow {platform.tracking_uri}")
                _deploy_prepared(
                    platform,
                    settings,
                    home,
                    prepare=prepare,
                )
                yield platform


def _deploy_prepared(
    platform: RunningPlatform,
    settings: ServeSettings,
    home: Home,
    *,
    prepare: Callable[[RunningPlatform], None] | None,
) -> None:
    """Deploy the applications after `prepare`, during which Serve itself starts."""
    starting = start_serve(platform, settings, home)
    if prepare is not None:
        prepare(platform)
    starting.join()
    deploy(platform, settings, home)
    _write_deployed(home, platform)


@contextmanager
def _started_parts(
    described: RunningPlatform,
    ports: Ports,
    settings: ServeSettings,
    *,
    home: Home,
    tell: Callable[[str], None],
) -> Iterator[RunningPlatform]:
    """Ray and MLflow for the length of a block, and the platform with Ray's address."""
    reserved = reserved_cpus(settings, TrainSettings())
    with mlflow_server(home, ports.tracking), ray_node(ports, reserved, tell) as ray_address:
        wait_until(
            lambda: is_answering(f"{described.tracking_uri}/health"),
            START_TIMEOUT_S,
            f"MLflow does not start, see {home.logs / 'mlflow.log'}",
        )
        yield replace(described, ray_address=ray_address)


def stop_platform(home: Home) -> int:
    """Stop the platform of this home and all that is left of it.

    Returns how many processes had to be ended by force.
    """
    platform = home.platform()
    if platform is not None:
        # What does not end is reaped below.
        with contextlib.suppress(psutil.NoSuchProcess, psutil.TimeoutExpired):
            process = psutil.Process(platform.pid)
            process.terminate()
            process.wait(_STOP_TIMEOUT_S)
    try:
        recorded = json.loads(home.record.read_text("utf-8"))
    except (FileNotFoundError, json.JSONDecodeError):
        return 0
    ended_by_force = reaper.reap(recorded["id"])
    _remove_records(home)
    return ended_by_force


def is_deployed(home: Home, platform: RunningPlatform) -> bool:
    """Whether all applications of `platform` have been deployed."""
    try:
        deployed = json.loads(_deployed_record(home).read_text("utf-8"))
    except (FileNotFoundError, json.JSONDecodeError):
        return False
    return deployed["id"] == platform.id


def _write_deployed(home: Home, platform: RunningPlatform) -> None:
    write_json(_deployed_record(home), {"id": platform.id})


def _deployed_record(home: Home) -> Path:
    return home.state / "deployed.json"


@contextmanager
def _records_removed(home: Home) -> Iterator[None]:
    """At the end of the block nothing says any more that a platform runs here."""
    try:
        yield
    finally:
        _remove_records(home)


def _remove_records(home: Home) -> None:
    home.record.unlink(missing_ok=True)
    _deployed_record(home).unlink(missing_ok=True)


def socket_folder(
    make: Callable[..., tempfile.TemporaryDirectory[str]] = tempfile.TemporaryDirectory,
    temporary: str | None = None,
) -> tempfile.TemporaryDirectory[str]:
    """A folder with a short path, as unix sockets need one; it goes with its block.

    Where that for temporary files has a long one (`temporary`, by default TMPDIR), it is not made
    there: HAProxy would not start. Raises PlatformError where none can be made.
    """
    parent = temporary or tempfile.gettempdir()
    is_short = len(parent) <= _LONGEST_SOCKET_PARENT
    try:
        return make(prefix="vigil-", dir=parent if is_short else _SHORT_FOLDER)
    except OSError as error:
        hint = "make /tmp writable, in a container with --tmpfs /tmp"
        raise PlatformError(f"{error.strerror}: {hint}") from error


@contextmanager
def _only_one(home: Home) -> Iterator[None]:
    lock = try_lock(home.state / "lock")
    if lock is None:
        platform = home.platform()
        where = f" (pid {platform.pid}, {platform.url})" if platform else ""
        raise PlatformError(
            f"a platform runs already in {home.root}{where}: `vigil down` stops it, "
            "VIGIL_HOME names another home"
        )
    try:
        yield
    finally:
        lock.release()


def _describe(
    settings: ServeSettings,
    home: Home,
    ports: Ports,
) -> RunningPlatform:
    host = "127.0.0.1" if settings.host in _EVERY_INTERFACE else settings.host
    return RunningPlatform(
        id=uuid.uuid4().hex,
        pid=os.getpid(),
        birth=own_birth(),
        url=f"http://{host}:{settings.port}",
        ray_address="",
        dashboard_url=f"{_LOCAL}:{ports.dashboard}",
        tracking_uri=f"{_LOCAL}:{ports.tracking}",
        token_path=str(use_ray_token(home)),
        key_path=str(_own_key(settings, home)) if settings.auth_required else None,
        grpc=f"{host}:{settings.grpc_port}" if settings.grpc_port else None,
    )


def _own_key(settings: ServeSettings, home: Home) -> Path:
    """A fresh key for this platform's own commands, readable by its owner only."""
    ring = KeyRing(settings.model_copy(update={"home": home.root}).key_file)
    with contextlib.suppress(VigilError):
        ring.revoke(_OWN_KEY_NAME)
    path = home.state / "api-key"
    path.unlink(missing_ok=True)
    path.touch(mode=0o600)
    path.write_text(ring.new(_OWN_KEY_NAME, operator=True))
    return path
