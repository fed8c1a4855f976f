"""MLflow, the models it keeps, and the loop that watches them."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import zip_longest
from typing import Any

import yaml

from policies.cel import (
    SECRETS_ARE_ENCODED,
    Cel,
    as_cel,
    has_version,
    texts_of_variable,
    version_of,
)
from policies.images import image_tag
from policies.params import number, strings, text
from policies.pods import Container, Env, each_container, each_template, ray_groups
from policies.ray_cluster import parse_version
from policies.resource_types import (
    HELM_RELEASE,
    KUBE_CONFIG_MAP,
    KUBE_SECRETS,
    POD_TYPES,
    RAY_SERVICE_TYPE,
    RAY_TYPES,
    WORKLOAD_TYPES,
)
from policies.rule import Violation, rule
from policies.serve_config import SERVE_CONFIG_IS_TEXT, serve_applications
from policies.static_keys import each_stored_text
from policies.subjects import Context, Props, Resource, Subjects, list_at, props_at, value_at

_DEFAULT_PASSWORD = re.compile(
    r"password1234|admin_password\s*=\s*(?:password|admin|changeme|mlflow)\b", re.IGNORECASE
)


def option_cel(name: str) -> str:
    """Return the value of an option of the command in CEL: a list of one text, or of none."""
    found = f"[it.line.find({as_cel(f' {name}[= ][^ ]*')})]"
    return f'{found}.filter(f, f != "").map(f, f.substring({len(name) + 2}))'


_STATED = 'it.labels[?"app.kubernetes.io/version"].orValue(it.tag)'
_STORE = (
    f"({option_cel('--backend-store-uri')}"
    f' + {texts_of_variable("MLFLOW_BACKEND_STORE_URI")} + [""])[0]'
)
_ARTIFACTS = (
    f"{option_cel('--artifacts-destination')} + {option_cel('--default-artifact-root')}"
    f" + {texts_of_variable('MLFLOW_ARTIFACTS_DESTINATION')}"
    f" + {texts_of_variable('MLFLOW_DEFAULT_ARTIFACT_ROOT')}"
)
_UNPROTECTED = (
    '("--disable-security-middleware" in it.words'
    f" || {texts_of_variable('MLFLOW_SERVER_DISABLE_SECURITY_MIDDLEWARE')}"
    '.exists(v, v.lowerAscii() == "true"))'
)
_HOSTS = (
    f'({option_cel("--allowed-hosts")}.filter(h, h != "")'
    f' + {texts_of_variable("MLFLOW_SERVER_ALLOWED_HOSTS")} + [""])[0]'
)


@dataclass(frozen=True)
class TrackingServer:
    """An MLflow server: its container, the words of its command, and the labels of its pod."""

    container: Container
    words: list[str]
    labels: Props

    @property
    def env(self) -> Env:
        """The environment of its container."""
        return self.container.env

    def option(self, name: str) -> str | None:
        """Return the value of an option of the command."""
        for word, following in zip_longest(self.words, self.words[1:], fillvalue=""):
            if word == name:
                return following
            if word.startswith(f"{name}="):
                return word.partition("=")[2]
        return None


def each_mlflow_server(resource: Resource) -> Iterator[tuple[str, TrackingServer]]:
    """Yield (place, server) of every container that runs `mlflow server`."""
    labels = [props_at(template, "metadata.labels") for _, template in each_template(resource)]
    for place, container in each_container(resource):
        words = _command_words(container)
        is_mlflow = "mlflow" in words or "mlflow" in _image_name(container)
        if is_mlflow and ("server" in words or not words):
            yield place, TrackingServer(container, words, labels[0])


def _command_words(container: Container) -> list[str]:
    lines = (*list_at(container.props, "command"), *list_at(container.props, "args"))
    return " ".join(map(str, lines)).split()


def _image_name(container: Container) -> str:
    """Return the last part of the image's name, with its tag."""
    return container.image.split("@")[0].rsplit("/", 1)[-1]


@rule(
    *WORKLOAD_TYPES,
    each=each_mlflow_server,
    message="MLflow {}: run the minimum or later, and say so in the label"
    " app.kubernetes.io/version",
    fix="Upgrade MLflow; earlier versions came with a password that everyone knows"
    " (CVE-2026-2635).",
    severity="critical",
    params={"minimum": text("first MLflow version that may run", "3.16.1")},
    cel=Cel(
        found=f'!{has_version(_STATED)} ? "does not tell its version"'
        f" : ({version_of(_STATED)} < {version_of('variables.params.minimum')}"
        f' ? {_STATED} + " is too old" : "")'
    ),
)
def mlflow_version_supported(server: TrackingServer, context: Context) -> Violation:
    """MLflow is new enough to refuse to start without a password of its own."""
    label = server.labels.get("app.kubernetes.io/version")
    stated = str(label or image_tag(server.container.image))
    version = parse_version(stated)
    if not version:
        return "does not tell its version"
    return None if version >= parse_version(context.params["minimum"]) else f"{stated} is too old"


