"""The state of a platform as its parts tell it."""

from __future__ import annotations

from serve.local.parts import is_answering
from vigil.home import Home, RunningPlatform
from vigil.json_types import JsonObject
from vigil.service import KEY_REFUSED, Service, ServiceOptions, Unanswered

STATUS_TIMEOUT_S = 30.0
_ADDRESSES = ("dashboard_url", "tracking_uri", "token_path")
_FROM_MONITOR = (
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


def platform_status(home: Home, options: ServiceOptions) -> JsonObject:
    """The parts of the platform that is named, or runs here, and what each replica serves.

    Of one elsewhere only the service can be asked. Raises PlatformError when there is none, and
    Unanswered when that service asks for another key, or does not answer at all.
    """
    service = options.require(home)
    ready = _ask(service, "/readyz")
    drift = _ask(service, "/drift")
    shown: JsonObject = {"url": service.url}
    parts = {"serve": "status" in ready, "monitor": "governor" in drift}
    platform = None if options.url else home.platform()
    if platform is not None:
        shown |= {name: getattr(platform, name) for name in _ADDRESSES}
        parts |= _answering_parts(platform)
    from_monitor = {name: drift.get(name) for name in _FROM_MONITOR}
    return {**shown, "parts": parts, "ready": ready, **from_monitor}


def _answering_parts(platform: RunningPlatform) -> dict[str, bool]:
    return {
        "mlflow": is_answering(f"{platform.tracking_uri}/health"),
        "ray": is_answering(f"{platform.dashboard_url}/api/version", platform),
    }


def _ask(service: Service, path: str) -> JsonObject:
    """What the service answers, or why a part of it does not."""
    try:
        return service.get(path, timeout_s=STATUS_TIMEOUT_S)
    except Unanswered as error:
        if error.code is None or error.code in KEY_REFUSED:
            raise
        return error.answer
