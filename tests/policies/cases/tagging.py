"""Cases of the rules of policies/tagging.py."""

from __future__ import annotations

from tests.policies.parts import LABELS, metadata
from tests.policies.table import REMOVED, Break, Case

TAGGING_CASES = [
    Case(
        "tags-complete",
        ("models", "tags.Owner"),
        [
            Break("models", "tags.Owner", REMOVED, "tags Owner are missing or empty: add them"),
            Break(
                "stream",
                "tags",
                {"Project": "x", "Owner": ""},
                "tags Environment, Owner, CostCenter are missing or empty: add them",
            ),
        ],
    ),
    Case(
        "labels-complete",
        ("mlflow", "metadata.labels"),
        [
            Break(
                "mlflow",
                "metadata",
                metadata("mlflow", labels={}),
                f"labels {', '.join(LABELS)} are missing: add them to metadata.labels",
            ),
            Break(
                "serve",
                "metadata.labels.`app.kubernetes.io/name`",
                REMOVED,
                "labels app.kubernetes.io/name are missing: add them to metadata.labels",
            ),
        ],
    ),
]
