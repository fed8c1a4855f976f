"""ECR repositories: immutable tags, scanned on push, old images dropped."""

from __future__ import annotations

import json
from dataclasses import dataclass

import pulumi
import pulumi_aws as aws

from infra.tags import Tags

KEPT_IMAGES = 50


@dataclass(frozen=True, kw_only=True)
class ImagesArgs:
    """`repositories` are full names."""

    repositories: tuple[str, ...]
    key: pulumi.Input[str]
    protect: bool
    tags: Tags


class Images(pulumi.ComponentResource):
    """A tag, once pushed, means one image for ever: a rollout can be repeated and a rollback finds what it names."""

    def __init__(
        self, name: str, args: ImagesArgs, opts: pulumi.ResourceOptions | None = None
    ) -> None:
        super().__init__("vigil:infra:Images", name, {}, opts)
        self.urls: dict[str, pulumi.Output[str]] = {}
        for repository in args.repositories:
            made = aws.ecr.Repository(
                repository,
                name=repository,
                image_tag_mutability="IMMUTABLE",
                image_scanning_configuration={"scan_on_push": True},
                encryption_configurations=[{"encryption_type": "KMS", "kms_key": args.key}],
                force_delete=False,
                tags=args.tags.of(repository),
                opts=pulumi.ResourceOptions(
                    parent=self, protect=args.protect, retain_on_delete=args.protect
                ),
            )
            aws.ecr.LifecyclePolicy(
                repository,
                repository=made.name,
                policy=json.dumps(lifecycle()),
                opts=pulumi.ResourceOptions(parent=self),
            )
            self.urls[repository] = made.repository_url
        self.register_outputs({"urls": self.urls})


def lifecycle() -> dict[str, object]:
    """Untagged images go after a week; of the others the latest KEPT_IMAGES stay."""
    old = {
        "tagStatus": "untagged",
        "countType": "sinceImagePushed",
        "countUnit": "days",
        "countNumber": 7,
    }
    many = {"tagStatus": "any", "countType": "imageCountMoreThan", "countNumber": KEPT_IMAGES}
    descriptions = ("untagged for a week", f"all but the latest {KEPT_IMAGES}")
    return {
        "rules": [
            {
                "rulePriority": i,
                "description": text,
                "selection": selection,
                "action": {"type": "expire"},
            }
            for i, (text, selection) in enumerate(zip(descriptions, (old, many), strict=True), 1)
        ]
    }
