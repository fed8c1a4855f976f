"""The KMS keys: one for data at rest, one for the secrets of Kubernetes."""

from __future__ import annotations

import json
from dataclasses import dataclass

import pulumi_aws as aws

from infra.arns import AwsPlace
from infra.component import Component, Options
from infra.resource_policies import key_policy
from infra.tags import Tags

DELETION_WINDOW_DAYS = 30  # to think better of a deletion


@dataclass(frozen=True, kw_only=True)
class KeysArgs:
    """`name` is the platform's.

    Log groups below `/vigil/NAME`, `/aws/eks/NAME` and those of RDS instances `NAME-...` may use
    the data key.
    """

    name: str
    place: AwsPlace
    protect: bool
    tags: Tags

    @property
    def log_groups(self) -> tuple[str, ...]:
        """Prefixes of the log groups that the data key encrypts."""
        return (
            f"/vigil/{self.name}/",
            f"/aws/eks/{self.name}/",
            f"/aws/rds/instance/{self.name}-",
        )


class Keys(Component):
    """`data` encrypts buckets, database, stream, images, volumes and logs.

    `secrets` encrypts the secrets in the cluster's etcd.
    """

    def __init__(
        self,
        name: str,
        args: KeysArgs,
        opts: Options | None = None,
    ) -> None:
        super().__init__("vigil:infra:Keys", name, {}, opts)
        self._args = args
        self.data = self._key(
            "data",
            "Vigil: buckets, database, stream, images, files, logs",
            args.log_groups,
        )
        self.secrets = self._key("secrets", "Vigil: Kubernetes secrets")
        self.register_outputs({"data": self.data.arn, "secrets": self.secrets.arn})

    def _key(
        self,
        purpose: str,
        description: str,
        logs: tuple[str, ...] = (),
    ) -> aws.kms.Key:
        args = self._args
        name = f"{args.name}-{purpose}"
        key = aws.kms.Key(
            name,
            description=description,
            enable_key_rotation=True,
            policy=json.dumps(key_policy(args.place, logs)),
            deletion_window_in_days=DELETION_WINDOW_DAYS,
            tags=args.tags.of(name),
            opts=self.keeping(args.protect),
        )
        self._alias(name, key)
        return key

    def _alias(self, name: str, key: aws.kms.Key) -> None:
        aws.kms.Alias(
            name,
            name=f"alias/{name}",
            target_key_id=key.key_id,
            opts=self.child,
        )
