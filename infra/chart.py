"""The rendered manifests as a Helm chart, and the index of a chart repository in S3.

Templates are the rendered files with image, replicas and host as values. What is rendered for two different values shows where
they belong, so that no place is forgotten; with the default values the chart gives exactly what `vigil render` writes.
"""

from __future__ import annotations

import gzip
import hashlib
import io
import re
import tarfile
from datetime import UTC, datetime
from typing import Any

import yaml

from infra.render import SETTINGS_JSON, render_manifests
from infra.settings import PlatformSettings
from vigil.aws import AwsError, aws_errors
from vigil.errors import VigilError

CHART_NAME = "vigil"
CHART_INDEX = "index.yaml"
_MARKED_IMAGE, _MARKED_HOST = "registry.invalid/vigil:sentinel", "sentinel.invalid"
_EXPRESSION = re.compile(r'\{\{ (?:\.Values\.(\w+)( \| sha256sum \| trunc 8)?|"\{\{") \}\}')
_MARKED_MIN, _MARKED_MAX = 7919, 7927  # replicas that no environment has


class ChartFailed(VigilError):
    """The chart cannot be made or published."""


def chart_files(settings: PlatformSettings, version: str) -> dict[str, bytes]:
    """Path -> bytes of the files of the chart."""
    if not re.fullmatch(r"\d+\.\d+\.\d+(?:[-+][0-9A-Za-z.+-]+)?", version):
        raise ChartFailed(f"{version!r} is no SemVer version, which a chart needs")
    values, marked = _values(settings), _marked(settings)
    files = {
        "Chart.yaml": _yaml(
            {
                "apiVersion": "v2",
                "name": CHART_NAME,
                "version": version,
                "appVersion": version,
                "type": "application",
                "description": "Real-time anomaly detection on Ray",
                "kubeVersion": ">=1.30.0-0",
            }
        ),
        "values.yaml": _yaml(values),
    }
    for path, text in render_manifests(marked).items():
        if path == SETTINGS_JSON or path.startswith("foundation/"):
            continue
        files[f"templates/{path.replace(_short(_MARKED_IMAGE), _short(settings.image_ref))}"] = (
            _template(text).encode()
        )
    return files


def render_chart(files: dict[str, bytes], values: dict[str, Any] | None = None) -> dict[str, str]:
    """What Helm makes of the templates, which use values and nothing else of its language."""
    given: dict[str, Any] = yaml.safe_load(files["values.yaml"])
    given |= values or {}

    def value(found: re.Match[str]) -> str:
        if not found[1]:
            return "{{"
        return _short(given[found[1]]) if found[2] else str(given[found[1]])

    return {
        path.removeprefix("templates/"): _EXPRESSION.sub(value, text.decode())
        for path, text in files.items()
        if path.startswith("templates/")
    }


def pack_chart(files: dict[str, bytes]) -> bytes:
    """The chart as Helm's archive; equal files give equal bytes."""
    raw = io.BytesIO()
    with tarfile.open(fileobj=raw, mode="w") as tar:
        for path, data in sorted(files.items()):
            about = tarfile.TarInfo(f"{CHART_NAME}/{path}")
            about.size, about.mode = len(data), 0o644
            tar.addfile(about, io.BytesIO(data))
    return gzip.compress(raw.getvalue(), mtime=0)


def publish_chart(
    package: bytes, version: str, bucket: str, client: Any, now: datetime | None = None
) -> str:
    """Put the package and the index with it into the bucket; returns the package's key. A version is never replaced.

    Raises ChartFailed when the version is there with other content, or somebody else has changed the index meanwhile.
    """
    key, digest = f"{CHART_NAME}-{version}.tgz", hashlib.sha256(package).hexdigest()
    try:
        found = client.get_object(Bucket=bucket, Key=CHART_INDEX)
        index, condition = yaml.safe_load(found["Body"].read()), {"IfMatch": found["ETag"]}
    except client.exceptions.NoSuchKey:
        index, condition = {"apiVersion": "v1", "entries": {}}, {"IfNoneMatch": "*"}
    versions: list[dict[str, Any]] = index["entries"].setdefault(CHART_NAME, [])
    known = next((one for one in versions if one["version"] == version), None)
    if known is not None:
        if known["digest"] != digest:
            raise ChartFailed(
                f"version {version} is published with other content: raise the version"
            )
        return key
    about = {
        "apiVersion": "v2",
        "name": CHART_NAME,
        "version": version,
        "appVersion": version,
        "digest": digest,
        "urls": [key],
        "created": (now or datetime.now(UTC)).isoformat(),
    }
    versions.insert(0, about)
    client.put_object(Bucket=bucket, Key=key, Body=package, ContentType="application/gzip")
    try:
        with aws_errors():
            client.put_object(
                Bucket=bucket,
                Key=CHART_INDEX,
                Body=_yaml(index),
                ContentType="application/yaml",
                **condition,
            )
    except AwsError as error:
        raise ChartFailed(
            f"the index of {bucket} was changed meanwhile, or cannot be written: {error}"
        ) from error
    return key


def _values(settings: PlatformSettings) -> dict[str, Any]:
    serve = settings.serve
    values = {
        "image": settings.image_ref,
        "minReplicas": serve.min_replicas,
        "maxReplicas": serve.max_replicas,
    }
    return values | ({"host": settings.hostname} if settings.hostname else {})


def _marked(settings: PlatformSettings) -> PlatformSettings:
    # What follows from the replicas stays that of the environment.
    marks: dict[str, Any] = {
        "image": _MARKED_IMAGE,
        "serve": settings.serve.model_copy(
            update={"min_replicas": _MARKED_MIN, "max_replicas": _MARKED_MAX}
        ),
        "replicas_per_worker": settings.max_per_worker,
    }
    return settings.model_copy(
        update=marks | ({"hostname": _MARKED_HOST} if settings.hostname else {})
    )


def _template(text: str) -> str:
    text = text.replace("{{", '{{ "{{" }}')
    # A Job cannot be changed, so the name of the migration carries the image.
    text = text.replace(_short(_MARKED_IMAGE), "{{ .Values.image | sha256sum | trunc 8 }}")
    marks = {
        _MARKED_IMAGE: "image",
        _MARKED_HOST: "host",
        str(_MARKED_MIN): "minReplicas",
        str(_MARKED_MAX): "maxReplicas",
    }
    for mark, name in marks.items():
        text = text.replace(mark, f"{{{{ .Values.{name} }}}}")
    return text


def _short(image: str) -> str:
    return hashlib.sha256(image.encode()).hexdigest()[:8]


def _yaml(value: Any) -> bytes:
    return yaml.safe_dump(value, sort_keys=False, width=130).encode()
