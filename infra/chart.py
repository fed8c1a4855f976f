"""The rendered manifests as a Helm chart.

Templates are the rendered files with image, replicas and host as values. What is rendered for two
different values shows where they belong, so that no place is forgotten; with the default values the
chart gives exactly what `vigil render` writes.
"""

from __future__ import annotations

import gzip
import io
import re
import tarfile
from typing import Any

import yaml

from infra.render import SETTINGS_JSON, render_manifests
from infra.replacing import replace_each
from infra.settings import PlatformSettings
from vigil.digests import text_digest
from vigil.errors import VigilError
from vigil.json_types import JsonObject

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


_MARKED_REPLICAS = {"min_replicas": _MARKED_MIN, "max_replicas": _MARKED_MAX}


def _short(image: str) -> str:
    return text_digest(image)[:8]


# A Job cannot be changed, so the name of the migration carries the image.
_EXPRESSIONS = {
    _short(_MARKED_IMAGE): "{{ .Values.image | sha256sum | trunc 8 }}",
    **{mark: f"{{{{ .Values.{name} }}}}" for mark, name in _MARKS.items()},
}


class ChartFailed(VigilError):
    """The chart cannot be made or published."""


def chart_files(settings: PlatformSettings, version: str) -> dict[str, bytes]:
    """Path -> bytes of the files of the chart."""
    if not _SEMVER.fullmatch(version):
        raise ChartFailed(f"{version!r} is no SemVer version, which a chart needs")
    return {
        "Chart.yaml": to_yaml(_chart_yaml(version)),
        "values.yaml": to_yaml(_values(settings)),
        **_templates(settings),
    }


def _templates(settings: PlatformSettings) -> dict[str, bytes]:
    templates = {}
    for path, text in render_manifests(_marked(settings)).items():
        if not path.startswith(_NOT_IN_CHART):
            name = _template_path(path, settings)
            templates[name] = _template(text).encode()
    return templates


def _template_path(path: str, settings: PlatformSettings) -> str:
    return _TEMPLATES + path.replace(_short(_MARKED_IMAGE), _short(settings.image_ref))


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


def _values(settings: PlatformSettings) -> JsonObject:
    return {
        "image": settings.image_ref,
        "minReplicas": settings.serve.min_replicas,
        "maxReplicas": settings.serve.max_replicas,
        **_host(settings),
    }


def _host(settings: PlatformSettings) -> JsonObject:
    return {"host": settings.hostname} if settings.hostname else {}


def _marked(settings: PlatformSettings) -> PlatformSettings:
    """The settings with a mark for each value of the chart.

    What follows from the replicas stays that of the environment.
    """
    marks: JsonObject = {
        "image": _MARKED_IMAGE,
        "serve": settings.serve.model_copy(update=_MARKED_REPLICAS),
        "replicas_per_worker": settings.max_per_worker,
        "hostname": _MARKED_HOST if settings.hostname else "",
    }
    return settings.model_copy(update=marks)


def _template(text: str) -> str:
    escaped = text.replace("{{", '{{ "{{" }}')
    return replace_each(escaped, _EXPRESSIONS)


def render_chart(files: dict[str, bytes], values: JsonObject | None = None) -> dict[str, str]:
    """What Helm makes of the templates, which use values and nothing else of its language."""
    defaults: JsonObject = yaml.safe_load(files["values.yaml"])
    evaluate = _Evaluator(defaults | (values or {}))
    rendered = {}
    for path, text in files.items():
        if path.startswith(_TEMPLATES):
            name = path.removeprefix(_TEMPLATES)
            rendered[name] = evaluate.all_of(text.decode())
    return rendered


class _Evaluator:
    """The value of an expression in a template."""

    def __init__(self, values: JsonObject) -> None:
        self._values = values

    def all_of(self, template: str) -> str:
        """The text of a template with the values of its expressions."""
        return _EXPRESSION.sub(self._value, template)

    def _value(self, expression: re.Match[str]) -> str:
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
            tar.addfile(_member(path, len(data)), io.BytesIO(data))
    return gzip.compress(raw.getvalue(), mtime=0)


def _member(path: str, size: int) -> tarfile.TarInfo:
    member = tarfile.TarInfo(f"{CHART_NAME}/{path}")
    member.size = size
    member.mode = 0o644
    return member


def to_yaml(value: Any) -> bytes:
    """YAML in the order of its keys."""
    return yaml.safe_dump(value, sort_keys=False, width=130).encode()
