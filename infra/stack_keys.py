"""The keys of a stack: which there are, of which kind, and which are secrets."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pydantic.alias_generators import to_camel

from drift.settings import DriftSettings
from infra.fields import ROOM_SETTINGS, PlatformFields
from serve.settings import ServeSettings
from vigil.room_settings import RoomSettings

PLATFORM_SECRETS = (
    "rayToken",
    "apiKeys",
    "mlflowPassword",
    "mlflowSecretKey",
    "redisPassword",
    "incidentsPassword",
    "grafanaPassword",
    "metricsKey",
    "alertReceiverSecret",
)
# Secrets of the rooms, by the key of the stack that holds each.
ROOM_SECRETS: Mapping[str, tuple[type[RoomSettings], str]] = {
    "githubToken": (DriftSettings, "github_token"),
    "notify": (DriftSettings, "notify"),
    "notifySecret": (DriftSettings, "notify_secret"),
    "streamWebhookSecret": (ServeSettings, "stream_webhook_secret"),
}
SECRET_KEYS = (*PLATFORM_SECRETS, *ROOM_SECRETS)
# What was a key of its own.
MOVED_KEYS = {
    "minReplicas": "serve.minReplicas",
    "maxReplicas": "serve.maxReplicas",
    "cpusPerReplica": "serve.cpusPerReplica",
    "oidcIssuer": "serve.oidcIssuer",
    "oidcAudience": "serve.oidcAudience",
    "consoleLinks": "serve.links",
    "driftMode": "drift.mode",
}


def declared_keys() -> dict[str, str]:
    """Every key by its camelCase name, with its kind in Pulumi.yaml."""
    return {
        **{to_camel(name): _kind(name) for name in own_fields()},
        **dict.fromkeys(ROOM_SETTINGS, "object"),
        **dict.fromkeys(SECRET_KEYS, "string"),
    }


def own_fields() -> list[str]:
    """The fields of the infrastructure itself: those that are no room's."""
    others = ("environment", *ROOM_SETTINGS)
    return [name for name in PlatformFields.model_fields if name not in others]


_SCALARS = {bool: "boolean", int: "integer"}


def _kind(name: str) -> str:
    annotation: Any = PlatformFields.model_fields[name].annotation
    if "tuple" in str(annotation):
        return "array"
    return _SCALARS.get(annotation, "string")


# Read where they are set; nothing fails without them.
OPTIONAL_SECRETS = ("redisPassword", "incidentsPassword", "notify", "notifySecret")


def needed_secrets(settings: PlatformFields) -> tuple[str, ...]:
    """Which of SECRET_KEYS these settings need."""
    optional = _optional_secrets(settings)
    return tuple(key for key in SECRET_KEYS if optional.get(key, True))


def _optional_secrets(settings: PlatformFields) -> dict[str, bool]:
    return {
        "apiKeys": not settings.serve.oidc_issuer or settings.monitoring,  # Prometheus shows one
        "redisPassword": settings.gcs_fault_tolerance == "redis",
        "incidentsPassword": False,
        "grafanaPassword": settings.monitoring,
        "metricsKey": settings.monitoring,
        "alertReceiverSecret": settings.alert_receiver != "none",
        "notify": False,
        "notifySecret": False,
        "githubToken": settings.drift.backend == "github",
        "streamWebhookSecret": "webhook:" in settings.serve.stream_sinks,
    }
