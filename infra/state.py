"""Where Pulumi keeps its state: a bucket and a key, made once per account, outside of any stack.

`python -m infra.state --help`.

Never managed by the stack that is stored in it: destroying that stack would destroy the
record of what to destroy.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

import click

from infra.resource_policies import tls_only
from infra.tags import Tags
from vigil.aws import AwsError, aws_client, aws_errors
from vigil.json_types import JsonObject

KEY_ALIAS = "alias/pulumi-state"
_OLD_STATE_DAYS = 365
STATE_LOCKS = ".pulumi/locks/"
_BLOCKED = {
    "BlockPublicAcls": True,
    "IgnorePublicAcls": True,
    "BlockPublicPolicy": True,
    "RestrictPublicBuckets": True,
}
_TIDY_RULE = {
    "ID": "tidy",
    "Status": "Enabled",
    "Filter": {"Prefix": ""},
    "AbortIncompleteMultipartUpload": {"DaysAfterInitiation": 7},
}


@dataclass(frozen=True)
class StateBackend:
    """What `pulumi login` and `pulumi stack init` are told."""

    bucket: str
    key_arn: str
    region: str

    @property
    def login(self) -> str:
        return f"s3://{self.bucket}?region={self.region}&awssdk=v2"

    @property
    def secrets_provider(self) -> str:
        return f"awskms://{KEY_ALIAS}?region={self.region}"


def bootstrap(
    bucket: str,
    region: str,
    tags: Tags,
) -> StateBackend:
    """Make what is missing and set what differs; running it again changes nothing."""
    key = _key(aws_client("kms", region=region), tags)
    s3 = aws_client("s3", region=region)
    if not _exists(s3, bucket):
        _create(s3, bucket, region)
    _close(s3, bucket)
    _encrypt(s3, bucket, key)
    _keep_versions(s3, bucket)
    _tag(s3, bucket, tags)
    return StateBackend(bucket, key, region)


def _tag(
    s3: Any,
    bucket: str,
    tags: Tags,
) -> None:
    pairs = _pairs(tags.of(bucket), "Key", "Value")
    s3.put_bucket_tagging(Bucket=bucket, Tagging={"TagSet": pairs})


def _create(
    s3: Any,
    bucket: str,
    region: str,
) -> None:
    s3.create_bucket(
        Bucket=bucket,
        ObjectOwnership="BucketOwnerEnforced",
        **_location(region),
    )


def _location(region: str) -> JsonObject:
    """S3 refuses the name of its first region as a place."""
    if region == "us-east-1":
        return {}
    return {"CreateBucketConfiguration": {"LocationConstraint": region}}


def _close(s3: Any, bucket: str) -> None:
    """Nobody from outside the account, and nobody without TLS."""
    s3.put_public_access_block(Bucket=bucket, PublicAccessBlockConfiguration=_BLOCKED)
    s3.put_bucket_policy(Bucket=bucket, Policy=json.dumps(tls_only(bucket)))


def _encrypt(
    s3: Any,
    bucket: str,
    key: str,
) -> None:
    by_default = {"SSEAlgorithm": "aws:kms", "KMSMasterKeyID": key}
    rule = {"ApplyServerSideEncryptionByDefault": by_default, "BucketKeyEnabled": True}
    s3.put_bucket_encryption(Bucket=bucket, ServerSideEncryptionConfiguration={"Rules": [rule]})


def _keep_versions(s3: Any, bucket: str) -> None:
    s3.put_bucket_versioning(Bucket=bucket, VersioningConfiguration={"Status": "Enabled"})
    lifecycle = {"Rules": _lifecycle()}
    s3.put_bucket_lifecycle_configuration(Bucket=bucket, LifecycleConfiguration=lifecycle)


def _lifecycle() -> list[JsonObject]:
    """Old versions of the state stay a year, those of locks a day."""
    return [
        _expire_versions("state", ".pulumi/stacks/", _OLD_STATE_DAYS),
        _expire_versions("locks", STATE_LOCKS, 1),
        _TIDY_RULE,
    ]


def _expire_versions(
    name: str,
    prefix: str,
    days: int,
) -> JsonObject:
    return {
        "ID": name,
        "Status": "Enabled",
        "Filter": {"Prefix": prefix},
        "NoncurrentVersionExpiration": {"NoncurrentDays": days},
    }


def _key(kms: Any, tags: Tags) -> str:
    """The ARN of the key behind ALIAS; made with yearly rotation where there is none."""
    try:
        return kms.describe_key(KeyId=KEY_ALIAS)["KeyMetadata"]["Arn"]
    except kms.exceptions.NotFoundException:
        return _create_key(kms, tags)


def _create_key(kms: Any, tags: Tags) -> str:
    pairs = _pairs(tags.of("pulumi-state"), "TagKey", "TagValue")
    response = kms.create_key(Description="Pulumi: state and secrets", Tags=pairs)
    key = response["KeyMetadata"]
    kms.enable_key_rotation(KeyId=key["KeyId"])
    kms.create_alias(AliasName=KEY_ALIAS, TargetKeyId=key["KeyId"])
    return key["Arn"]


def _exists(s3: Any, bucket: str) -> bool:
    try:
        with aws_errors():
            s3.head_bucket(Bucket=bucket)
    except AwsError as error:
        if error.status == 404:
            return False
        raise click.ClickException(
            f"bucket {bucket} exists and is not yours to use: choose another name ({error})"
        ) from error
    return True


def _pairs(
    tags: dict[str, str],
    key: str,
    value: str,
) -> list[dict[str, str]]:
    return [{key: name, value: text} for name, text in tags.items()]


@click.command()
@click.option(
    "--bucket",
    required=True,
    help="name of the bucket, unique in the world: vigil-state-ACCOUNT",
)
@click.option("--region", required=True, help="AWS region")
@click.option("--owner", required=True, help="tag Owner")
@click.option("--cost-center", required=True, help="tag CostCenter")
def main(
    bucket: str,
    region: str,
    owner: str,
    cost_center: str,
) -> None:
    """Make the bucket and the key for Pulumi's state; safe to run again."""
    state = bootstrap(bucket, region, Tags("shared", owner, cost_center))
    click.echo(f"pulumi login '{state.login}'")
    click.echo(f"pulumi stack init STACK --secrets-provider='{state.secrets_provider}'")


if __name__ == "__main__":
    main()
