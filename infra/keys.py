"""The KMS keys: one for data at rest, one for the secrets of Kubernetes."""

from __future__ import annotations

import json
from dataclasses import dataclass

import pulumi
import pulumi_aws as aws

from infra import grants
from infra.tags import Tags

WINDOW_DAYS = 30  # to think better of a deletion


@dataclass(frozen=True, kw_only=True)
class KeysArgs:
    """`name` is the platform's; log groups below `/vigil/NAME`, `/aws/eks/NAME` and those of RDS
    instances `NAME-...` may use the data key."""

    name: str
    account: str
    region: str
    protect: bool
    tags: Tags


class Keys(pulumi.ComponentResource):
    """`data` encrypts buckets, database, stream, images, volumes and logs; `secrets` the secrets in the cluster's etcd."""

    def __init__(
        self, name: str, args: KeysArgs, opts: pulumi.ResourceOptions | None = None
    ) -> None:
        super().__init__("vigil:infra:Keys", name, {}, opts)
        kept = pulumi.ResourceOptions(
            parent=self, protect=args.protect, retain_on_delete=args.protect
        )

        def key(purpose: str, description: str, logs: tuple[str, ...] = ()) -> aws.kms.Key:
            policy = json.dumps(grants.key_policy(args.account, args.region, logs))
            made = aws.kms.Key(
                f"{args.name}-{purpose}",
                description=description,
                enable_key_rotation=True,
                policy=policy,
                deletion_window_in_days=WINDOW_DAYS,
                tags=args.tags.of(f"{args.name}-{purpose}"),
                opts=kept,
            )
            aws.kms.Alias(
                f"{args.name}-{purpose}",
                name=f"alias/{args.name}-{purpose}",
                target_key_id=made.key_id,
                opts=pulumi.ResourceOptions(parent=self),
            )
            return made

        logs = (f"/vigil/{args.name}/", f"/aws/eks/{args.name}/", f"/aws/rds/instance/{args.name}-")
        self.data = key("data", "Vigil: buckets, database, stream, images, files, logs", logs)
        self.secrets = key("secrets", "Vigil: Kubernetes secrets")
        self.register_outputs({"data": self.data.arn, "secrets": self.secrets.arn})
