"""What each workload of a stack may do on AWS. Pure: documents from settings and ARNs."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from infra.arns import BucketName
from infra.balancer_grants import load_balancer_controller
from infra.grants import (
    Document,
    Statement,
    Statements,
    policy_document,
    read_objects,
    read_secret,
    read_stream,
    share_leases,
    use_key,
    write_objects,
    write_stream,
)
from infra.settings import PlatformSettings


@dataclass(frozen=True)
class WorkloadRights:
    """One document per workload, of what it touches and nothing else.

    `key`, `stream` and `secret` are ARNs of the data key, the stream and the database's password.
    """

    settings: PlatformSettings

    def serve(self, key: str) -> Document:
        """Replicas read models."""
        return policy_document([*self._read("models"), self._use_s3(key)])

    def train(self, key: str) -> Document:
        """Training reads rows, and writes models."""
        return policy_document(
            [
                *self._write("models"),
                *self._read("data"),
                *self._read("captured"),
                self._use_s3(key),
            ]
        )

    def drift(self, key: str, secret: str) -> Document:
        """The monitor reads models, keeps rows and its state, and incidents in the database."""
        return policy_document(
            [
                *self._read("models"),
                *self._write("captured"),
                read_secret(secret),
                use_key(key, self.settings.region, "s3", "secretsmanager"),
            ]
        )

    def mlflow(self, key: str, secret: str) -> Document:
        """MLflow keeps models, and reads the password of its database."""
        return policy_document(
            [
                *self._write("models"),
                read_secret(secret),
                use_key(key, self.settings.region, "s3", "secretsmanager"),
            ]
        )

    def stream(self, key: str, stream: str) -> Document:
        """A consumer reads the stack's stream, shares it by the table, writes to the sinks."""
        table = self.settings.place.arn("dynamodb", f"table/{self.settings.lease_table}")
        return policy_document(
            [
                read_stream(stream),
                share_leases(table),
                use_key(
                    key,
                    self.settings.region,
                    "kinesis",
                    "dynamodb",
                    "s3",
                ),
                *self._write_to_sinks(),
            ]
        )

    def load_balancers(self) -> Document:
        """The controller that makes the load balancer of the ingress."""
        settings = self.settings
        return load_balancer_controller(settings.place, settings.name, settings.certificate_arn)

    def _bucket(self, purpose: str) -> BucketName:
        return BucketName(self.settings.bucket(purpose), purpose)

    def _use_s3(self, key: str) -> Statement:
        return use_key(key, self.settings.region, "s3")

    def _read(self, purpose: str) -> Statements:
        return read_objects(self._bucket(purpose))

    def _write(self, purpose: str) -> Statements:
        return write_objects(self._bucket(purpose))

    def _write_to_sinks(self) -> Iterator[Statement]:
        for sink in self.settings.serve.stream_sinks.split(","):
            kind, _, target = sink.strip().partition(":")
            if kind == "kinesis":
                yield write_stream(self.settings.place.arn("kinesis", f"stream/{target}"))
            elif kind == "parquet" and target.startswith("s3://"):
                bucket, _, prefix = target.removeprefix("s3://").partition("/")
                yield from write_objects(self._known_bucket(bucket), prefix)

    def _known_bucket(self, name: str) -> BucketName:
        """A bucket by its name, with its purpose where it is one of the stack's."""
        own = {self.settings.bucket(purpose): purpose for purpose in self.settings.bucket_purposes}
        return BucketName(name, own.get(name, ""))
