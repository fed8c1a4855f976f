"""The platform on one machine: Ray, an MLflow server, the Serve applications. Up, down, status."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import subprocess
import sys
import tempfile
import threading
import time
import urllib.error
import urllib.request
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partialmethod
from pathlib import Path
from typing import Any

import psutil

from drift.settings import DriftSettings
from serve.http.auth import KeyRing
from serve.local import ports
from serve.local.ports import REPLICA_PORTS, Ports
from serve.settings import ServeSettings
from train import local_ray
from train.settings import TrainSettings
from vigil import reaper
from vigil.errors import PlatformError, VigilError
from vigil.home import Home, RunningPlatform, use_ray_token
from vigil.service import KEY_REFUSED, Service, ServiceOptions, Unanswered

Progress = Callable[[str], None]
OWN_KEY = "this-machine"
OBJECTS = 256 * 2**20  # bytes of Ray's object store
LITTLE_CPUS = 0.1  # for the monitor, for a stream consumer, for the driver of a job
SCAN_CPUS = 1.0  # for a task that reads a part of a table
# Nothing uses MLflow's job runner and its consumers, and they take more memory than all else of it.
MLFLOW = {"MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"}
APPLICATIONS = "/api/serve/applications/"
START_TIMEOUT_S = 180.0
PUT_TIMEOUT_S = 90.0
STOP_TIMEOUT_S = 30.0


class Unready(PlatformError):
    """A part of the platform cannot do what it was asked for, yet."""


@contextmanager
def running(
    settings: ServeSettings,
    home: Home,
    progress: Progress,
    prepare: Callable[[RunningPlatform], None] | None = None,
) -> Iterator[RunningPlatform]:
    """The platform for the length of a block. `prepare` runs when Ray and MLflow are up, before anything is served.

    Raises PlatformError when the port is taken, a platform runs already in this home, or a part does not start.
    """
    home.create()
    with _only_one(home), _short_folder() as sockets:
        found = ports.choose_ports(settings.port, settings.host)
        platform = _describe(settings, home, found)
        with reaper.reap_at_exit(platform.id):
            try:
                os.environ |= environment(settings, found, home, Path(sockets))
                progress("starting Ray and MLflow")
                reserved = reserved_cpus(settings, TrainSettings())
                with (
                    _tracking_server(home, found.tracking),
                    _ray(found, reserved, progress) as address,
                ):
                    platform = replace(platform, ray_address=address)
                    failure = f"MLflow does not start, see {home.logs / 'mlflow.log'}"
                    wait_for(
                        lambda: answers(f"{platform.tracking_uri}/health"), START_TIMEOUT_S, failure
                    )
                    home.write_platform(platform)
                    progress(
                        f"Ray dashboard {platform.dashboard_url}, MLflow {platform.tracking_uri}"
                    )
                    if prepare is not None:
                        prepare(platform)
                    deploy(platform, settings, home)
                    yield platform
            finally:
                home.record.unlink(missing_ok=True)


def environment(settings: ServeSettings, found: Ports, home: Home, folder: Path) -> dict[str, str]:
    """What every Ray process must have in its environment before it starts: HAProxy mode and this platform's own ports.

    `folder` is for HAProxy's unix sockets: its path must be short.
    """
    return {
        "RAY_SERVE_ENABLE_HA_PROXY": os.environ.get("RAY_SERVE_ENABLE_HA_PROXY", "1"),
        "RAY_SERVE_THROUGHPUT_OPTIMIZED": os.environ.get("RAY_SERVE_THROUGHPUT_OPTIMIZED", "1"),
        "RAY_SERVE_HAPROXY_NBTHREAD": "1",
        "RAY_SERVE_HAPROXY_CONFIG_FILE_LOC": str(folder / "haproxy.cfg"),
        "RAY_SERVE_HAPROXY_SOCKET_PATH": str(folder / "admin.sock"),
        "RAY_SERVE_HAPROXY_SERVER_STATE_BASE": str(folder),
        "RAY_SERVE_HAPROXY_SERVER_STATE_FILE": str(folder / "state"),
        "RAY_SERVE_HAPROXY_METRICS_SOCKET_PATH": str(folder / "metrics.sock"),
        "RAY_SERVE_HAPROXY_METRICS_PORT": str(found.haproxy_metrics),
        "RAY_SERVE_HAPROXY_STATS_PORT": str(found.haproxy_stats),
        "RAY_SERVE_HAPROXY_LOG_TARGET": f"127.0.0.1:{found.haproxy_log}",
        "RAY_SERVE_FALLBACK_PROXY_HTTP_PORT": str(found.fallback),
        "RAY_SERVE_FALLBACK_PROXY_GRPC_PORT": str(found.fallback_grpc),
        "RAY_SERVE_DIRECT_INGRESS_MIN_HTTP_PORT": str(found.replicas),
        "RAY_SERVE_DIRECT_INGRESS_MAX_HTTP_PORT": str(found.replicas + REPLICA_PORTS - 1),
        "RAY_SERVE_DIRECT_INGRESS_MIN_GRPC_PORT": str(found.grpc),
        "RAY_SERVE_DIRECT_INGRESS_MAX_GRPC_PORT": str(found.grpc + REPLICA_PORTS - 1),
        **settings.environment,
        "RAY_worker_maximum_startup_concurrency": "4",
        "VIGIL_HOME": str(home.root),
        "RAY_ENABLE_UV_RUN_RUNTIME_ENV": "0",  # workers use this interpreter, not a `uv run` of their own
    }


def deploy(platform: RunningPlatform, settings: ServeSettings, home: Home) -> None:
    """Put the Serve configuration, the same that a RayService holds, and wait until all applications run."""
    put(platform, settings, DriftSettings(), home)
    url = f"{platform.dashboard_url}{APPLICATIONS}"

    def serving() -> bool:
        applications = call("GET", url, platform)["applications"]
        for name, application in applications.items():
            if application["status"] in ("DEPLOY_FAILED", "UNHEALTHY"):
                raise PlatformError(
                    f"application {name} does not start: {application['message'][-2000:]}"
                )
        if {a["status"] for a in applications.values()} != {"RUNNING"} or not answers(
            f"{platform.url}/healthz"
        ):
            return False
        seen = call("GET", f"{platform.url}/drift", platform, errors=True).get("replicas", [])
        return len(seen) >= settings.min_replicas

    wait_for(serving, START_TIMEOUT_S, "the Serve applications do not start")


def put(
    platform: RunningPlatform, settings: ServeSettings, drift: DriftSettings, home: Home
) -> None:
    """Give Serve the configuration of these settings; what has not changed goes on.

    On a busy machine Ray's dashboard answers 5xx while it starts Serve: it is asked again. The request is idempotent.
    """
    shared = {"home": home.root, "tracking_uri": platform.tracking_uri}
    links = {
        "Ray dashboard": platform.dashboard_url,
        "MLflow": platform.tracking_uri,
    } | settings.links
    watching = {**shared, "model_name": settings.model_name, "jobs_url": platform.dashboard_url}
    served = settings.model_copy(update={**shared, "links": links})
    config = served.serve_config(drift.model_copy(update=watching))
    url, deadline = f"{platform.dashboard_url}{APPLICATIONS}", time.monotonic() + PUT_TIMEOUT_S
    while True:
        try:
            call("PUT", url, platform, config)
            return
        except Unready:
            if time.monotonic() > deadline:
                raise
            time.sleep(1.0)


def down(home: Home) -> int:
    """Stop the platform of this home and all that is left of it; return how many processes had to be ended by force."""
    platform = home.platform()
    if platform is not None:
        with contextlib.suppress(
            psutil.NoSuchProcess, psutil.TimeoutExpired
        ):  # what does not end is reaped below
            process = psutil.Process(platform.pid)
            process.terminate()
            process.wait(STOP_TIMEOUT_S)
    with contextlib.suppress(FileNotFoundError, json.JSONDecodeError):
        left = reaper.reap(json.loads(home.record.read_text())["id"])
        home.record.unlink(missing_ok=True)
        return left
    return 0


def status(home: Home, named: ServiceOptions) -> dict[str, Any]:
    """The parts of the platform that is named, or runs here, and what each replica serves.

    Of one elsewhere only the service can be asked. Raises PlatformError when there is none, and Unanswered when that service
    asks for another key, or does not answer at all.
    """
    service = named.require(home)
    ready, drift = _answer(service, "/readyz"), _answer(service, "/drift")
    shown: dict[str, Any] = {"url": service.url}
    parts = {"serve": "status" in ready, "monitor": "governor" in drift}
    platform = None if named.url else home.platform()
    if platform is not None:
        shown |= {
            key: getattr(platform, key) for key in ("dashboard_url", "tracking_uri", "token_path")
        }
        parts["mlflow"] = answers(f"{platform.tracking_uri}/health")
        parts["ray"] = answers(f"{platform.dashboard_url}/api/version", platform)
    keys = (
        "model_version",
        "model_digest",
        "desired_version",
        "replicas",
        "lagging",
        "disagreement",
        "canary",
        "verdict",
        "governor",
        "scores",
        "alert_budget",
        "last_retraining",
    )
    return {**shown, "parts": parts, "ready": ready, **{key: drift.get(key) for key in keys}}


def _answer(service: Service, path: str) -> dict[str, Any]:
    """What the service answers, or why a part of it does not."""
    try:
        return service.get(path, timeout_s=30)
    except Unanswered as error:
        if error.code is None or error.code in KEY_REFUSED:
            raise
        return error.answer


def call(
    method: str, url: str, platform: RunningPlatform, body: Any = None, *, errors: bool = False
) -> dict[str, Any]:
    """JSON over HTTP with the credentials of the part that is asked; with `errors` an error's body is returned like any other."""
    request = urllib.request.Request(
        url, json.dumps(body).encode() if body is not None else None, method=method
    )
    request.headers.update(_credentials(url, platform) | {"Content-type": "application/json"})
    try:
        with urllib.request.urlopen(request, timeout=30) as answer:
            return json.loads(answer.read() or b"{}")
    except urllib.error.HTTPError as error:
        text = error.read().decode(errors="replace")
        if errors:
            with contextlib.suppress(json.JSONDecodeError):
                return json.loads(text)
        kind = Unready if error.code >= 500 else PlatformError
        raise kind(f"{method} {url} answered {error.code}: {text[-500:]}") from error
    except OSError as error:
        raise PlatformError(f"{url} does not answer: {error}") from error