@rule(
    *WORKLOAD_TYPES,
    each=each_mlflow_server,
    message="anyone who reaches MLflow may change what is served: start it with --app-name"
    " basic-auth",
    fix="Set --app-name basic-auth, with the administrator's password from a generated secret.",
    severity="critical",
    params={"apps": strings("values of --app-name that ask who is there", ["basic-auth"])},
    cel=Cel(f"!{option_cel('--app-name')}.exists(a, a in variables.params.apps)"),
)
def mlflow_asks_who_is_there(server: TrackingServer, context: Context) -> Violation:
    """MLflow asks for a user and a password."""
    return server.option("--app-name") not in list(context.params["apps"])


def each_possible_password(resource: Resource) -> Subjects:
    """Yield (place, `name=text`) of every value that may hold a password."""
    if resource.kind in ("Secret", "ConfigMap", "Release"):
        for place, stored in each_stored_text(resource):
            yield place, f"{stored.key}={stored.text}"
        return
    for place, container in each_container(resource):
        for name, value in container.env.items():
            if isinstance(value, str):
                yield f"{place}, {name}", f"{name}={value}"


@rule(
    *POD_TYPES,
    KUBE_SECRETS,
    KUBE_CONFIG_MAP,
    HELM_RELEASE,
    each=each_possible_password,
    message="it holds a password that everyone knows: generate one in Secrets Manager",
    fix="Generate the password (aws.secretsmanager.Secret or pulumi-random) and hand it over by"
    " reference.",
    severity="critical",
    without_cel=SECRETS_ARE_ENCODED,
)
def mlflow_no_default_password(entry: str, _: Context) -> Violation:
    """No default password of MLflow is in use."""
    return bool(_DEFAULT_PASSWORD.search(entry))


@rule(
    *WORKLOAD_TYPES,
    each=each_mlflow_server,
    message="runs and models are kept in {}: set --backend-store-uri to a PostgreSQL database",
    fix="Use the RDS database, its address by MLFLOW_BACKEND_STORE_URI from a Secret.",
    severity="high",
    cel=Cel(
        rf'!{_STORE}.matches("^(postgresql|mysql|\\$\\()")',
        found=f'{_STORE}.startsWith("sqlite") ? "SQLite" : "files of its own pod"',
    ),
)
def mlflow_on_a_database(server: TrackingServer, _: Context) -> Violation:
    """MLflow keeps its records in a database that outlives its pod."""
    uri = server.option("--backend-store-uri")
    if uri is None:
        uri = server.env.get("MLFLOW_BACKEND_STORE_URI")
    if isinstance(uri, Mapping):  # by reference to a Secret
        return None
    uri = str(uri or "")
    if uri.startswith(("postgresql", "mysql", "$(")):
        return None
    return "SQLite" if uri.startswith("sqlite") else "files of its own pod"


@rule(
    *WORKLOAD_TYPES,
    each=each_mlflow_server,
    message="artifacts are kept in the pod: set --artifacts-destination or --default-artifact-root"
    " to a bucket",
    fix="Set --artifacts-destination s3://BUCKET/PREFIX.",
    severity="high",
    cel=Cel(rf'!({_ARTIFACTS}).exists(p, p.matches("^(s3://|\\$\\()"))'),
)
def mlflow_artifacts_in_a_bucket(server: TrackingServer, _: Context) -> Violation:
    """Models outlive MLflow's pod."""
    env = server.env
    places = (
        server.option("--artifacts-destination"),
        server.option("--default-artifact-root"),
        env.get("MLFLOW_ARTIFACTS_DESTINATION"),
        env.get("MLFLOW_DEFAULT_ARTIFACT_ROOT"),
    )
    return not any(map(_is_in_a_bucket, places))


def _is_in_a_bucket(place: Any) -> bool:
    """Return whether a place is in a bucket, or named by a reference."""
    return isinstance(place, Mapping) or str(place or "").startswith(("s3://", "$("))


