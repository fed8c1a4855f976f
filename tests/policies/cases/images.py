"""Cases of the rules of policies/images.py."""

from __future__ import annotations

from tests.policies.cases.paths import BOX
from tests.policies.table import REMOVED, Break, Case

MOVABLE = "a tag can be moved to another image: set imageTagMutability to IMMUTABLE"
NO_ECR_KEY = (
    "images are not encrypted with a KMS key: set encryptionConfigurations to encryptionType KMS"
)
MOVES = "image {} may change under its name: name it by digest, or by a full version or commit"
ELSEWHERE = (
    "image {} comes from a registry that is not in the list: copy it to ECR, or allow its registry"
)
CHART = "chart version {} is not exact: set version to a full version"

IMAGES_CASES = [
    Case(
        "ecr-scanned",
        ("repository", "imageScanningConfiguration.scanOnPush"),
        [
            Break(
                "repository",
                path,
                value,
                "images are not scanned: set imageScanningConfiguration.scanOnPush to true",
            )
            for path, value in (
                ("imageScanningConfiguration.scanOnPush", False),
                ("imageScanningConfiguration", REMOVED),
            )
        ],
    ),
    Case(
        "ecr-immutable",
        ("repository", "imageTagMutability"),
        [
            Break("repository", "imageTagMutability", "MUTABLE", MOVABLE),
            Break("repository", "imageTagMutability", REMOVED, MOVABLE),
        ],
    ),
    Case(
        "ecr-lifecycle",
        None,
        [
            Break(
                "ecr-lifecycle",
                "",
                REMOVED,
                "images pile up: add an aws.ecr.LifecyclePolicy",
                "repository",
            )
        ],
    ),
    Case(
        "ecr-encrypted",
        ("repository", "encryptionConfigurations"),
        [
            Break("repository", "encryptionConfigurations.0.encryptionType", "AES256", NO_ECR_KEY),
            Break("repository", "encryptionConfigurations", REMOVED, NO_ECR_KEY),
        ],
    ),
    Case(
        "ecr-not-force-deleted",
        ("repository", "forceDelete"),
        [
            Break(
                "repository",
                "forceDelete",
                True,
                "forceDelete is true: a destroy would delete every image; set it to false",
            )
        ],
    ),
    Case(
        "image-pinned",
        ("mlflow", f"{BOX}.image"),
        [
            Break(
                "mlflow", f"{BOX}.image", image, f"container mlflow: {MOVES.replace('{}', image)}"
            )
            for image in (
                "quay.io/mlflow",
                "quay.io/mlflow:latest",
                "quay.io/mlflow:3.17",
                "quay.io:443/mlflow:main",
            )
        ],
    ),
    Case(
        "image-from-allowed-registry",
        ("mlflow", f"{BOX}.image"),
        [
            Break(
                "mlflow",
                f"{BOX}.image",
                image,
                f"container mlflow: {ELSEWHERE.replace('{}', image)}",
            )
            for image in (
                "python:3.12.1",
                "acme/mlflow:3.17.2",
                "ghcr.io/mlflow/mlflow:3.17.2",
                "localhost:5000/x:1.0.0",
            )
        ],
    ),
    Case(
        "chart-pinned",
        ("release", "version"),
        [
            Break("release", "version", REMOVED, CHART.replace("{}", "(none)")),
            Break("release", "version", "^1.7.0", CHART.replace("{}", "^1.7.0")),
            Break("release", "version", "1.7", CHART.replace("{}", "1.7")),
        ],
    ),
    Case(
        "chart-atomic",
        ("release", "atomic"),
        [
            Break(
                "release",
                "atomic",
                REMOVED,
                "a failed upgrade would stay half done: set atomic to true",
            )
        ],
    ),
]
