"""The rendered manifests as a Helm chart.

Templates are the rendered files with image, replicas and host as values. What is rendered for two
different values shows where they belong, so that no place is forgotten; with the default values the
chart gives exactly what `vigil render` writes.
"""

from __future__ import annotations

import gzip
import hashlib
import io
import re
import tarfile
from typing import Any

import yaml

from infra.render import SETTINGS_JSON, render_manifests
from infra.settings import PlatformSettings
from vigil.errors import VigilError

CHART_NAME = "vigil"
_TEMPLATES = "templates/"
# Pulumi applies the foundation itself; the settings are not for the cluster.
_NOT_IN_CHART = ("foundation/", SETTINGS_JSON)
_SEMVER = re.compile(r"\d+\.\d+\.\d+(?:[-+][0-9A-Za-z.+-]+)?")
_EXPRESSION = re.compile(r'\{\{ (?:\.Values\.(\w+)( \| sha256sum \| trunc 8)?|"\{\{") \}\}')
_MARKED_IMAGE = "registry.invalid/vigil:sentinel"
_MARKED_HOST = "sentinel.invalid"
# Replicas that no environment has.
_MARKED_MIN = 7919
_MARKED_MAX = 7927
_MARKS = {
    _MARKED_IMAGE: "image",
    _MARKED_HOST: "host",
    str(_MARKED_MIN): "minReplicas",
    str(_MARKED_MAX): "maxReplicas",
}


class ChartFailed(VigilError):
    """The chart cannot be made or published."""


def chart_files(settings: PlatformSettings, version: str) -> dict[str, bytes]:
    """Path -> bytes of the files of the chart."""
    if not _SEMVER.fullmatch(version):
        raise ChartFailed(f"{version!r} is no SemVer version, which a chart needs")
    files = {
        "Chart.yaml": to_yaml(_chart_yaml(version)),
        "values.yaml": to_yaml(_values(settings)),
    }
    for path, text in render_manifests(_marked(settings)).items():
        if not path.startswith(_NOT_IN_CHART):
            path = path.replace(_short(_MARKED_IMAGE), _short(settings.image_ref))
            files[f"{_TEMPLATES}{path}"] = _template(text).encode()
    return files


def _chart_yaml(version: str) -> dict[str, str]:
    return {
        "apiVersion": "v2",
        "name": CHART_NAME,
        "version": version,
        "appVersion": version,
        "type": "application",
        "description": "Real-time anomaly detection on Ray",
        "kubeVersion": ">=1.30.0-0",
    }


def _values(settings: PlatformSettings) -> dict[str, Any]:
    values = {
        "image": settings.image_ref,
        "minReplicas": settings.serve.min_replicas,
        "maxReplicas": settings.serve.max_replicas,
    }
    if settings.hostname:
        values["host"] = settings.hostname
    return values


def _marked(settings: PlatformSettings) -> PlatformSettings:
    """The settings with a mark for each value of the chart.

    What follows from the replicas stays that of the environment.
    """
    replicas = {"min_replicas": _MARKED_MIN, "max_replicas": _MARKED_MAX}
    marks: dict[str, Any] = {
        "image": _MARKED_IMAGE,
        "serve": settings.serve.model_copy(update=replicas),
        "replicas_per_worker": settings.max_per_worker,
    }
    if settings.hostname:
        marks["hostname"] = _MARKED_HOST
    return settings.model_copy(update=marks)


def _template(text: str) -> str:
    text = text.replace("{{", '{{ "{{" }}')
    # A Job cannot be changed, so the name of the migration carries the image.
    text = text.replace(_short(_MARKED_IMAGE), "{{ .Values.image | sha256sum | trunc 8 }}")
    for mark, name in _MARKS.items():
        text = text.replace(mark, f"{{{{ .Values.{name} }}}}")
    return text


def render_chart(files: dict[str, bytes], values: dict[str, Any] | None = None) -> dict[str, str]:
    """What Helm makes of the templates, which use values and nothing else of its language."""
    defaults: dict[str, Any] = yaml.safe_load(files["values.yaml"])
    evaluate = _Evaluator(defaults | (values or {}))
    return {
        path.removeprefix(_TEMPLATES): _EXPRESSION.sub(evaluate, text.decode())
        for path, text in files.items()
        if path.startswith(_TEMPLATES)
    }


class _Evaluator:
    """The value of an expression in a template."""

    def __init__(self, values: dict[str, Any]) -> None:
        self._values = values

    def __call__(self, expression: re.Match[str]) -> str:
        name, is_short = expression.groups()
        if not name:
            return "{{"
        value = str(self._values[name])
        return _short(value) if is_short else value


def pack_chart(files: dict[str, bytes]) -> bytes:
    """The chart as Helm's archive; equal files give equal bytes."""
    raw = io.BytesIO()
    with tarfile.open(fileobj=raw, mode="w") as tar:
        for path, data in sorted(files.items()):
            member = tarfile.TarInfo(f"{CHART_NAME}/{path}")
            member.size = len(data)
            member.mode = 0o644
            tar.addfile(member, io.BytesIO(data))
    return gzip.compress(raw.getvalue(), mtime=0)


def _short(image: str) -> str:
    return hashlib.sha256(image.encode()).hexdigest()[:8]


def to_yaml(value: Any) -> bytes:
    """YAML in the order of its keys."""
    return yaml.safe_dump(value, sort_keys=False, width=130).encode()
