"""Cases of the rules of policies/tracking.py."""

from __future__ import annotations

import base64

import yaml

from tests.policies.cases.paths import BOX, WORKER_BOX
from tests.policies.parts import serve_config
from tests.policies.table import REMOVED, Break, Case

OLD = (
    "container mlflow: MLflow {}: run the minimum or later, and say so in the label"
    " app.kubernetes.io/version"
)
NO_LOGIN = (
    "container mlflow: anyone who reaches MLflow may change what is served: start it with"
    " --app-name basic-auth"
)
KNOWN = "it holds a password that everyone knows: generate one in Secrets Manager"
KEPT = (
    "container mlflow: runs and models are kept in {}: set --backend-store-uri to a PostgreSQL"
    " database"
)
IN_POD = (
    "container mlflow: artifacts are kept in the pod: set --artifacts-destination or"
    " --default-artifact-root to a bucket"
)
HOSTS = "container mlflow: {}: set --allowed-hosts to the names of its Services"
PICKLE = (
    "it may unpickle a model, which runs code of the model: set"
    " MLFLOW_ALLOW_PICKLE_DESERIALIZATION to false"
)
WATCH = "{}: run drift.monitor:build beside the service, on the same model_name and tracking_uri"
BUDGET = "{}: set train.alertRate in vigil.yaml, within the parameter `most`"
NO_FILE = "a group has no settings file (VIGIL_CONFIG)"
OUT_OF_BOUNDS = "an alert budget of {} is out of bounds"
VERSION_LABEL = "spec.template.metadata.labels.`app.kubernetes.io/version`"


def without_drift() -> str:
    """serveConfigV2 with the service alone."""
    whole = serve_config()
    return yaml.safe_dump({"applications": whole["applications"][:1]})


def other_model() -> str:
    """serveConfigV2 whose monitor watches another model."""
    whole = serve_config()
    whole["applications"][1]["args"] = {**whole["applications"][1]["args"], "model_name": "other"}
    return yaml.safe_dump(whole)


TRACKING_CASES = [
    Case(
        "mlflow-version-supported",
        ("mlflow", VERSION_LABEL),
        [
            Break("mlflow", VERSION_LABEL, "3.16.0", OLD.replace("{}", "3.16.0 is too old")),
            Break("mlflow", VERSION_LABEL, REMOVED, OLD.replace("{}", "does not tell its version")),
        ],
    ),
    Case(
        "mlflow-asks-who-is-there",
        ("mlflow", f"{BOX}.args"),
        [Break("mlflow", f"{BOX}.args", ["server", "--port", "5000"], NO_LOGIN)],
    ),
    Case(
        "mlflow-no-default-password",
        ("config", "data.level"),
        [
            Break(
                "mlflow",
                f"{BOX}.env.2.value",
                "password1234",
                f"container mlflow, LOG_LEVEL: {KNOWN}",
            ),
            Break("config", "data.level", "admin_password = password\n", f"level: {KNOWN}"),
            Break(
                "k8s-secret",
                "data.token",
                base64.b64encode(b"password1234").decode(),
                f"token: {KNOWN}",
            ),
            Break(
                "release",
                "values.auth",
                {"adminPassword": "password1234"},
                f"values.auth.adminPassword: {KNOWN}",
            ),
        ],
    ),
    Case(
        "mlflow-on-a-database",
        ("mlflow", f"{BOX}.args"),
        [
            Break(
                "mlflow",
                f"{BOX}.args",
                ["server", "--backend-store-uri", "sqlite:///m.db"],
                KEPT.replace("{}", "SQLite"),
            ),
            Break(
                "mlflow",
                f"{BOX}.env.0",
                {"name": "MLFLOW_BACKEND_STORE_URI", "value": "sqlite:///m.db"},
                KEPT.replace("{}", "SQLite"),
            ),
            Break(
                "mlflow",
                f"{BOX}.env.0",
                {"name": "OTHER", "value": "x"},
                KEPT.replace("{}", "files of its own pod"),
            ),
        ],
    ),
    Case(
        "mlflow-artifacts-in-a-bucket",
        ("mlflow", f"{BOX}.args"),
        [
            Break("mlflow", f"{BOX}.args", ["server"], IN_POD),
            Break("mlflow", f"{BOX}.args", ["server", "--default-artifact-root=/mlruns"], IN_POD),
        ],
    ),
    Case(
        "mlflow-hosts-named",
        ("mlflow", f"{BOX}.args"),
        [
            Break(
                "mlflow",
                f"{BOX}.env.2",
                {"name": "MLFLOW_SERVER_DISABLE_SECURITY_MIDDLEWARE", "value": "true"},
                HOSTS.replace("{}", "the security middleware is off"),
            ),
            Break(
                "mlflow",
                f"{BOX}.args",
                ["server", "--allowed-hosts", "*"],
                HOSTS.replace("{}", "it answers to any host, or to localhost alone"),
            ),
            Break(
                "mlflow",
                f"{BOX}.args",
                ["server"],
                HOSTS.replace("{}", "it answers to any host, or to localhost alone"),
            ),
            Break(
                "mlflow",
                f"{BOX}.args",
                ["server", "--disable-security-middleware"],
                HOSTS.replace("{}", "the security middleware is off"),
            ),
        ],
    ),
    Case(
        "models-never-unpickled",
        ("serve", f"{WORKER_BOX}.env.2.value"),
        [
            Break(
                "mlflow",
                f"{BOX}.env.2.name",
                "MLFLOW_TRACKING_USERNAME",
                f"container mlflow: {PICKLE}",
            ),
            Break(
                "mlflow",
                f"{BOX}.env.2.name",
                "VIGIL_TRAIN_TRACKING_URI",
                f"container mlflow: {PICKLE}",
            ),
            Break(
                "serve",
                f"{WORKER_BOX}.env.2.value",
                "true",
                f"worker group serve, container ray: {PICKLE}",
            ),
            Break(
                "serve",
                f"{WORKER_BOX}.env.2",
                {"name": "X", "value": "y"},
                f"worker group serve, container ray: {PICKLE}",
            ),
        ],
    ),
    Case(
        "drift-reference-configured",
        ("serve", "spec.serveConfigV2"),
        [
            Break(
                "serve",
                "spec.serveConfigV2",
                without_drift(),
                WATCH.replace("{}", "nobody watches for drift"),
            ),
            Break(
                "serve",
                "spec.serveConfigV2",
                other_model(),
                WATCH.replace(
                    "{}",
                    "the monitor's model_name is not the service's, so its reference is another",
                ),
            ),
        ],
    ),
    Case(
        "alert-budget-configured",
        ("settings", "data.`vigil.yaml`"),
        [
            Break(
                "settings",
                "data.`vigil.yaml`",
                "train: {alertRate: 0}",
                BUDGET.replace("{}", OUT_OF_BOUNDS.format("0")),
            ),
            Break(
                "settings",
                "data.`vigil.yaml`",
                "train: {alertRate: .2}",
                BUDGET.replace("{}", OUT_OF_BOUNDS.format("0.2")),
            ),
            Break(
                "settings",
                "data.`vigil.yaml`",
                "serve: {}",
                BUDGET.replace("{}", "no alert budget is stated"),
            ),
            Break(
                "serve",
                f"{WORKER_BOX}.env.4",
                {"name": "X", "value": "y"},
                BUDGET.replace("{}", NO_FILE),
            ),
            Break(
                "settings",
                "data.`vigil.yaml`",
                "",
                BUDGET.replace("{}", "no alert budget is stated"),
            ),
        ],
    ),
]
