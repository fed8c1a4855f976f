"""MLflow, the models it keeps, and the loop that watches them."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import NamedTuple

import yaml

from policies.pods import PODS, RAY, WORKLOADS, Container, Env, containers, ray_groups, templates
from policies.ray_cluster import SERVE, ray_env, version
from policies.rule import Context, Found, Props, Resource, Subjects, rule
from policies.serve_config import applications
from policies.static_keys import entries

DEFAULT_PASSWORD = re.compile(
    r"password1234|admin_password\s*=\s*(?:password|admin|changeme|mlflow)\b", re.IGNORECASE
)


class Server(NamedTuple):
    """An MLflow server: its container, the words of its command, and the labels of its pod."""

    container: Props
    words: list[str]
    labels: Props

    def option(self, name: str) -> str | None:
        """The value of an option of the command."""
        for number, word in enumerate(self.words):
            if word == name:
                return self.words[number + 1] if number + 1 < len(self.words) else ""
            if word.startswith(f"{name}="):
                return word.partition("=")[2]
        return None


def servers(resource: Resource) -> Iterator[tuple[str, Server]]:
    """(place, server) of every container that runs `mlflow server`."""
    labels = next(
        (
            (template.get("metadata") or {}).get("labels") or {}
            for _, template in templates(resource)
        ),
        {},
    )
    for place, (container, _) in containers(resource):
        lines = [*(container.get("command") or ()), *(container.get("args") or ())]
        words = [word for line in lines for word in str(line).split()]
        is_image = "mlflow" in str(container.get("image")).split("@")[0].rsplit("/", 1)[-1]
        if ("mlflow" in words or is_image) and ("server" in words or not words):
            yield place, Server(container, words, labels)


@rule(
    *WORKLOADS,
    each=servers,
    message="MLflow {}: run the minimum or later, and say so in the label app.kubernetes.io/version",
    fix="Upgrade MLflow; earlier versions came with a password that everyone knows (CVE-2026-2635).",
    severity="critical",
    params={
        "minimum": {
            "type": "string",
            "default": "3.16.1",
            "description": "first MLflow version that may run",
        }
    },
)
def mlflow_version_supported(server: Server, context: Context) -> Found:
    """MLflow is new enough to refuse to start without a password of its own."""
    image = str(server.container.get("image")).split("@")[0]
    stated = str(
        server.labels.get("app.kubernetes.io/version") or image.rsplit("/", 1)[-1].partition(":")[2]
    )
    if not version(stated):
        return "does not tell its version"
    return None if version(stated) >= version(context.params["minimum"]) else f"{stated} is too old"


@rule(
    *WORKLOADS,
    each=servers,
    message="anyone who reaches MLflow may change what is served: start it with --app-name basic-auth",
    fix="Set --app-name basic-auth, with the administrator's password from a generated secret.",
    severity="critical",
    params={
        "apps": {
            "type": "array",
            "items": {"type": "string"},
            "default": ["basic-auth"],
            "description": "values of --app-name that ask who is there",
        }
    },
)
def mlflow_asks_who_is_there(server: Server, context: Context) -> Found:
    """MLflow asks for a user and a password."""
    return server.option("--app-name") not in list(context.params["apps"])


def secrets(resource: Resource) -> Subjects:
    """(place, text) of every value that may hold a password."""
    if resource.kind in ("Secret", "ConfigMap", "Release"):
        yield from ((place, f"{key}={text}") for place, (key, text) in entries(resource))
        return
    for place, (container, _) in containers(resource):
        yield from (
            (f"{place}, {name}", f"{name}={value}")
            for name, value in Env(container).items()
            if isinstance(value, str)
        )


@rule(
    *PODS,
    "kubernetes:core/*:Secret",
    "kubernetes:core/*:ConfigMap",
    "kubernetes:helm.sh/*:Release",
    each=secrets,
    message="it holds a password that everyone knows: generate one in Secrets Manager",
    fix="Generate the password (aws.secretsmanager.Secret or pulumi-random) and hand it over by reference.",
    severity="critical",
)
def mlflow_no_default_password(text: str, _: Context) -> Found:
    """No default password of MLflow is in use."""
    return bool(DEFAULT_PASSWORD.search(text))


@rule(
    *WORKLOADS,
    each=servers,
    message="runs and models are kept in {}: set --backend-store-uri to a PostgreSQL database",
    fix="Use the RDS database, its address by MLFLOW_BACKEND_STORE_URI from a Secret.",
    severity="high",
)
def mlflow_on_a_database(server: Server, _: Context) -> Found:
    """MLflow keeps its records in a database that outlives its pod."""
    uri = server.option("--backend-store-uri")
    if uri is None:
        found = Env(server.container).get("MLFLOW_BACKEND_STORE_URI")
        if isinstance(found, Mapping):  # by reference to a Secret
            return None
        uri = str(found or "")
    if uri.startswith(("postgresql", "mysql", "$(")):
        return None
    return "SQLite" if uri.startswith("sqlite") else "files of its own pod"


@rule(
    *WORKLOADS,
    each=servers,
    message="artifacts are kept in the pod: set --artifacts-destination or --default-artifact-root to a bucket",
    fix="Set --artifacts-destination s3://BUCKET/PREFIX.",
    severity="high",
)
def mlflow_artifacts_in_a_bucket(server: Server, _: Context) -> Found:
    """Models outlive MLflow's pod."""
    places = [server.option("--artifacts-destination"), server.option("--default-artifact-root")]
    found = Env(server.container)
    places += [
        found.get(name) for name in ("MLFLOW_ARTIFACTS_DESTINATION", "MLFLOW_DEFAULT_ARTIFACT_ROOT")
    ]
    return not any(
        isinstance(place, Mapping) or str(place or "").startswith(("s3://", "$("))
        for place in places
    )


