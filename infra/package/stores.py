"""Components of the package that keep data on AWS: keys, buckets and the database of MLflow."""

from typing import NotRequired, TypedDict

import pulumi

from infra.arns import AwsPlace
from infra.database import Database, DatabaseArgs
from infra.keys import Keys, KeysArgs
from infra.package.ownership import (
    Ownership,
    PackageComponent,
    owner_tags,
    stack_default,
)
from infra.security_groups import PlacementArgs
from infra.storage import LOGS_PURPOSE, Buckets, BucketsArgs
from vigil.errors import BadSettings


class KeysInputs(TypedDict):
    """Two KMS keys."""

    ownership: Ownership
    """The tags that everything carries"""
    account: str
    """AWS account"""
    region: str
    """AWS region"""
    protect: NotRequired[bool]
    """Refuse to delete or replace them"""


class PlatformKeys(PackageComponent):
    """A key for data at rest and one for Kubernetes' secrets.

    The first also encrypts the logs of a network and a cluster that are named as the keys are, and
    of databases whose names begin so, with a dash.
    """

    data_arn: pulumi.Output[str]
    """ARN of the key for data and logs"""
    secrets_arn: pulumi.Output[str]
    """ARN of the key for secrets of Kubernetes"""

    def __init__(
        self,
        name: str,
        args: KeysInputs,
        opts: pulumi.ResourceOptions | None = None,
    ) -> None:
        super().__init__(name, opts)
        made = Keys(name, _keys_args(name, args), self.own)
        self.data_arn = made.data.arn
        self.secrets_arn = made.secrets.arn
        self.register_outputs({"dataArn": self.data_arn, "secretsArn": self.secrets_arn})


def _keys_args(name: str, args: KeysInputs) -> KeysArgs:
    return KeysArgs(
        name=name,
        place=AwsPlace(args["account"], args["region"]),
        protect=args.get("protect", False),
        tags=owner_tags(args["ownership"]),
    )


class BucketsInputs(TypedDict):
    """Buckets of S3, one for each purpose."""

    ownership: Ownership
    """The tags that everything carries"""
    account: str
    """AWS account"""
    names: dict[str, str]
    """Names in S3 by purpose; the purpose `logs` receives the access logs of the others"""
    key: pulumi.Input[str]
    """ARN of the KMS key that objects are encrypted with"""
    expire_days: NotRequired[dict[str, int]]
    """Days after which objects go, by purpose; what is not named stays"""
    protect: NotRequired[bool]
    """Refuse to delete or replace them"""


class PlatformBuckets(PackageComponent):
    """Private, versioned, encrypted, TLS only, logged buckets."""

    arns: pulumi.Output[dict[str, str]]
    """ARNs by purpose, without that of access logs"""

    def __init__(
        self,
        name: str,
        args: BucketsInputs,
        opts: pulumi.ResourceOptions | None = None,
    ) -> None:
        super().__init__(name, opts)
        made = Buckets(name, _buckets_args(name, args), self.own)
        arns = {purpose: one.arn for purpose, one in made.buckets.items()}
        self.arns = pulumi.Output.all(**arns)
        self.register_outputs({"arns": self.arns})


def _buckets_args(name: str, args: BucketsInputs) -> BucketsArgs:
    """Raises BadSettings where access logs have no bucket."""
    if LOGS_PURPOSE not in args["names"]:
        raise BadSettings(f"names: name a bucket for {LOGS_PURPOSE}, which access logs go to")
    days = args.get("expire_days", {})
    return BucketsArgs(
        buckets=args["names"],
        expire_days={purpose: int(count) for purpose, count in days.items()},
        account=args["account"],
        key=args["key"],
        protect=args.get("protect", False),
        tags=owner_tags(args["ownership"]),
        prefix=f"{name}-",
    )


class DatabaseInputs(TypedDict):
    """A PostgreSQL of RDS in a network that exists."""

    ownership: Ownership
    """The tags that everything carries"""
    vpc_id: pulumi.Input[str]
    """The VPC"""
    subnet_ids: pulumi.Input[list[pulumi.Input[str]]]
    """Subnets in two zones or more, without a way out"""
    clients: pulumi.Input[str]
    """Security group whose members may connect, such as that of a cluster's nodes"""
    key: pulumi.Input[str]
    """ARN of the KMS key that data, logs and the password are encrypted with"""
    instance_class: NotRequired[str]
    """Class of its machine; default that of a stack"""
    gib: NotRequired[int]
    """GiB where storage begins; it grows to four times that; default that of a stack"""
    multi_az: NotRequired[bool]
    """A standby in another zone; default that of a stack"""
    backup_days: NotRequired[int]
    """Days that backups are kept; default that of a stack"""
    log_days: NotRequired[int]
    """Days that logs are kept; default that of a stack"""
    protect: NotRequired[bool]
    """Refuse to delete or replace it"""


class PlatformDatabase(PackageComponent):
    """Private and encrypted, with the database `mlflow`; RDS keeps and rotates the password."""

    address: pulumi.Output[str]
    """Host name; the port is 5432"""
    secret_arn: pulumi.Output[str]
    """ARN of the secret in Secrets Manager that has user and password"""

    def __init__(
        self,
        name: str,
        args: DatabaseInputs,
        opts: pulumi.ResourceOptions | None = None,
    ) -> None:
        super().__init__(name, opts)
        made = Database(name, _database_args(args), self.own)
        self.address = made.address
        self.secret_arn = made.secret_arn
        self.register_outputs({"address": self.address, "secretArn": self.secret_arn})


def _database_args(args: DatabaseInputs) -> DatabaseArgs:
    return DatabaseArgs(
        instance_class=args.get("instance_class", stack_default("database_class")),
        gib=int(args.get("gib", stack_default("database_gib"))),
        multi_az=args.get("multi_az", stack_default("database_multi_az")),
        backup_days=int(args.get("backup_days", stack_default("backup_days"))),
        log_days=int(args.get("log_days", stack_default("log_retention_days"))),
        protect=args.get("protect", False),
        place=_placement(args),
    )


def _placement(args: DatabaseInputs) -> PlacementArgs:
    return PlacementArgs(
        vpc=args["vpc_id"],
        subnets=args["subnet_ids"],
        clients=args["clients"],
        key=args["key"],
        tags=owner_tags(args["ownership"]),
    )
