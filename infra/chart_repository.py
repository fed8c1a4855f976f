"""A repository of Helm charts in S3: packages, and the index that lists them."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import yaml

from infra.chart import CHART_NAME, ChartFailed, to_yaml
from vigil.aws import AwsError, aws_errors
from vigil.json_types import JsonObject

CHART_INDEX = "index.yaml"


@dataclass
class ChartIndex:
    """The index of a repository.

    `condition` lets it be written only as long as nobody else has changed it.
    """

    content: JsonObject = field(default_factory=lambda: {"apiVersion": "v1", "entries": {}})
    condition: dict[str, str] = field(default_factory=lambda: {"IfNoneMatch": "*"})

    @property
    def versions(self) -> list[JsonObject]:
        """The entries of Vigil's chart, the latest first."""
        return self.content["entries"].setdefault(CHART_NAME, [])

    def digest_of(self, version: str) -> str | None:
        """The digest that a version was published with; None: it was not."""
        for entry in self.versions:
            if entry["version"] == version:
                return entry["digest"]
        return None


@dataclass(frozen=True)
class ChartPackage:
    """A packed chart under its version."""

    data: bytes
    version: str

    @property
    def key(self) -> str:
        return f"{CHART_NAME}-{self.version}.tgz"

    @property
    def digest(self) -> str:
        return hashlib.sha256(self.data).hexdigest()

    def entry(self, created: datetime) -> JsonObject:
        """The package as an index lists it."""
        return {
            "apiVersion": "v2",
            "name": CHART_NAME,
            "version": self.version,
            "appVersion": self.version,
            "digest": self.digest,
            "urls": [self.key],
            "created": created.isoformat(),
        }


def publish_chart(
    package: bytes,
    version: str,
    bucket: str,
    client: Any,
    *,
    now: datetime | None = None,
) -> str:
    """Put the package and the index with it into the bucket; returns the package's key.

    A version is never replaced. Raises ChartFailed when the version is there with other content, or
    somebody else has changed the index meanwhile.
    """
    chart = ChartPackage(package, version)
    index = _read_index(bucket, client)
    digest = index.digest_of(version)
    if digest == chart.digest:
        return chart.key
    if digest is not None:
        raise ChartFailed(f"version {version} is published with other content: raise the version")
    index.versions.insert(0, chart.entry(now or datetime.now(UTC)))
    client.put_object(
        Bucket=bucket,
        Key=chart.key,
        Body=package,
        ContentType="application/gzip",
    )
    _write_index(bucket, index, client)
    return chart.key


def _read_index(bucket: str, client: Any) -> ChartIndex:
    try:
        response = client.get_object(Bucket=bucket, Key=CHART_INDEX)
    except client.exceptions.NoSuchKey:
        return ChartIndex()
    content = yaml.safe_load(response["Body"].read())
    return ChartIndex(content, {"IfMatch": response["ETag"]})


def _write_index(
    bucket: str,
    index: ChartIndex,
    client: Any,
) -> None:
    try:
        with aws_errors():
            client.put_object(
                Bucket=bucket,
                Key=CHART_INDEX,
                Body=to_yaml(index.content),
                ContentType="application/yaml",
                **index.condition,
            )
    except AwsError as error:
        raise ChartFailed(
            f"the index of {bucket} was changed meanwhile, or cannot be written: {error}"
        ) from error