@rule(
    *WORKLOADS,
    each=servers,
    message="{}: set --allowed-hosts to the names of its Services",
    fix="Name the Service and ingress hosts; the middleware guards against DNS rebinding.",
    severity="medium",
)
def mlflow_hosts_named(server: Server, _: Context) -> Found:
    """MLflow answers to its own names alone."""
    found = Env(server.container)
    if (
        "--disable-security-middleware" in server.words
        or str(found.get("MLFLOW_SERVER_DISABLE_SECURITY_MIDDLEWARE")).lower() == "true"
    ):
        return "the security middleware is off"
    hosts = server.option("--allowed-hosts") or found.get("MLFLOW_SERVER_ALLOWED_HOSTS")
    if isinstance(hosts, Mapping):
        return None
    return (
        None
        if hosts and "*" not in str(hosts).split(",")
        else "it answers to any host, or to localhost alone"
    )


@rule(
    *PODS,
    each=containers,
    message="it may unpickle a model, which runs code of the model: set MLFLOW_ALLOW_PICKLE_DESERIALIZATION to false",
    fix="Set it wherever a tracking server is named; models are stored as skops and safetensors.",
    severity="high",
)
def models_never_unpickled(container: Container, _: Context) -> Found:
    """Nothing that handles models unpickles one."""
    found = Env(container.props)
    handles_models = any(
        name.startswith("MLFLOW_TRACKING_") or name.endswith("_TRACKING_URI") for name in found
    )
    return (
        handles_models and str(found.get("MLFLOW_ALLOW_PICKLE_DESERIALIZATION")).lower() != "false"
    )


def _by_path(resource: Resource, path: str) -> Props | None:
    return next(
        (
            each.get("args") or {}
            for each in applications(resource)
            if each.get("import_path") == path
        ),
        None,
    )


LOOP = {
    "serves": {
        "type": "string",
        "default": "serve.http.app:build",
        "description": "import path of the application that scores",
    },
    "watches": {
        "type": "string",
        "default": "drift.monitor:build",
        "description": "import path of the one that watches for drift",
    },
}


@rule(
    SERVE,
    message="{}: run drift.monitor:build beside the service, on the same model_name and tracking_uri",
    fix="Add the drift application to serveConfigV2; its reference is the one in the champion's bundle.",
    severity="medium",
    params=LOOP,
)
def drift_reference_configured(_: Props, context: Context) -> Found:
    """A model in service is compared with the data it was trained on."""
    serves = _by_path(context.resource, context.params["serves"])
    if serves is None:
        return None
    watches = _by_path(context.resource, context.params["watches"])
    if watches is None:
        return "nobody watches for drift"
    different = [
        key for key in ("model_name", "tracking_uri") if serves.get(key) != watches.get(key)
    ]
    return (
        f"the monitor's {' and '.join(different)} is not the service's, so its reference is another"
        if different
        else None
    )


@rule(
    *RAY,
    "kubernetes:core/*:ConfigMap",
    message="{}: set train.alertRate in vigil.yaml, within the parameter `most`",
    fix="State the share of normal rows that may alert; thresholds are calibrated to it.",
    severity="medium",
    params={
        "most": {
            "type": "number",
            "default": 0.05,
            "description": "largest alert budget, as a share of normal rows",
        }
    },
)
def alert_budget_configured(config: Props, context: Context) -> Found:
    """How often a model may alert on normal data is stated, not left to a default."""
    groups = ray_groups(context.resource)
    if any("VIGIL_CONFIG" not in ray_env(group) for group in groups):
        return "a group has no settings file (VIGIL_CONFIG)"
    text = (config.get("data") or {}).get("vigil.yaml")
    if text is None:
        return None
    told = yaml.safe_load(text) or {}
    stated = (told.get("train") or {}).get("alertRate")
    if stated is None:
        return "no alert budget is stated"
    if not 0 < float(stated) <= float(context.params["most"]):
        return f"an alert budget of {stated} is out of bounds"
    return None
