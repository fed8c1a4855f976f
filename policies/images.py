"""Images and charts: what runs is what was built, and comes from where it should."""

from __future__ import annotations

import re
from collections.abc import Iterable

from policies.cel import Cel, as_cel
from policies.params import strings
from policies.pods import Container, each_container
from policies.resource_types import ECR_REPOSITORY, HELM_RELEASE, POD_TYPES
from policies.rule import Violation, forbids, requires, rule
from policies.subjects import Context, Props, list_at

_DIGEST = re.compile(r"@sha256:[0-9a-f]{64}$")
_EXACT_VERSION = re.compile(r"v?\d+\.\d+\.\d+([-+][0-9A-Za-z.-]+)?")
_COMMIT = re.compile(r"(?:sha-|git-)?[0-9a-f]{7,40}")
# The same three in one expression, for CEL's matches().
_PINNED = (
    rf"{_DIGEST.pattern}|^([^@]*/)?[^@/:]*:({_EXACT_VERSION.pattern}|{_COMMIT.pattern})(@.*)?$"
)
_HOST = "^(localhost|[^/]*[.:][^/]*)/"

ecr_scanned = requires(
    ECR_REPOSITORY,
    "imageScanningConfiguration.scanOnPush",
    True,
    name="ecr-scanned",
    description="Images are scanned when they are pushed.",
    message="images are not scanned: set imageScanningConfiguration.scanOnPush to true",
    fix="Set scan_on_push=True, or turn on enhanced scanning for the registry.",
    severity="medium",
    standard=("AWS FSBP ECR.1", "CIS EKS 1.7.0 5.1.1"),
)

ecr_immutable = requires(
    ECR_REPOSITORY,
    "imageTagMutability",
    "IMMUTABLE",
    name="ecr-immutable",
    description="A tag always means the same image.",
    message="a tag can be moved to another image: set imageTagMutability to IMMUTABLE",
    fix='Set image_tag_mutability="IMMUTABLE".',
    severity="high",
    standard="AWS FSBP ECR.2",
)


@rule(
    ECR_REPOSITORY,
    message="images pile up: add an aws.ecr.LifecyclePolicy",
    fix="Expire untagged images after days, and keep the last tens of tagged ones.",
    severity="low",
    standard="AWS FSBP ECR.3",
    stack=True,
    level="advisory",
)
def ecr_lifecycle(_: Props, context: Context) -> Violation:
    """Old images are removed."""
    type_ = "aws:ecr/lifecyclePolicy:LifecyclePolicy"
    return not context.stack.referring("repository", context.resource, type_)


@rule(
    ECR_REPOSITORY,
    message="images are not encrypted with a KMS key: set encryptionConfigurations to"
    " encryptionType KMS",
    fix='Set encryption_configurations=[{"encryption_type": "KMS", "kms_key": key.arn}] at'
    " creation.",
    severity="low",
    standard="AWS Security Hub ECR.5",
    level="advisory",
)
def ecr_encrypted(repository: Props, _: Context) -> Violation:
    """Images are encrypted with a key of the account."""
    encryptions = list_at(repository, "encryptionConfigurations")
    return not any(each.get("encryptionType") == "KMS" for each in encryptions)


ecr_not_force_deleted = forbids(
    ECR_REPOSITORY,
    "forceDelete",
    True,
    name="ecr-not-force-deleted",
    description="A repository with images in it cannot be destroyed.",
    message="forceDelete is true: a destroy would delete every image; set it to false",
    fix="Leave force_delete out in stacks that people depend on.",
    severity="medium",
)


def image_tag(image: str) -> str:
    """Return the tag of an image name, or nothing."""
    name = image.split("@", 1)[0].rsplit("/", 1)[-1]
    return name.partition(":")[2]


@rule(
    *POD_TYPES,
    each=each_container,
    message="image {} may change under its name: name it by digest, or by a full version or commit",
    fix="Write image@sha256:..., as the build reports it; a tag such as latest or 2.60 moves.",
    severity="high",
    cel=Cel(f"!it.image.matches({as_cel(_PINNED)})", found="it.image"),
)
def image_pinned(container: Container, _: Context) -> Violation:
    """An image name always means the same image."""
    image = container.image
    return None if _is_pinned(image) else image


def _is_pinned(image: str) -> bool:
    tag = image_tag(image)
    return bool(_DIGEST.search(image) or _EXACT_VERSION.fullmatch(tag) or _COMMIT.fullmatch(tag))


@rule(
    *POD_TYPES,
    each=each_container,
    message="image {} comes from a registry that is not in the list: copy it to ECR, or allow its"
    " registry",
    fix="Mirror the image (an ECR pull-through cache does), or add the registry to the parameter"
    " `registries`.",
    severity="high",
    standard="CIS EKS 1.7.0 5.1.4",
    params={
        "registries": strings(
            "allowed registries, as regular expressions of the host",
            [
                r"\d{12}\.dkr\.ecr\.[a-z0-9-]+\.amazonaws\.com",
                r"public\.ecr\.aws",
                r"quay\.io",
                r"registry\.k8s\.io",
            ],
        )
    },
    cel=Cel(
        "!variables.params.registries.exists(r,"
        f' (it.image.matches({as_cel(_HOST)}) ? it.image.split("/")[0] : "docker.io")'
        '.matches("^(" + r + ")$"))',
        found="it.image",
    ),
)
def image_from_allowed_registry(container: Container, context: Context) -> Violation:
    """Images come from registries that were chosen."""
    host = _registry_of(container.image)
    return None if _matches(host, context.params["registries"]) else container.image


def _matches(host: str, registries: Iterable[str]) -> bool:
    return any(re.fullmatch(each, host) for each in registries)


def _registry_of(image: str) -> str:
    """Return the host of an image name; Docker Hub's where it names none."""
    host, slash, _ = image.partition("/")
    is_host = host == "localhost" or "." in host or ":" in host
    return host if slash and is_host else "docker.io"


@rule(
    HELM_RELEASE,
    "kubernetes:helm.sh/*:Chart",
    message="chart version {} is not exact: set version to a full version",
    fix="Pin the version of the chart, and raise it by a pull request.",
    severity="high",
)
def chart_pinned(release: Props, _: Context) -> Violation:
    """A chart is installed in one exact version."""
    version = str(release.get("version") or "(none)")
    return None if _EXACT_VERSION.fullmatch(version) else version


chart_atomic = requires(
    HELM_RELEASE,
    "atomic",
    True,
    name="chart-atomic",
    description="A failed upgrade of a chart is rolled back.",
    message="a failed upgrade would stay half done: set atomic to true",
    fix="Set atomic=True and a timeout.",
    severity="low",
    level="advisory",
)
