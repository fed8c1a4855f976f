"""Names of AWS resources (ARNs), as far as they are known before the resources exist."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class AwsPlace:
    """An account, and a region in it."""

    account: str
    region: str

    def arn(self, service: str, resource: str) -> str:
        """The ARN of a regional resource, such as `table/vigil-dev-leases` of `dynamodb`."""
        return f"arn:aws:{service}:{self.region}:{self.account}:{resource}"

    def iam_arn(self, resource: str) -> str:
        """The ARN of a resource of IAM, which has no region."""
        return f"arn:aws:iam::{self.account}:{resource}"


@dataclass(frozen=True)
class BucketName:
    """A bucket: `name` is that of S3; `purpose` what the stack keeps in it, empty: not the stack's.

    A purpose labels the statements of a policy.
    """

    name: str
    purpose: str = ""

    @property
    def arn(self) -> str:
        return f"arn:aws:s3:::{self.name}"

    def objects(self, prefix: str = "") -> str:
        """The ARN of the objects below `prefix`."""
        return f"{self.arn}/{prefix}*"


def managed_policy(name: str) -> str:
    """The ARN of a policy that AWS itself keeps."""
    return f"arn:aws:iam::aws:policy/{name}"
