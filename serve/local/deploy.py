"""The Serve applications of a platform: the same configuration that a RayService holds."""

from __future__ import annotations

import time
from contextlib import suppress
from dataclasses import dataclass
from threading import Thread

from drift.settings import DriftSettings
from serve.applications import platform_config
from serve.local.parts import PartUnready, is_answering, request_json, wait_until
from serve.settings import ServeSettings
from vigil.errors import PlatformError, VigilError
from vigil.home import Home, RunningPlatform
from vigil.json_types import JsonObject

APPLICATIONS_PATH = "/api/serve/applications/"
START_TIMEOUT_S = 180.0
PUT_TIMEOUT_S = 90.0
_PUT_INTERVAL_S = 1.0
_FAILED_STATUSES = ("DEPLOY_FAILED", "UNHEALTHY")


def deploy(
    platform: RunningPlatform,
    settings: ServeSettings,
    home: Home,
) -> None:
    """Give Serve its configuration, and wait until all applications run."""
    apply_serve_config(
        platform,
        settings,
        DriftSettings(),
        home=home,
    )
    probe = _DeploymentProbe(platform, min_replicas=settings.min_replicas)
    wait_until(probe.is_serving, START_TIMEOUT_S, "the Serve applications do not start")


def start_serve(
    platform: RunningPlatform,
    settings: ServeSettings,
    home: Home,
) -> Thread:
    """Start Serve's own processes, without an application, in a thread, which is returned.

    Nothing else may be deployed before it has ended: it would be taken for what is not wanted. What
    goes wrong is told by `deploy`, which asks for the same again.
    """
    config = _serve_config(
        platform,
        settings,
        DriftSettings(),
        home=home,
    )
    thread = Thread(
        target=_put_quietly,
        args=(platform, config | {"applications": []}),
        daemon=True,
    )
    thread.start()
    return thread


def _put_quietly(platform: RunningPlatform, config: JsonObject) -> None:
    with suppress(VigilError):
        _put(platform, config)


def _put(platform: RunningPlatform, config: JsonObject) -> None:
    request_json(
        "PUT",
        f"{platform.dashboard_url}{APPLICATIONS_PATH}",
        platform,
        body=config,
    )


def apply_serve_config(
    platform: RunningPlatform,
    settings: ServeSettings,
    drift: DriftSettings,
    *,
    home: Home,
) -> None:
    """Give Serve the configuration of these settings; what has not changed goes on.

    On a busy machine Ray's dashboard answers 5xx while it starts Serve: it is asked again. The
    request is idempotent.
    """
    config = _serve_config(
        platform,
        settings,
        drift,
        home=home,
    )
    deadline = time.monotonic() + PUT_TIMEOUT_S
    while True:
        try:
            _put(platform, config)
            return
        except PartUnready:
            if time.monotonic() > deadline:
                raise
            time.sleep(_PUT_INTERVAL_S)


def _serve_config(
    platform: RunningPlatform,
    settings: ServeSettings,
    drift: DriftSettings,
    *,
    home: Home,
) -> JsonObject:
    shared = {"home": home.root, "tracking_uri": platform.tracking_uri}
    links = {"Ray dashboard": platform.dashboard_url, "MLflow": platform.tracking_uri}
    serving = settings.model_copy(update={**shared, "links": links | settings.links})
    monitoring = drift.model_copy(
        update={
            **shared,
            "model_name": settings.model_name,
            "jobs_url": platform.dashboard_url,
        }
    )
    return platform_config(serving, monitoring)


@dataclass(frozen=True)
class _DeploymentProbe:
    """Asks whether every application runs, and all first replicas have reported."""

    platform: RunningPlatform
    min_replicas: int

    def is_serving(self) -> bool:
        """Raises PlatformError when an application has failed."""
        if self._statuses() != {"RUNNING"}:
            return False
        if not is_answering(f"{self.platform.url}/healthz"):
            return False
        url = f"{self.platform.url}/drift"
        answer = request_json(
            "GET",
            url,
            self.platform,
            accept_errors=True,
        )
        return len(answer.get("replicas", [])) >= self.min_replicas

    def _statuses(self) -> set[str]:
        url = f"{self.platform.dashboard_url}{APPLICATIONS_PATH}"
        applications = request_json("GET", url, self.platform)["applications"]
        for name, application in applications.items():
            if application["status"] in _FAILED_STATUSES:
                reason = application["message"][-2000:]
                raise PlatformError(f"application {name} does not start: {reason}")
        return {application["status"] for application in applications.values()}
