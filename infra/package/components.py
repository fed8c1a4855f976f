"""What the package offers: components with typed inputs, which its schema is inferred from.

Inputs are those of a stack: the same names, types, bounds and messages as `pulumi config set`.
"""

from collections.abc import Mapping
from typing import Any, NotRequired, Required, TypedDict

import pulumi
from pydantic.alias_generators import to_snake

from infra.apply import KubernetesPlatform, KubernetesPlatformArgs
from infra.manifests.bindings import RAY_NAMESPACE, Bindings
from infra.package.amazon import PlatformNetwork, TelemetryStream
from infra.package.eks_cluster import PlatformCluster
from infra.package.ownership import PackageComponent
from infra.package.stores import PlatformBuckets, PlatformDatabase, PlatformKeys
from infra.settings import PlatformSettings, settings_from
from infra.stack_keys import OPTIONAL_SECRETS, SECRET_KEYS, declared_keys, needed_secrets
from vigil.errors import BadSettings
from vigil.json_types import JsonObject

_TYPES: Mapping[str, Any] = {
    "string": str,
    "integer": int,
    "boolean": bool,
    "array": list[str],
    "object": dict[str, Any],
}
# The component is of the Kubernetes part: where its cluster comes from is the program's.
_FIXED = {"target": "kubernetes"}


class PlatformInputs(TypedDict, total=False):
    """An environment on a Kubernetes cluster that exists.

    Beside these: every key of a stack (docs/settings.md), and every secret, which may be an output
    of another resource.
    """

    environment: Required[str]
    """Name of the environment, such as dev or prod"""


def _settings_fields() -> dict[str, Any]:
    """Return the type of every key of a stack by its name in Python."""
    kinds = {key: kind for key, kind in declared_keys().items() if key not in _FIXED}
    return {to_snake(key): NotRequired[_type(key, kind)] for key, kind in kinds.items()}


def _type(key: str, kind: str) -> Any:
    return pulumi.Input[str] if key in SECRET_KEYS else _TYPES[kind]


PlatformInputs.__annotations__.update(_settings_fields())


class Platform(PackageComponent):
    """Serving, training, tracking, drift and incidents of Vigil on a Kubernetes cluster."""

    namespace: pulumi.Output[str]
    """Namespace that Ray and its clients run in"""
    image: pulumi.Output[str]
    """Image that all pods of Vigil run"""

    def __init__(
        self,
        name: str,
        args: PlatformInputs,
        opts: pulumi.ResourceOptions | None = None,
    ) -> None:
        super().__init__(name, opts)
        settings = _settings_of(args)
        secrets = _secrets_of(args, settings)
        bindings = Bindings(redis_address=settings.redis_address or None)
        KubernetesPlatform(
            settings.name,
            KubernetesPlatformArgs(settings, bindings, secrets),
            self.own,
        )
        self.namespace = pulumi.Output.from_input(RAY_NAMESPACE)
        self.image = pulumi.Output.from_input(settings.image_ref)
        self.register_outputs({"namespace": self.namespace, "image": self.image})


def _settings_of(args: Mapping[str, Any]) -> PlatformSettings:
    """Raises BadSettings with every mistake."""
    names = {key: to_snake(key) for key in declared_keys() if key not in SECRET_KEYS}
    values = {key: args[name] for key, name in names.items() if name in args}
    return settings_from(args["environment"], {**values, **_FIXED})


def _secrets_of(args: Mapping[str, Any], settings: PlatformSettings) -> JsonObject:
    """Return the secrets that these settings need or may have; raises BadSettings."""
    needed = needed_secrets(settings)
    missing = [key for key in needed if _is_absent(args, key)]
    if missing:
        raise BadSettings(*map(_missing, missing), about="secrets are missing: ")
    optional = [key for key in OPTIONAL_SECRETS if not _is_absent(args, key)]
    return {key: pulumi.Output.secret(args[to_snake(key)]) for key in (*needed, *optional)}


def _is_absent(args: Mapping[str, Any], key: str) -> bool:
    return args.get(to_snake(key)) is None


def _missing(key: str) -> str:
    return f"{key}: give it as a secret (docs/settings.md says what for)"


COMPONENTS: list[type[pulumi.ComponentResource]] = [
    Platform,
    PlatformKeys,
    PlatformNetwork,
    PlatformCluster,
    PlatformBuckets,
    PlatformDatabase,
    TelemetryStream,
]
