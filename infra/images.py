"""ECR repositories: immutable tags, scanned on push, old images dropped."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

import pulumi
import pulumi_aws as aws

from infra.component import Component, Options
from infra.tags import Tags

MAX_IMAGES = 50


_UNTAGGED = {
    "tagStatus": "untagged",
    "countType": "sinceImagePushed",
    "countUnit": "days",
    "countNumber": 7,
}
_TOO_MANY = {
    "tagStatus": "any",
    "countType": "imageCountMoreThan",
    "countNumber": MAX_IMAGES,
}


@dataclass(frozen=True, kw_only=True)
class ImagesArgs:
    """`repositories` are full names."""

    repositories: tuple[str, ...]
    key: pulumi.Input[str]
    protect: bool
    tags: Tags


class Images(Component):
    """A tag, once pushed, means one image for ever.

    A rollout can be repeated, and a rollback finds what it names.
    """

    def __init__(
        self,
        name: str,
        args: ImagesArgs,
        opts: Options | None = None,
    ) -> None:
        super().__init__("vigil:infra:Images", name, {}, opts)
        self._args = args
        self.urls: dict[str, pulumi.Output[str]] = {}
        for repository in args.repositories:
            self.urls[repository] = self._repository(repository).repository_url
        self.register_outputs({"urls": self.urls})

    def _repository(self, name: str) -> aws.ecr.Repository:
        args = self._args
        repository = aws.ecr.Repository(
            name,
            name=name,
            image_tag_mutability="IMMUTABLE",
            image_scanning_configuration={"scan_on_push": True},
            encryption_configurations=[{"encryption_type": "KMS", "kms_key": args.key}],
            force_delete=False,
            tags=args.tags.of(name),
            opts=self.keeping(args.protect),
        )
        self._expire_images(name, repository)
        return repository

    def _expire_images(self, name: str, repository: aws.ecr.Repository) -> None:
        aws.ecr.LifecyclePolicy(
            name,
            repository=repository.name,
            policy=json.dumps(image_lifecycle()),
            opts=self.child,
        )


def image_lifecycle() -> dict[str, list[Any]]:
    """Untagged images go after a week; of the others the latest MAX_IMAGES stay."""
    return {
        "rules": [
            _expiry(1, "untagged for a week", _UNTAGGED),
            _expiry(2, f"all but the latest {MAX_IMAGES}", _TOO_MANY),
        ]
    }


def _expiry(
    priority: int,
    description: str,
    selection: dict[str, Any],
) -> dict[str, Any]:
    return {
        "rulePriority": priority,
        "description": description,
        "selection": selection,
        "action": {"type": "expire"},
    }
