"""Images and charts: what runs is what was built, and comes from where it should."""

from __future__ import annotations

import re

from policies.pods import PODS, Container, containers
from policies.rule import Context, Found, Props, rule

REPOSITORY = "aws:ecr/repository:Repository"
RELEASE = "kubernetes:helm.sh/*:Release"
CHART = "kubernetes:helm.sh/*:Chart"
DIGEST = re.compile(r"@sha256:[0-9a-f]{64}$")
EXACT = re.compile(r"v?\d+\.\d+\.\d+([-+][0-9A-Za-z.-]+)?")
COMMIT = re.compile(r"(?:sha-|git-)?[0-9a-f]{7,40}")


@rule(
    REPOSITORY,
    message="images are not scanned: set imageScanningConfiguration.scanOnPush to true",
    fix="Set scan_on_push=True, or turn on enhanced scanning for the registry.",
    severity="medium",
    standard=("AWS FSBP ECR.1", "CIS EKS 1.7.0 5.1.1"),
)
def ecr_scanned(repository: Props, _: Context) -> Found:
    """Images are scanned when they are pushed."""
    return (repository.get("imageScanningConfiguration") or {}).get("scanOnPush") is not True


@rule(
    REPOSITORY,
    message="a tag can be moved to another image: set imageTagMutability to IMMUTABLE",
    fix='Set image_tag_mutability="IMMUTABLE".',
    severity="high",
    standard="AWS FSBP ECR.2",
)
def ecr_immutable(repository: Props, _: Context) -> Found:
    """A tag always means the same image."""
    return repository.get("imageTagMutability") != "IMMUTABLE"


@rule(
    REPOSITORY,
    message="images pile up: add an aws.ecr.LifecyclePolicy",
    fix="Expire untagged images after days, and keep the last tens of tagged ones.",
    severity="low",
    standard="AWS FSBP ECR.3",
    stack=True,
)
def ecr_lifecycle(_: Props, context: Context) -> Found:
    """Old images are removed."""
    return not context.stack.referring(
        "repository", context.resource, "aws:ecr/lifecyclePolicy:LifecyclePolicy"
    )


@rule(
    REPOSITORY,
    message="images are not encrypted with a KMS key: set encryptionConfigurations to encryptionType KMS",
    fix='Set encryption_configurations=[{"encryption_type": "KMS", "kms_key": key.arn}] at creation.',
    severity="low",
    standard="AWS Security Hub ECR.5",
)
def ecr_encrypted(repository: Props, _: Context) -> Found:
    """Images are encrypted with a key of the account."""
    return not any(
        each.get("encryptionType") == "KMS"
        for each in repository.get("encryptionConfigurations") or ()
    )


@rule(
    REPOSITORY,
    message="forceDelete is true: a destroy would delete every image; set it to false",
    fix="Leave force_delete out in stacks that people depend on.",
    severity="medium",
)
def ecr_not_force_deleted(repository: Props, _: Context) -> Found:
    """A repository with images in it cannot be destroyed."""
    return repository.get("forceDelete") is True


def tag(image: str) -> str:
    """The tag of an image name, or nothing."""
    name = image.split("@", 1)[0].rsplit("/", 1)[-1]
    return name.partition(":")[2]


@rule(
    *PODS,
    each=containers,
    message="image {} may change under its name: name it by digest, or by a full version or commit",
    fix="Write image@sha256:..., as the build reports it; a tag such as latest or 2.60 moves.",
    severity="high",
)
def image_pinned(container: Container, _: Context) -> Found:
    """An image name always means the same image."""
    image = str(container.props.get("image"))
    if DIGEST.search(image) or EXACT.fullmatch(tag(image)) or COMMIT.fullmatch(tag(image)):
        return None
    return image


@rule(
    *PODS,
    each=containers,
    message="image {} comes from a registry that is not in the list: copy it to ECR, or allow its registry",
    fix="Mirror the image (an ECR pull-through cache does), or add the registry to the parameter `registries`.",
    severity="high",
    standard="CIS EKS 1.7.0 5.1.4",
    params={
        "registries": {
            "type": "array",
            "items": {"type": "string"},
            "default": [
                r"\d{12}\.dkr\.ecr\.[a-z0-9-]+\.amazonaws\.com",
                r"public\.ecr\.aws",
                r"quay\.io",
                r"registry\.k8s\.io",
            ],
            "description": "allowed registries, as regular expressions of the host",
        }
    },
)
def image_from_allowed_registry(container: Container, context: Context) -> Found:
    """Images come from registries that were chosen."""
    image = str(container.props.get("image"))
    host = image.split("/", 1)[0] if "/" in image else ""
    if "." not in host and ":" not in host and host != "localhost":
        host = "docker.io"
    return None if any(re.fullmatch(each, host) for each in context.params["registries"]) else image


@rule(
    RELEASE,
    CHART,
    message="chart version {} is not exact: set version to a full version",
    fix="Pin the version of the chart, and raise it by a pull request.",
    severity="high",
)
def chart_pinned(release: Props, _: Context) -> Found:
    """A chart is installed in one exact version."""
    version = str(release.get("version") or "(none)")
    return None if EXACT.fullmatch(version) else version


@rule(
    RELEASE,
    message="a failed upgrade would stay half done: set atomic to true",
    fix="Set atomic=True and a timeout.",
    severity="low",
)
def chart_atomic(release: Props, _: Context) -> Found:
    """A failed upgrade of a chart is rolled back."""
    return release.get("atomic") is not True