def _credentials(url: str, platform: RunningPlatform) -> dict[str, str]:
    """The service wants its API key, Ray's dashboard its token."""
    if url.startswith(f"{platform.url}/"):
        return platform.headers
    return {"Authorization": f"Bearer {Path(platform.token_path).read_text().strip()}"}


def answers(url: str, platform: RunningPlatform | None = None) -> bool:
    """Whether a GET is answered with a 2xx."""
    request = urllib.request.Request(url)
    if platform is not None:
        request.headers.update(_credentials(url, platform))
    try:
        with urllib.request.urlopen(request, timeout=5):
            return True
    except OSError:
        return False


def wait_for(
    condition: Callable[[], bool], timeout_s: float, failure: str, step_s: float = 0.25
) -> None:
    """Poll `condition` until it holds; raises PlatformError with `failure` after `timeout_s`."""
    deadline = time.monotonic() + timeout_s
    while not condition():
        if time.monotonic() > deadline:
            raise PlatformError(f"{failure} (waited {timeout_s:.0f} s)")
        time.sleep(step_s)


def _short_folder() -> tempfile.TemporaryDirectory[str]:
    try:
        return tempfile.TemporaryDirectory(prefix="vigil-")
    except OSError as error:
        what = f"{error.strerror}: make /tmp writable, in a container with --tmpfs /tmp"
        raise PlatformError(what) from error


