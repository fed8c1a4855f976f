"""Cases of the rules of policies/static_keys.py."""

from __future__ import annotations

import base64

from tests.policies.cases.paths import BOX
from tests.policies.table import Break, Case

IN_ENV = "{} is in its environment: remove it and give the service account a Pod Identity"
STORED = "it holds a static AWS key: remove it and use Pod Identity"
KEY = "AKIA" + "ABCDEFGHIJKLMNOP"

STATIC_KEYS_CASES = [
    Case(
        "no-static-keys-in-env",
        ("mlflow", f"{BOX}.env.2.value"),
        [
            Break(
                "mlflow",
                f"{BOX}.env.2",
                {"name": "AWS_ACCESS_KEY_ID", "value": "x"},
                f"container mlflow: {IN_ENV.replace('{}', 'AWS_ACCESS_KEY_ID')}",
            ),
            Break(
                "mlflow",
                f"{BOX}.env.2",
                {
                    "name": "AWS_SECRET_ACCESS_KEY",
                    "valueFrom": {"secretKeyRef": {"name": "s", "key": "k"}},
                },
                f"container mlflow: {IN_ENV.replace('{}', 'AWS_SECRET_ACCESS_KEY')}",
            ),
            Break(
                "mlflow",
                f"{BOX}.env.2.value",
                f"id={KEY}",
                f"container mlflow: {IN_ENV.replace('{}', 'LOG_LEVEL')}",
            ),
        ],
    ),
    Case(
        "no-static-keys-stored",
        ("k8s-secret", "data.token"),
        [
            Break(
                "k8s-secret",
                "data",
                {"AWS_SECRET_ACCESS_KEY": "eA=="},
                f"AWS_SECRET_ACCESS_KEY: {STORED}",
            ),
            Break(
                "k8s-secret",
                "data.token",
                base64.b64encode(KEY.encode()).decode(),
                f"token: {STORED}",
            ),
            Break(
                "k8s-secret",
                "stringData",
                {"aws_access_key_id": "x"},
                f"aws_access_key_id: {STORED}",
            ),
            Break("config", "data.level", "export AWS_SECRET_ACCESS_KEY=x", f"level: {STORED}"),
            Break(
                "config", "data.level", f"[default]\nAWS_ACCESS_KEY_ID={KEY}", f"level: {STORED}"
            ),
            Break("release", "values.list.0", KEY, f"values.list.0: {STORED}"),
        ],
    ),
]