@rule(
    *WORKLOAD_TYPES,
    each=each_mlflow_server,
    message="{}: set --allowed-hosts to the names of its Services",
    fix="Name the Service and ingress hosts; the middleware guards against DNS rebinding.",
    severity="medium",
    cel=Cel(
        found=f'{_UNPROTECTED} ? "the security middleware is off"'
        f' : ({_HOSTS} != "" && !("*" in {_HOSTS}.split(",")) ? ""'
        ' : "it answers to any host, or to localhost alone")'
    ),
)
def mlflow_hosts_named(server: TrackingServer, _: Context) -> Violation:
    """MLflow answers to its own names alone."""
    if _is_unprotected(server):
        return "the security middleware is off"
    hosts = server.option("--allowed-hosts") or server.env.get("MLFLOW_SERVER_ALLOWED_HOSTS")
    if isinstance(hosts, Mapping):
        return None
    is_named = bool(hosts) and "*" not in str(hosts).split(",")
    return None if is_named else "it answers to any host, or to localhost alone"


def _is_unprotected(server: TrackingServer) -> bool:
    if "--disable-security-middleware" in server.words:
        return True
    return server.env.is_true("MLFLOW_SERVER_DISABLE_SECURITY_MIDDLEWARE")


@rule(
    *POD_TYPES,
    each=each_container,
    message="it may unpickle a model, which runs code of the model: set"
    " MLFLOW_ALLOW_PICKLE_DESERIALIZATION to false",
    fix="Set it wherever a tracking server is named; models are stored as skops and safetensors.",
    severity="high",
    cel=Cel(
        'it.env.exists(e, e.name.startsWith("MLFLOW_TRACKING_")'
        ' || e.name.endsWith("_TRACKING_URI"))'
        f" && !{texts_of_variable('MLFLOW_ALLOW_PICKLE_DESERIALIZATION')}"
        '.exists(v, v.lowerAscii() == "false")'
    ),
)
def models_never_unpickled(container: Container, _: Context) -> Violation:
    """Nothing that handles models unpickles one."""
    env = container.env
    if not any(map(_is_tracking_variable, env)):
        return None
    return str(env.get("MLFLOW_ALLOW_PICKLE_DESERIALIZATION")).lower() != "false"


def _is_tracking_variable(name: str) -> bool:
    return name.startswith("MLFLOW_TRACKING_") or name.endswith("_TRACKING_URI")


def _application_args(resource: Resource, import_path: str) -> Props | None:
    """Return the arguments of an application of serveConfigV2; None where it is not there."""
    for application in serve_applications(resource):
        if application.get("import_path") == import_path:
            return props_at(application, "args")
    return None


@rule(
    RAY_SERVICE_TYPE,
    message="{}: run drift.monitor:build beside the service, on the same model_name and"
    " tracking_uri",
    fix="Add the drift application to serveConfigV2; its reference is the one in the champion's"
    " bundle.",
    severity="medium",
    params={
        "serves": text("import path of the application that scores", "serve.http.app:build"),
        "watches": text("import path of the one that watches for drift", "drift.monitor:build"),
    },
    without_cel=SERVE_CONFIG_IS_TEXT,
)
def drift_reference_configured(_: Props, context: Context) -> Violation:
    """A model in service is compared with the data it was trained on."""
    serves = _application_args(context.resource, context.params["serves"])
    if serves is None:
        return None
    watches = _application_args(context.resource, context.params["watches"])
    if watches is None:
        return "nobody watches for drift"
    keys = ("model_name", "tracking_uri")
    different = " and ".join(key for key in keys if serves.get(key) != watches.get(key))
    if not different:
        return None
    return f"the monitor's {different} is not the service's, so its reference is another"


@rule(
    *RAY_TYPES,
    KUBE_CONFIG_MAP,
    message="{}: set train.alertRate in vigil.yaml, within the parameter `most`",
    fix="State the share of normal rows that may alert; thresholds are calibrated to it.",
    severity="medium",
    params={"most": number("largest alert budget, as a share of normal rows", 0.05)},
    without_cel="vigil.yaml in a ConfigMap is a text, and CEL reads no YAML",
)
def alert_budget_configured(config: Props, context: Context) -> Violation:
    """How often a model may alert on normal data is stated, not left to a default."""
    groups = ray_groups(context.resource)
    if any("VIGIL_CONFIG" not in group.env for group in groups):
        return "a group has no settings file (VIGIL_CONFIG)"
    settings = props_at(config, "data").get("vigil.yaml")
    if settings is None:
        return None
    return _wrong_budget(yaml.safe_load(settings) or {}, float(context.params["most"]))


def _wrong_budget(settings: Props, most: float) -> Violation:
    budget = value_at(settings, "train.alertRate")
    if budget is None:
        return "no alert budget is stated"
    is_allowed = 0 < float(budget) <= most
    return None if is_allowed else f"an alert budget of {budget} is out of bounds"