@contextmanager
def _only_one(home: Home) -> Iterator[None]:
    with (home.state / "lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            running = home.platform()
            where = f" (pid {running.pid}, {running.url})" if running else ""
            raise PlatformError(
                f"a platform runs already in {home.root}{where}: `vigil down` stops it, VIGIL_HOME names another home"
            ) from error
        yield


def _describe(settings: ServeSettings, home: Home, found: Ports) -> RunningPlatform:
    local = "http://127.0.0.1"
    here = "127.0.0.1" if settings.host in ("0.0.0.0", "::") else settings.host  # noqa: S104 - compared, not bound
    return RunningPlatform(
        id=uuid.uuid4().hex,
        pid=os.getpid(),
        started=psutil.Process().create_time(),
        url=f"http://{here}:{settings.port}",
        ray_address="",
        dashboard_url=f"{local}:{found.dashboard}",
        tracking_uri=f"{local}:{found.tracking}",
        token_path=str(use_ray_token(home)),
        key_path=str(_own_key(settings, home)) if settings.auth_required else None,
    )


def _own_key(settings: ServeSettings, home: Home) -> Path:
    """A fresh key for this platform's own commands, readable by its owner only."""
    ring, path = (
        KeyRing(settings.model_copy(update={"home": home.root}).key_file),
        home.state / "api-key",
    )
    with contextlib.suppress(VigilError):
        ring.revoke(OWN_KEY)
    path.unlink(missing_ok=True)
    path.touch(mode=0o600)
    path.write_text(ring.new(OWN_KEY, operator=True))
    return path


@dataclass
class _Server:
    """The MLflow server as a child that is started again when it dies."""

    command: list[str]
    log: Path
    process: subprocess.Popen[bytes] | None = None
    stopping: bool = False

    def start(self) -> None:
        with self.log.open("ab") as out:
            self.process = subprocess.Popen(
                self.command,
                env=MLFLOW | os.environ,
                stdout=out,
                stderr=out,
                start_new_session=True,
            )

    def supervise(self) -> None:
        while not self.stopping:
            if self.process is None or self.process.poll() is not None:
                self.start()
            time.sleep(0.5)


@contextmanager
def _tracking_server(home: Home, port: int) -> Iterator[None]:
    command = [
        sys.executable,
        "-m",
        "mlflow",
        "server",
        "--host",
        "127.0.0.1",
        "--port",
        str(port),
        "--workers",
        "1",
        "--backend-store-uri",
        home.database_uri,
        "--default-artifact-root",
        home.artifacts.as_uri(),
        "--no-serve-artifacts",
    ]
    server = _Server(command, home.logs / "mlflow.log")
    supervisor = threading.Thread(target=server.supervise, daemon=True)
    supervisor.start()
    try:
        yield
    finally:
        server.stopping = True
        supervisor.join()
        if server.process is not None:
            server.process.terminate()


def reserved_cpus(settings: ServeSettings, training: TrainSettings) -> float:
    """What is asked of Ray at once, at most: all replicas, what is beside them, a training."""
    replicas = max(settings.min_replicas, settings.max_replicas) * settings.cpus_per_replica
    work = max(SCAN_CPUS, training.workers * training.cpus_per_worker)
    return replicas + LITTLE_CPUS * (2 + settings.max_consumers) + work


@contextmanager
def _ray(found: Ports, reserved: float, progress: Progress) -> Iterator[str]:
    import ray  # reads its environment when it is imported

    with _agent_on(found.agent):
        local_ray.start(
            reserved=reserved,
            objects=OBJECTS,
            tell=progress,
            include_dashboard=True,
            dashboard_host="127.0.0.1",
            dashboard_port=found.dashboard,
            _node_ip_address="127.0.0.1",
            _metrics_export_port=found.metrics,
        )
    try:
        yield ray.get_runtime_context().gcs_address
    finally:
        ray.shutdown()


@contextmanager
def _agent_on(port: int) -> Iterator[None]:
    """Ray's agent, which starts jobs, listens on `port` in what is started within the block.

    `ray.init` has no argument for it, and all would take one port: of two platforms on a machine only the first could train.
    `ray start` has one, but also makes its cluster the one that every other `ray.init()` of the machine connects to.
    """
    from ray._private.parameter import RayParams

    initialize: Any = RayParams.__init__
    RayParams.__init__ = partialmethod(initialize, dashboard_agent_listen_port=port)  # type: ignore[method-assign,assignment]
    try:
        yield
    finally:
        RayParams.__init__ = initialize
